"""A run directory: one experiment with a fixed config.

config.yaml                resolved config
masks/  translation/       manifest.json, log.jsonl, checkpoints/, samples/*.png
sets/<name>/               generated sets
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from tsgan_jax.config import Config
from tsgan_jax.config.reading import config_hash, dump_config, flatten, load_config, with_absolute_paths
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_json, read_object, write_bytes, write_sealed
from tsgan_jax.generation import runs
from tsgan_jax.masks.growth import phase_at, plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.train.checkpoint import MANIFEST, META, differs, unsound
from tsgan_jax.train.learner import without_frozen
from tsgan_jax.translation.registry import translator
from tsgan_jax.workers import cores

STAGES = ("masks", "translation")
CONFIG = "config.yaml"

Differences = dict[str, dict[str, tuple[Any, Any]]]  # stage to key to (trained with, asked for)


def settings(config: Config, stage: str) -> dict[str, Any]:
    """The settings that a stage's result depends on, with dotted keys; files are compared by hash."""
    decisive = config.decisive_settings()
    return flatten({name: decisive[name] for name in ("seed", "precision", "data", stage)})


def compare(run: Path, config: Config, allowed: Sequence[str] = ()) -> Differences:
    """How a config differs from what the stages that have a checkpoint were trained with; writes nothing.

    allowed: keys, or sections, that may differ.  Raises UserError with the differences that may not.
    """
    _check_place(run)
    differences: Differences = {}
    for stage in STAGES:
        if (run / stage / MANIFEST).is_file() and any((run / stage / "checkpoints").glob(f"*/{MANIFEST}")):
            trained, current = read_object(run / stage / MANIFEST, settings=dict)["settings"], settings(config, stage)
            keys = [key for key in dict.fromkeys([*trained, *current]) if trained.get(key) != current.get(key)]
            differences[stage] = {key: (trained.get(key), current.get(key)) for key in keys}
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
            f"choose another --run directory, undo the changes, or accept them with: {flags}"
        )
    return {stage: changes for stage, changes in differences.items() if changes}


def check_loads(run: Path, config: Config, differences: Differences, slices: int) -> None:
    """Raise UserError if a sound checkpoint of a changed stage cannot be loaded under `config`; reads no array.

    slices: real slices that are trained on.
    """
    for stage, changes in differences.items():
        folders = [path.parent for path in (run / stage / "checkpoints").glob(f"*/{MANIFEST}")]
        for folder in sorted(one for one in folders if one.name.isdecimal() and unsound(one) is None):
            state = _state(folder, config, stage, read_json(folder / META), slices)
            if reason := differs(folder, without_frozen(state), whole=True):
                raise UserError(
                    f"{', '.join(changes)}: this change is of other networks than those trained\n({folder}: {reason}; "
                    "use the config it was trained with, or another --run directory)"
                )


def _state(folder: Path, config: Config, stage: str, meta: Mapping[str, Any], slices: int) -> Any:
    """The state that training would go on with, as shapes."""
    if stage == "masks":
        phases, trained = plan(config.masks), meta["phase"]
        next_phase, _ = phase_at(phases, meta["images_seen"])
        if trained >= len(phases) or next_phase not in (trained, trained + 1):
            raise UserError(
                f"{folder}: was saved in phase {trained + 1}, its {meta['images_seen']} images end in phase "
                f"{next_phase + 1} of the changed plan; change the lengths of later phases only"
            )
        init = stylegan(config.masks, phases[trained]).init
    else:
        init = translator(config.translation, slices).init
    return jax.eval_shape(init, jax.random.key(0))


def accept(run: Path, config: Config, differences: Differences) -> None:
    """Write a config that was compared to config.yaml, and its differences to the manifests of their stages.

    Paths are written as absolute ones, so that later commands may run from another directory.
    """
    for stage, differing in differences.items():
        manifest = _known(run, stage)
        seen = manifest["images_seen"]
        now = [{"key": key, "from": old, "to": new, "images_seen": seen} for key, (old, new) in differing.items()]
        changed = {**manifest, **_identity(config, stage), "changes": manifest["changes"] + now}
        write_sealed(run / stage / MANIFEST, changed)
    write_bytes(run / CONFIG, dump_config(with_absolute_paths(config)).encode())


def _check_place(run: Path) -> None:
    """Raise UserError for a folder that has files but is not a run directory."""
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")} if run.is_dir() else set()
    if names and not names & {*STAGES, "sets"} and not (names == {CONFIG} and _is_ours(run / CONFIG)):
        raise UserError(
            f"{run} has {sorted(names)[0]!r} and is not a run directory; choose an empty or a new one with --run"
        )


def _is_ours(path: Path) -> bool:
    """Whether a run wrote this config, not a user: the run was stopped before its first stage."""
    try:
        return path.read_text() == dump_config(load_config(path))
    except UserError:
        return False


def _covered(key: str, allowed: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def _identity(config: Config, stage: str) -> dict[str, Any]:
    chosen = settings(config, stage)
    return {"settings": chosen, "config_sha256": config_hash(chosen)}


def check_facts(run: Path, stage: str, facts: dict[str, Any], allowed: Sequence[str]) -> None:
    """Raise UserError if a stage that has begun was trained on something else.

    facts: hashes of what it is trained on; allowed: names that may differ.
    """
    if not is_begun(run, stage):
        return
    known = _known(run, stage)
    for name, value in facts.items():
        if known.get(name, value) != value and not _covered(name, allowed):
            raise UserError(
                f"{run}: stage {stage} was trained with {name} {known[name]!r}, now it is {value!r}; choose another "
                f"--run directory, or accept it with: --allow-config-change {name}"
            )


def begin_stage(
    run: Path, config: Config, stage: str, images: int, facts: dict[str, Any], say: Callable[[str], None] = print
) -> None:
    """Write a stage's manifest before its training goes on; images: real images the stage will see.

    Says so where training goes on with another number of cores, which changes the last bits of sums on a CPU.
    """
    path, known = run / stage / MANIFEST, _known(run, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    before, now = known if is_begun(run, stage) else {}, cores()
    used = before.get("cores", [])
    if not used or (used[-1] != now and not known.get("finished")):
        if used and jax.default_backend() == "cpu":
            say(
                f"stage {stage}: trained on {used[-1]} cores so far, now on {now}; the result will not be the same bit "
                f"for bit as that of a run on {used[-1]}"
            )
        used = [*used, now]
    manifest = {
        "stage": stage,
        **_identity(config, stage),
        **facts,
        "seed": config.seed,
        "images_total": images,
        "images_seen": known["images_seen"],
        "finished": False,
        "versions": versions(),
        "cores": used,
        "changes": known["changes"],
    }
    if "start_from" in before:
        manifest["start_from"] = before["start_from"]
    write_sealed(path, manifest)


def _known(run: Path, stage: str) -> dict[str, Any]:
    """A stage's manifest; nothing seen before the stage has begun."""
    path, defaults = run / stage / MANIFEST, {"images_seen": 0, "cores": [], "changes": []}
    return read_object(path, **defaults) if path.is_file() else defaults


def is_begun(run: Path, stage: str) -> bool:
    """Whether a stage has trained."""
    return _known(run, stage)["images_seen"] > 0 or any((run / stage / "checkpoints").glob(f"*/{MANIFEST}"))


def note_start(run: Path, stage: str, source: dict[str, Any]) -> None:
    """Write to a stage's manifest with whose weights it began."""
    path = run / stage / MANIFEST
    write_sealed(path, {**read_object(path), "start_from": source})


def note_progress(run: Path, stage: str, images: int, step: int, total: int) -> None:
    """Update a stage's manifest; total: images of the whole stage."""
    path = run / stage / MANIFEST
    now = {"images_seen": images, "steps": step, "finished": images >= total}
    write_sealed(path, {**read_object(path), **now})


def versions() -> dict[str, str]:
    """Versions of software and the device of training."""
    packages = ("jaxlib", "flax", "optax", "orbax-checkpoint")
    return {"python": platform.python_version(), **runs.versions(), **{name: version(name) for name in packages}}
