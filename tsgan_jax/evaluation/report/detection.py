"""The effect of the set on detectors: detection records as tables and a plot, with their warnings."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.report import plots
from tsgan_jax.evaluation.report.figures import number
from tsgan_jax.evaluation.report.html import Child, Html, el, figure, table
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.evaluation.report.sections import section
from tsgan_jax.evaluation.tables import system_name

METRICS = ("precision", "recall", "mAP50", "mAP50-95")
DIFFERENCE = " - real"
"""Ends the metric of a paired difference from the detector trained on real images alone."""

_SCHEDULED = re.compile(r"real(?:\+(\d+))?")
_TITLE = "Does it help a detector?"
_NOTES = (
    "Every figure is of real test slices of whole scans that neither the detector nor the generator has seen: mean "
    "over test folds, with the standard deviation between them. Precision and recall are taken at the confidence of "
    "the largest F1; mAP50 is at IoU 0.5, mAP50-95 the mean of ten IoUs from 0.50 to 0.95, as ultralytics computes "
    "them.",
    "YOLOv5 is ultralytics' own anchor-free YOLOv5u, not the anchor-based YOLOv5 of 2020.",
)

Row = tuple[str, str, str]
"""Detector, training set, source of synthetic images."""


def detection(material: Material) -> Html:
    """Figures of detectors trained on real and synthetic slices, on real test slices."""
    records = [r for r in material.of("detection") if r.metric != "any"]
    if not records:
        words = (
            "No detector has been trained. This needs a section detection in the config and a separate environment "
            "with ultralytics: bin/evaluate --only detection."
        )
        return section("detection", _TITLE, el("p", words, class_="note"))
    found = [record for record in records if record.value is not None]
    figures = [r for r in found if not r.metric.endswith(DIFFERENCE)]
    differences = [r for r in found if r.metric.endswith(DIFFERENCE)]
    return section(
        "detection",
        _TITLE,
        [el("p", note, class_="note") for note in _NOTES],
        [el("p", el("span", "Beware: ", class_="flag"), words, class_="note") for words in _cautions(records)],
        _table(figures, METRICS),
        _differences(differences) if differences else None,
        [_plot(figures, metric) for metric in ("mAP50", "recall")],
    )


def _cautions(records: Sequence[Record]) -> list[str]:
    """Each warning once for all folds."""
    told = [words for r in records for words in dict(r.details.get("cautions") or {}).values()]
    return list(dict.fromkeys(told))


def _grouped(records: Sequence[Record]) -> dict[Row, dict[str, list[Record]]]:
    groups: dict[Row, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        row = (record.method, record.subject, str(record.details.get("system", "")))
        groups[row][record.metric].append(record)
    return groups


def _table(records: Sequence[Record], metrics: Sequence[str]) -> Html:
    """One row per detector and training set, one column per metric."""
    rows: list[list[Child]] = [
        [method, [subject, _by(system)], *(_mean(found.get(metric, [])) for metric in metrics), _objects(found)]
        for (method, subject, system), found in _grouped(records).items()
    ]
    return table(["detector", "trained on", *metrics, "nodules"], rows, words=(0, 1))


def _differences(records: Sequence[Record]) -> Html:
    """Paired differences from `real`; one fold has an interval, several have their spread."""
    words = (
        "The same detector on the same test slices, minus the one trained only on real images. Both figures are "
        "pycocotools', with precision and recall at the confidence of the largest F1. The figures above are from "
        "ultralytics, which smooths the curves; with few nodules the two differ. With one test fold the 95 % "
        "interval is over its scans; with several the spread is between them."
    )
    metrics = [metric + DIFFERENCE for metric in METRICS]
    return el(
        "div", el("h3", "Difference from real images only"), el("p", words, class_="note"), _table(records, metrics)
    )


def _mean(records: Sequence[Record]) -> Child:
    values = [record.value for record in records if record.value is not None]
    if not values:
        return "–"
    spread, terms = None, records[0].details.get("of") if len(records) == 1 else None
    if len(values) > 1:
        spread = f"± {number(float(np.std(values, ddof=1)))}, {len(values)} folds"
    elif records[0].interval:
        spread = " to ".join(number(bound) for bound in records[0].interval)
    return [
        number(float(np.mean(values))),
        el("span", " − ".join(map(number, terms)), class_="ci") if terms else None,
        el("span", spread, class_="ci") if spread else None,
    ]


def _objects(found: dict[str, list[Record]]) -> str:
    return str(max(sum(record.n for record in records) for records in found.values()))


def _by(system: str) -> Html | None:
    return el("span", f"synthetic by {system_name(system)}", class_="small") if system not in ("", "real") else None


def _plot(records: Sequence[Record], metric: str) -> Html | None:
    """One metric over the synthetic images added, if there is a schedule."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        match = _SCHEDULED.fullmatch(record.subject)
        if match and record.metric == metric and record.value is not None:
            values[record.method][int(match[1] or 0)].append(record.value)
    series = {
        method: [(n, float(np.mean(found)), float(np.std(found))) for n, found in by_count.items()]
        for method, by_count in values.items()
        if len(by_count) > 1
    }
    return figure(plots.gains(series, metric), f"{metric} over synthetic images added", "wide") if series else None
