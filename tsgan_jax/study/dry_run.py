"""The plan of a study before preparation and training: `bin/train --dry-run`."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax

from tsgan_jax.config import MASKS_OF, Config
from tsgan_jax.config.reading import config_hash
from tsgan_jax.experiment import rundir
from tsgan_jax.experiment.dry_run import training_slices
from tsgan_jax.experiment.stage import stage_work
from tsgan_jax.files import read_object
from tsgan_jax.study.run import run_of, unavailable, untrainable
from tsgan_jax.study.settings import Study

CORE_RATE = 30.0
"""GFLOP/s of a CPU core in training: DL-Pix2Pix at 128 px on a 2.5 GHz Xeon (docs/results.md)."""
DETECTOR_SECONDS = {"n": 2.5e-6, "s": 7.5e-6, "m": 2.2e-5}
"""Core seconds per pixel of a training image by the size of a YOLO; n is measured, s and m are scaled by FLOPs."""


def describe(study: Study, directory: Path) -> tuple[str, str | None]:
    """The plan in lines, and the reason why no system can be trained, or None.

    Work is in PFLOP; hours are for this machine's CPU cores; there are none for an accelerator.
    """
    count, estimate = training_slices(next(iter(study.systems.values())))
    tables = ", ".join(map(str, study.settings.tables))
    lines = [
        study.settings.title,
        f"directory   {directory}{' (exists: resumed)' if directory.is_dir() else ''}",
        f"slices      {count} to train on{f' ({estimate})' if estimate else ''}",
        f"makes       Tables {tables}; figures {', '.join(map(str, study.settings.figures)) or 'none'}",
        "",
    ]
    rows: list[Sequence[str]] = [("system", "epochs", "batch", "images", "stage 1", "stage 2", "hours, about")]
    seen: dict[str, str] = {}
    total, refused = 0.0, {}
    for name, config in study.systems.items():
        reason = untrainable(config)
        if reason:
            refused[name] = reason
            rows.append((name, *"––––––"))
            continue
        work, told = 0.0, list[str]()
        for stage in rundir.STAGES:
            text, one = _stage(config, stage, count, run_of(directory, name), name, seen)
            work, told = work + one, [*told, text]
        total += work
        chosen = config.translation
        images = f"{chosen.epochs * count:,}"
        rows.append((name, str(chosen.epochs), str(chosen.batch_size), images, *told, _hours(work)))
    lines += _columns(rows)
    lines += [f"left out    {name}: {reason}" for name, reason in refused.items()]
    lines += ["", f"training    about {total / 1e6:.3g} PFLOP in all, {_hours(total)} hours", *_detectors(study, count)]
    lines += [f"note        {note}" for note in unavailable(study)]
    problem = "no system of the study can be trained" if len(refused) == len(study.systems) else None
    return "\n".join(lines), problem


def _stage(config: Config, stage: str, count: int, run: Path, name: str, seen: dict[str, str]) -> tuple[str, float]:
    """How a system gets a stage, as text, and its work in GFLOP.  seen: settings to the system that trains them."""
    if stage not in config.stages:
        return f"none, {MASKS_OF[config.generation.masks].strip(' ()')}", 0.0
    key = config_hash(rundir.settings(config, stage))
    if key in seen:
        return f"of {seen[key]}", 0.0
    seen[key] = name
    manifest = run / stage / rundir.MANIFEST
    if manifest.is_file() and read_object(manifest).get("finished"):
        return "finished", 0.0
    work = stage_work(config, count)[stage]
    return f"{work / 1e6:.3g} PFLOP", work


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _hours(work: float) -> str:
    """work: GFLOP."""
    if jax.default_backend() != "cpu":
        return "–"
    return f"{work / (CORE_RATE * (os.cpu_count() or 1)) / 3600:.2g}"


def _detectors(study: Study, count: int) -> Iterable[str]:
    """Number of detector trainings: without synthetic images once, the others for each system."""
    if "detection" not in study.settings.parts:
        return
    trainings, seconds = 0, 0.0
    for place, config in enumerate(study.systems.values()):
        chosen = config.detection
        if chosen is None:
            continue
        added = [one for one in chosen.schedule if one] + ([0] * (1 + len(chosen.controls)) if not place else [])
        for model in chosen.models:
            pixels = sum(count + one for one in added) * chosen.image_size**2 * chosen.epochs * chosen.seeds
            folds = len(config.data.test_folds)
            trainings += len(added) * chosen.seeds * folds
            seconds += folds * pixels * DETECTOR_SECONDS[model[-1]]
    yield f"detectors   {trainings} trainings, about {seconds / (os.cpu_count() or 1) / 3600:.2g} hours on this CPU"
