"""Results of a study: its tables, its figures and one page that needs no network."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from tsgan_jax.config import Config
from tsgan_jax.evaluation.records import Record, records_of
from tsgan_jax.evaluation.report import write_page
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.evaluation.report.page import source_of
from tsgan_jax.evaluation.table import save_tables
from tsgan_jax.evaluation.tables import system_name, tables
from tsgan_jax.study import figures
from tsgan_jax.study.settings import Study

REPORT = "report.html"


def write(
    study: Study, directory: Path, runs: Mapping[str, Path], left_out: Mapping[str, str], notes: Sequence[str]
) -> Path:
    """Tables as md, csv and tex, figures as png, and the page; returns the page's path.

    runs: the evaluated systems.  left_out: the others, with the reason.  notes: missing figures, with the reason.
    """
    labels = labels_of({name: study.systems[name] for name in runs})
    chosen = {f"table{number}" for number in study.settings.tables}
    made = [one for one in tables(combined(study, runs, labels)) if one.name in chosen]
    save_tables(made, directory / "tables")
    titles = {system_name(label): (runs[name], study.systems[name]) for name, label in labels.items()}
    drawn = {}
    if 4 in study.settings.figures:
        drawn[4] = figures.figure4(titles, study.settings.rows, directory / "figure4.png")
    if 5 in study.settings.figures:
        drawn[5] = figures.figure5(titles, directory / "figure5.png")
    pixels = {n: None if path is None else np.asarray(Image.open(path).convert("RGB")) for n, path in drawn.items()}
    write_page(
        directory / REPORT,
        "study.html.j2",
        title=study.settings.title,
        study=study,
        source=source_of(next(iter(study.systems.values()))),
        departures=list(departures(study)),
        systems=[_system(name, run, study.systems[name], labels[name]) for name, run in runs.items()],
        left_out=left_out,
        notes=notes,
        figures=pixels,
        tables=made,
    )
    return directory / REPORT


def labels_of(systems: Mapping[str, Config]) -> dict[str, str]:
    """The label of each system's figures: its system name, or its name in the study if two are equal."""
    kinds = [config.system for config in systems.values()]
    return {name: config.system if kinds.count(config.system) == 1 else name for name, config in systems.items()}


def combined(study: Study, runs: Mapping[str, Path], labels: Mapping[str, str]) -> list[Record]:
    """The newest figures of all systems; those of only real images, which runs share, are not repeated."""
    found: dict[tuple[object, ...], Record] = {}
    for name, run in runs.items():
        own = study.systems[name].system
        for r in records_of(run):
            system = labels[name] if r.details.get("system") == own else r.details.get("system")
            details = r.details | ({"system": system} if system else {})
            named = replace(r, method=labels[name] if r.method == own else r.method, details=details)
            found[r.kind, named.method, system, r.subject, r.metric, r.fold] = named
    return list(found.values())


def training_minutes(run: Path) -> float | None:
    """Minutes of training of stage 2, by its log, without pauses between interruption and resume."""
    path = run / "translation" / "log.jsonl"
    times = [json.loads(line)["time"] for line in path.read_text().splitlines()] if path.is_file() else []
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return None
    return float(steps[steps <= 20 * median(steps)].sum()) / 60


def departures(study: Study) -> Iterator[tuple[str, str]]:
    """Systems with settings that differ from the budget, and the settings."""
    for name, config in study.systems.items():
        own = {key: getattr(config.translation, key) for key in study.settings.budget}
        changed = [f"{key} {value}" for key, value in own.items() if value != study.settings.budget[key]]
        if changed:
            yield name, ", ".join(changed)


def _system(name: str, run: Path, config: Config, label: str) -> dict[str, Any]:
    """The row of a system: its training and its most important figures."""
    material, minutes = Material(run, config), training_minutes(run)
    unconditional = getattr(config.translation, "prior_fraction", 0)
    seen = f"{material.manifest('translation').get('images_seen', 0):,}"
    return {
        "name": name,
        "title": system_name(label),
        "seen": seen + (f", {unconditional:.0%} without masks" if unconditional else ""),
        "batch": config.translation.batch_size,
        "minutes": "–" if minutes is None else f"{minutes:.3g}",
        "figures": (
            material.value("similarity", "full", "PSNR"),
            material.value("similarity", "full", "SSIM"),
            material.distance,
            material.value("adherence", "left lung", "Dice"),
            material.value("copies", "ct", "share of copies"),
        ),
    }
