"""Does the set help a detector?  Detection records as a table, a plot, and the warnings that belong to them."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tsgan_jax.evaluate.records import Record
from tsgan_jax.evaluate.report import plots
from tsgan_jax.evaluate.report.figures import number
from tsgan_jax.evaluate.report.html import Child, Html, el, figure, table
from tsgan_jax.evaluate.report.material import Material
from tsgan_jax.evaluate.report.sections import section

METRICS = ("precision", "recall", "mAP50", "mAP50-95")
_SCHEDULED = re.compile(r"real(?:\+(\d+))?")


def detection(material: Material) -> Html:
    """What detectors trained on real and synthetic slices reach on real test slices."""
    records = [r for r in material.of("detection") if r.metric != "any"]
    if not records:
        words = (
            "No detector has been trained. Detection runs where the config has a section detection; it needs the "
            "separate environment with ultralytics."
        )
        return section("detection", "Does it help a detector?", el("p", words, class_="note"))
    with_value = [record for record in records if record.value is not None]
    small = sorted({str(r.details["too_small"]) for r in records if r.details.get("too_small")})
    notes = [
        "Precision and recall at the confidence of the largest F1; mAP50 and mAP50-95 as ultralytics computes them. "
        "Every figure is of real test slices of whole scans that neither the detector nor the generator has seen. "
        "Mean over folds and seeds, with their standard deviation.",
        "YOLOv5 is ultralytics' own anchor-free YOLOv5u, not the paper's anchor-based YOLOv5.",
        *small,
    ]
    return section(
        "detection",
        "Does it help a detector?",
        [el("p", note, class_="note") for note in notes],
        _summary(with_value),
        [_plot(with_value, metric) for metric in ("mAP50", "recall")],
    )


def _summary(records: Sequence[Record]) -> Html:
    """A row a training set and detector, a column a metric."""
    groups: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.value is not None:
            groups[record.method, record.subject][record.metric].append(record.value)
    shown = [m for m in METRICS if any(m in found for found in groups.values())]
    shown += sorted({metric for found in groups.values() for metric in found} - set(shown))
    rows: list[list[Child]] = [
        [method, subject, *(_spread(found.get(metric, [])) for metric in shown)]
        for (method, subject), found in groups.items()
    ]
    return table(["detector", "trained on", *shown], rows, words=(0, 1))


def _spread(values: Sequence[float]) -> Child:
    if not values:
        return "–"
    spread = el("span", f"± {number(float(np.std(values, ddof=1)))}, {len(values)} runs", class_="ci")
    return [number(float(np.mean(values))), spread if len(values) > 1 else None]


def _plot(records: Sequence[Record], metric: str) -> Html | None:
    """One metric over the synthetic images added, where there is a schedule."""
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
