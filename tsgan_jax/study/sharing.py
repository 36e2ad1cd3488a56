"""Reuse between systems: stages trained with equal settings, and detectors trained on equal images.

A stage is copied with its manifest and its checkpoints' hashes, so that the sets of two systems have the same parent
and translate the same masks.  Checkpoints do not change, so their files are linked.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from tsgan_jax.config import Config
from tsgan_jax.detection.training import JOB, RESULT
from tsgan_jax.experiment import rundir
from tsgan_jax.files import UNFINISHED, read_object
from tsgan_jax.train.checkpoint import unsound


def donor_of(stage: str, run: Path, config: Config, runs: Iterable[Path]) -> Path | None:
    """The run whose finished stage matches `config`; None if this run has it, or no run does."""
    if _has(run, stage, config):
        return None
    return next((other for other in runs if other != run and _has(other, stage, config)), None)


def take_over(stage: str, run: Path, donor: Path) -> None:
    """Copy the donor's finished stage to the run, atomically; replaces the run's stage."""
    run.mkdir(parents=True, exist_ok=True)
    copy = run / f"{UNFINISHED}{stage}"
    shutil.rmtree(copy, ignore_errors=True)
    left_behind = shutil.ignore_patterns("damaged", "tensorboard", f"{UNFINISHED}*")
    shutil.copytree(donor / stage, copy, ignore=left_behind, copy_function=_link_or_copy)
    shutil.rmtree(run / stage, ignore_errors=True)
    copy.rename(run / stage)


def take_over_detectors(run: Path, runs: Iterable[Path]) -> int:
    """Link finished trainings without synthetic images from other runs; returns their number.

    Each is identified by the hash of its job (detection/training.Job), so one that does not match is trained again.
    """
    taken = 0
    for other in runs:
        for result in sorted((other / "detection").glob(f"fold_*/*/*/seed_*/{RESULT}")):
            place = result.parent.relative_to(other)
            if "_plus_" in place.parts[-2] or not (result.parent / JOB).is_file() or (run / place / RESULT).is_file():
                continue
            shutil.rmtree(run / place, ignore_errors=True)
            shutil.copytree(result.parent, run / place)
            taken += 1
    return taken


def _has(run: Path, stage: str, config: Config) -> bool:
    """Whether the run's stage is finished, has the config's settings, and is undamaged."""
    path = run / stage / rundir.MANIFEST
    if not path.is_file():
        return False
    manifest = read_object(path)
    if not manifest.get("finished") or manifest.get("settings") != rundir.settings(config, stage):
        return False
    steps = [folder for folder in (run / stage / "checkpoints").glob("*") if folder.name.isdecimal()]
    return bool(steps) and unsound(max(steps, key=lambda folder: int(folder.name))) is None


def _link_or_copy(source: str, target: str) -> None:
    """Link files that do not change; copy logs and manifests, which each run writes again."""
    if "checkpoints" in Path(source).parts:
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copy2(source, target)
