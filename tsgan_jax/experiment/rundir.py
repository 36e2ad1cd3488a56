"""A run directory: one experiment, and no silent change of its config.

config.yaml                resolved config
masks/  translation/       manifest.json, log.jsonl, checkpoints/, samples/*.png
sets/<name>/               generated sets
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tsgan_jax.config import Config
from tsgan_jax.config.reading import config_hash, dump_config, flatten, load_config
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_json, write_bytes, write_json
from tsgan_jax.generation import provenance
from tsgan_jax.generation.provenance import decisive_settings

STAGES = ("masks", "translation")
CONFIG = "config.yaml"
MANIFEST = "manifest.json"


def settings(config: Config, stage: str) -> dict[str, Any]:
    """Everything in the config that a stage's result depends on, dotted; what lies in files is compared by hash."""
    decisive = decisive_settings(config)
    return flatten({name: decisive[name] for name in ("seed", "precision", "data", stage)})


def check_config(run: Path, config: Config, allowed: Sequence[str] = ()) -> None:
    """Refuse a config that a trained stage of this run was not trained with; else write it to config.yaml.

    allowed: keys, or sections, that may differ; the change is recorded in the stage's manifest.
    Raises UserError with the differences.
    """
    _check_place(run)
    differences: dict[str, dict[str, tuple[Any, Any]]] = {}
    for stage in STAGES:
        if (run / stage / MANIFEST).is_file() and any((run / stage / "checkpoints").glob(f"*/{MANIFEST}")):
            trained, asked = read_json(run / stage / MANIFEST)["settings"], settings(config, stage)
            keys = [key for key in dict.fromkeys([*trained, *asked]) if trained.get(key) != asked.get(key)]
            differences[stage] = {key: (trained.get(key), asked.get(key)) for key in keys}
    refused = [
        f"  {key}: trained with {old!r}, now {new!r}  (stage {stage})"
        for stage, changes in differences.items()
        for key, (old, new) in changes.items()
        if not _covered(key, allowed)
    ]
    if refused:
        flags = " ".join(dict.fromkeys(f"--allow-config-change {line.split(':')[0].strip()}" for line in refused))
        raise UserError(
            f"{run} was trained with another config:\n" + "\n".join(refused) + "\n"
            f"choose another --run directory, take the changes back, or accept them with: {flags}"
        )
    for stage, changes in differences.items():
        if changes:
            _record(run / stage / MANIFEST, config, stage, changes)
    write_bytes(run / CONFIG, dump_config(config).encode())


def _check_place(run: Path) -> None:
    """Refuse a folder that holds something and is no run: what stands there is not ours to mix with or to replace."""
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")} if run.is_dir() else set()
    if names and not names & {*STAGES, "sets"} and not (names == {CONFIG} and _is_ours(run / CONFIG)):
        raise UserError(
            f"{run} holds {sorted(names)[0]!r} and is no run directory; choose an empty or a new one with --run"
        )


def _is_ours(path: Path) -> bool:
    """Whether a config is as a run writes it, and not as a person does: a run stopped before its first stage."""
    try:
        return path.read_text() == dump_config(load_config(path))
    except UserError:
        return False


def _covered(key: str, allowed: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def _record(path: Path, config: Config, stage: str, changes: dict[str, tuple[Any, Any]]) -> None:
    manifest = read_json(path)
    now = [
        {"key": key, "from": old, "to": new, "images_seen": manifest["images_seen"]}
        for key, (old, new) in changes.items()
    ]
    write_json(path, {**manifest, **_identity(config, stage), "changes": manifest["changes"] + now}, indent=1)


def _identity(config: Config, stage: str) -> dict[str, Any]:
    chosen = settings(config, stage)
    return {"settings": chosen, "config_sha256": config_hash(chosen)}


def begin_stage(
    run: Path, config: Config, stage: str, images: int, facts: dict[str, Any], allowed: Sequence[str]
) -> None:
    """Write or check a stage's manifest before its training goes on.

    images: real images the stage will see; facts: hashes of what it is trained on, compared on a resume.
    Raises UserError if the run was trained on something else.
    """
    path = run / stage / MANIFEST
    path.parent.mkdir(parents=True, exist_ok=True)
    known = read_json(path) if path.is_file() else {}
    resumed = known.get("images_seen", 0) > 0 or any((run / stage / "checkpoints").glob(f"*/{MANIFEST}"))
    for name, value in facts.items():
        if resumed and known.get(name, value) != value and not _covered(name, allowed):
            raise UserError(
                f"{run}: stage {stage} was trained with {name} {known[name]!r}, now it is {value!r}; choose another "
                f"--run directory, or accept it with: --allow-config-change {name}"
            )
    manifest = {
        "stage": stage,
        **_identity(config, stage),
        **facts,
        "seed": config.seed,
        "images_total": images,
        "images_seen": known.get("images_seen", 0),
        "finished": False,
        "versions": versions(),
        "changes": known.get("changes", []),
    }
    write_json(path, manifest, indent=1)


def note_progress(run: Path, stage: str, images: int, step: int, total: int) -> None:
    """Bring a stage's manifest up to date; total: images it sees from beginning to end."""
    path = run / stage / MANIFEST
    now = {"images_seen": images, "steps": step, "finished": images >= total}
    write_json(path, {**read_json(path), **now}, indent=1)


def versions() -> dict[str, str]:
    """Software and device that a stage is trained with."""
    packages = ("jaxlib", "flax", "optax", "orbax-checkpoint")
    return {"python": platform.python_version(), **provenance.versions(), **{name: version(name) for name in packages}}
