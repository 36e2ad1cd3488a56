"""Whether files are as they were written: a run, a set, packed networks, prepared slices, a LUNA16 tree, weights.

Nothing is changed: what is damaged is named, and the command that mends it or goes on without it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsgan_jax.config import VGG_LAYERS
from tsgan_jax.errors import UserError
from tsgan_jax.experiment.rundir import CONFIG, STAGES
from tsgan_jax.files import file_sha256, read_json, read_object, safe_name
from tsgan_jax.generation import formats, packed
from tsgan_jax.generation.manifest import manifest_path, read_manifest, refuse_changed
from tsgan_jax.train.checkpoint import MANIFEST, META, unsound

WEIGHTS = (".pth", ".pt", ".npz", ".h5")
TREE_RESOLUTION = 128  # slices of a tree are cut at this size, in pixels, to be judged as bin/prepare judges them
Status = Literal["ok", "warning", "damaged"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.  note: its facts, or what is wrong with it and the fix."""

    path: str
    status: Status
    note: str


def verify(path: Path) -> Iterator[Finding]:
    """Findings about whatever lies at a path.  Raises UserError if it is nothing that this project knows."""
    if path.is_file() and path.suffix in WEIGHTS:
        yield _weights(path)
    elif packed.is_packed(path):
        yield from _packed(path)
    elif (path / CONFIG).is_file():
        yield from _run(path)
    elif _is_set(path):
        yield from _set(path)
    elif found := sorted(path.glob("**/dataset_info.json")):
        yield from (_prepared(info.parent) for info in found)
    elif (path / "annotations.csv").is_file() or any(path.glob("[sS]ubset*")):
        yield from _tree(path)
    else:
        raise UserError(
            f"{path}: neither a run, a set, packed networks, prepared slices, a LUNA16 tree nor a file of weights "
            f"({', '.join(WEIGHTS)})"
        )


def _weights(path: Path) -> Finding:
    """A file of VGG-19's or Inception's weights."""
    from tsgan_jax.nn.inception import load_inception
    from tsgan_jax.nn.vgg import load_vgg19

    reasons = []
    for deepest in reversed(VGG_LAYERS):
        try:
            network = load_vgg19(path, (deepest,))
            return Finding(str(path), "ok", f"VGG-19 to {deepest} ({network.kind}), SHA-256 {network.sha256}")
        except UserError as error:
            reasons.append(str(error))
    try:
        load_inception(path)
        return Finding(str(path), "ok", f"Inception, SHA-256 {file_sha256(path)}")
    except UserError as error:
        return Finding(str(path), "damaged", f"not VGG-19 ({reasons[-1]}); not Inception ({error})")


def _packed(folder: Path) -> Iterator[Finding]:
    try:
        hashes = packed.manifest_of(folder)["sha256"]
    except UserError as error:
        yield Finding(str(folder / packed.MANIFEST), "damaged", str(error))
        return
    for name, expected in hashes.items():
        path = folder / safe_name(name, f"{folder / packed.MANIFEST}: sha256")
        found = file_sha256(path) if path.is_file() else None
        note = "as packed" if found == expected else "missing" if found is None else "changed; get the folder again"
        yield Finding(str(path), "ok" if found == expected else "damaged", note)


def _run(run: Path) -> Iterator[Finding]:
    """Config, checkpoints and log of each stage, and every set of a run."""
    from tsgan_jax.config.reading import load_config

    try:
        load_config(run / CONFIG)
        yield Finding(str(run / CONFIG), "ok", "is read")
    except UserError as error:
        yield Finding(str(run / CONFIG), "damaged", str(error))
    for stage in STAGES:
        for folder in sorted((run / stage / "checkpoints").glob("*"), key=lambda path: path.name.zfill(12)):
            if folder.is_dir() and folder.name.isdecimal():
                yield _checkpoint(folder)
        if (run / stage / MANIFEST).is_file():
            yield _manifest(run / stage / MANIFEST)
        if (run / stage / "log.jsonl").is_file():
            yield _log(run / stage / "log.jsonl")
    for folder in sorted((run / "sets").glob("*")):
        if _is_set(folder):
            yield from _set(folder)


def _checkpoint(folder: Path) -> Finding:
    reason = unsound(folder)
    if reason is None:
        return Finding(str(folder), "ok", f"{read_json(folder / META)['images_seen']} images seen")
    if not (folder / MANIFEST).is_file():
        return Finding(str(folder), "warning", f"{reason}; training goes on from the one before it")
    return Finding(str(folder), "damaged", f"{reason}; training sets it aside and goes on from the one before it")


def _manifest(path: Path) -> Finding:
    try:
        return Finding(str(path), "ok", f"{read_object(path, images_seen=0)['images_seen']} images seen")
    except UserError as error:
        return Finding(str(path), "damaged", str(error))


def _log(path: Path) -> Finding:
    """Whether every line is JSON and no step comes twice."""
    steps: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            steps.append(int(json.loads(line)["step"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return Finding(str(path), "warning", f"line {number} is incomplete; the next training cuts it off")
    if steps != sorted(set(steps)):
        return Finding(str(path), "damaged", "steps do not rise from line to line")
    return Finding(str(path), "ok", f"{len(steps)} lines, to step {steps[-1] if steps else 0}")


def _is_set(folder: Path) -> bool:
    return (folder / "images").is_dir() and manifest_path(folder) is not None


def _set(folder: Path) -> Iterator[Finding]:
    """Images and annotations, then the formats made from them."""
    try:
        manifest = read_manifest(folder)
        if not manifest.get("complete"):
            yield Finding(str(folder), "warning", "not finished; bin/generate with the same --out finishes it")
            return
        refuse_changed(folder, manifest)
        accepted = sum(bool(image["accepted"]) for image in manifest["images"])
        yield Finding(str(folder), "ok", f"{accepted} images as they were written")
        faults = formats.faults(folder, manifest)
        for name in manifest.get("formats", {}):
            place = str(folder / name)
            if name in faults:
                mend = f"bin/generate --set {folder} --format {name} mends it"
                yield Finding(place, "damaged", f"{faults[name]}; {mend}")
            else:
                yield Finding(place, "ok", "as it was written")
    except UserError as error:
        yield Finding(str(folder), "damaged", str(error))
    except (KeyError, TypeError, AttributeError) as error:
        yield Finding(str(manifest_path(folder)), "damaged", f"lacks {error}; run bin/generate again")


def _prepared(folder: Path) -> Finding:
    from tsgan_jax.data.dataset import read_all

    try:
        return Finding(str(folder), "ok", f"{read_all(folder)} slices are read")
    except UserError as error:
        return Finding(str(folder), "damaged", str(error))


def _tree(root: Path) -> Iterator[Finding]:
    """The verdict of bin/prepare on every scan."""
    from tsgan_jax.data.preparation import prepare_cases
    from tsgan_jax.data.verify import find_cases

    tree = find_cases(root)
    for reason in tree.dropped:
        yield Finding(str(root / "annotations.csv"), "warning", reason)
    for verdict, _ in prepare_cases(tree, TREE_RESOLUTION):
        status: Status = "damaged" if verdict.status == "refused" else verdict.status
        yield Finding(str(root / verdict.file), status, "; ".join(verdict.reasons) or f"{verdict.nodules} nodules")
