"""Results of a study: its tables, its figures and one page that needs no network."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from tsgan_jax.config import Config, TranslationConfig
from tsgan_jax.evaluation.records import Record, current, read
from tsgan_jax.evaluation.report import document, save_tables, shown_tables
from tsgan_jax.evaluation.report.figures import cell, floor
from tsgan_jax.evaluation.report.html import Child, Html, el, figure, picture, table
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.evaluation.report.sections import section
from tsgan_jax.evaluation.tables import Table, system_name, tables
from tsgan_jax.files import write_bytes
from tsgan_jax.study import figures
from tsgan_jax.study.settings import Study

REPORT = "report.html"
_CAPTIONS = {
    4: "Figure 4. The same masks, one column per system. Real test masks, of scans that no network has seen, have "
    "their real CT; masks of the set are generated, so they have no real CT.",
    5: "Figure 5. t-SNE of real test slices (blue) and generated ones (orange). It shows neighbourhoods, not "
    "distances; the mixing score is of the features, 1 for random mixing, 0 for separate kinds.",
}


def write(
    study: Study,
    directory: Path,
    runs: Mapping[str, Path],
    left_out: Mapping[str, str],
    notes: Sequence[str],
) -> Path:
    """Tables as md, csv and tex, figures as png, and the page; returns the page's path.

    runs: the evaluated systems.  left_out: the others, with the reason.  notes: missing figures, with the reason.
    """
    labels = labels_of({name: study.systems[name] for name in runs})
    made = chosen_tables(study, combined(study, runs, labels))
    save_tables(made, directory / "tables")
    titles = {system_name(label): (runs[name], study.systems[name]) for name, label in labels.items()}
    drawn = {}
    if 4 in study.settings.figures:
        drawn[4] = figures.figure4(titles, study.settings.rows, directory / "figure4.png")
    if 5 in study.settings.figures:
        drawn[5] = figures.figure5(titles, directory / "figure5.png")
    body = [
        section("systems", "Systems", _systems(study, runs, labels), _left_out(left_out, notes)),
        section("figures", "Figures", [_figure(number, path) for number, path in drawn.items()]),
        section("tables", "Tables with the paper's figures", shown_tables(made)),
    ]
    words = f"Made by bin/train --config {study.path.name}; tables/ holds the same tables as markdown, CSV and LaTeX."
    lead = el("p", _lead(study, len(runs)), class_="lead")
    links = {"systems": "Systems", "figures": "Figures", "tables": "Tables"}
    text = document(study.settings.title, "Comparison of systems", lead, links, body, words)
    write_bytes(directory / REPORT, text.encode())
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
        for record in current(read(run / "evaluation" / "records.jsonl")):
            named = _renamed(record, own, labels[name])
            system = named.details.get("system")
            found[named.kind, named.method, system, named.subject, named.metric, named.fold] = named
    return list(found.values())


def _renamed(record: Record, own: str, label: str) -> Record:
    details = record.details | ({"system": label} if record.details.get("system") == own else {})
    return replace(record, method=label if record.method == own else record.method, details=details)


def chosen_tables(study: Study, records: Iterable[Record]) -> list[Table]:
    """The tables that the study chooses."""
    names = {f"table{number}" for number in study.settings.tables}
    return [one for one in tables(records) if one.name in names]


def training_minutes(run: Path) -> float | None:
    """Minutes of training of stage 2, by its log, without pauses between interruption and resume."""
    path = run / "translation" / "log.jsonl"
    times = [json.loads(line)["time"] for line in path.read_text().splitlines()] if path.is_file() else []
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return None
    return float(steps[steps <= 20 * median(steps)].sum()) / 60


def _lead(study: Study, count: int) -> str:
    first = next(iter(study.systems.values()))
    source = "LUNA16-style scans" if first.data.root else "the procedural chest phantom"
    budget = ", ".join(f"{name} {value}" for name, value in study.settings.budget.items())
    return (
        f"{count} of {len(study.systems)} systems on the same slices at {first.data.resolution} px, {source}, test "
        f"fold {', '.join(map(str, first.data.test_folds))}"
        + (f"; common budget: {budget}" if budget else "")
        + "".join(f"; but {name} has {what}" for name, what in departures(study))
        + "."
    )


def departures(study: Study) -> Iterator[tuple[str, str]]:
    """Systems with settings that differ from the budget, and the settings."""
    for name, config in study.systems.items():
        own = {key: getattr(config.translation, key) for key in study.settings.budget}
        changed = [f"{key} {value}" for key, value in own.items() if value != study.settings.budget[key]]
        if changed:
            yield name, ", ".join(changed)


def _images_seen(run: Material, translation: TranslationConfig) -> str:
    seen = run.manifest("translation", "manifest.json").get("images_seen", 0)
    unconditional = getattr(translation, "prior_fraction", 0)
    return f"{seen:,}" + (f", {unconditional:.0%} without masks" if unconditional else "")


def _systems(study: Study, runs: Mapping[str, Path], labels: Mapping[str, str]) -> Html:
    """One row per system: its training and its most important figures."""
    head = ("system", "images seen", "batch", "minutes", "PSNR", "SSIM", "distance", "Dice, left lung", "copies, CT")
    rows: list[list[Child]] = []
    for name, run in runs.items():
        config = study.systems[name]
        material = Material(run, config)
        distances = [r for r in material.of("distance") if r.subject == "full" and r.metric.startswith(("FID", "FD-"))]
        distance = next((r for r in distances if r.value is not None), None)
        minutes = training_minutes(run)
        records = (
            material.value("similarity", "full", "PSNR"),
            material.value("similarity", "full", "SSIM"),
            distance,
            material.value("adherence", "left lung", "Dice"),
            material.value("copies", "ct", "share of copies"),
        )
        title = el("a", system_name(labels[name]), href=f"systems/{name}/report.html")
        seen = _images_seen(material, config.translation)
        time = "–" if minutes is None else f"{minutes:.3g}"
        rows.append([title, seen, str(config.translation.batch_size), time, *map(_with_floor, records)])
    return table(head, rows)


def _with_floor(record: Record | None) -> Child:
    reference = None if record is None or record.floor is None else el("span", f"real {floor(record)}", class_="ci")
    return [cell(record), reference]


def _left_out(left_out: Mapping[str, str], notes: Sequence[str]) -> Child:
    lines = [*(f"{name} is left out: {reason}" for name, reason in left_out.items()), *notes]
    if not lines:
        return None
    return [el("h3", "What this study leaves out"), el("ul", [el("li", line) for line in lines], class_="note")]


def _figure(number: int, path: Path | None) -> Html:
    if path is None:
        return el("p", f"Figure {number}: no run stored the data for it.", class_="note")
    with Image.open(path) as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    return figure(picture(pixels, f"Figure {number}", style="image-rendering:auto"), _CAPTIONS[number], "wide")
