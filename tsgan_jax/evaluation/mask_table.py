"""Table of masks by source, before the gate: stage 1, deformed training masks and real masks.

Deformed masks need no network, so they are the baseline of stage 1.  Real training masks are the best possible value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.evaluation.mask_statistics import PAIRED, Sample, concatenate, mean_pairwise_iou, measure
from tsgan_jax.evaluation.mask_variety import NEAREST, Features, compared, mask_features, scaled
from tsgan_jax.evaluation.records import Kind, Record
from tsgan_jax.evaluation.sources import evenly
from tsgan_jax.labels import TRACHEA
from tsgan_jax.masks.plausibility import TRACHEA_IN_LUNG, check

Masks = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""Iterable of masks [h, w]."""

REAL_TEST, STAGE_1, DEFORM, REAL_TRAINING = "real test", "stage 1", "deform", "real training"

MEASURED = 500
"""Number of masks of each source.  At 512 px the gate and the properties take 0.05 s per mask, a deformation 0.3 s."""

PSIS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Truncations psi of the sweep."""

SWEPT = 250
"""Number of masks at each psi."""

GATE = "passes the gate"
SWEPT_ROWS = (GATE, "pairwise IoU", "precision", "recall")
"""Figures of ROWS at each truncation; all of them are shares, 0 to 1."""

ROWS = {
    GATE: "share of masks",
    "nodules": "per mask",
    "nodule diameter, 25 %": "mm",
    "nodule diameter, 50 %": "mm",
    "nodule diameter, 75 %": "mm",
    "lung around a nodule": "share of 5 mm, mean",
    "trachea": "share of masks that have one",
    "trachea inside a lung": "share of masks",
    "pairwise IoU": "mean; smaller is more diverse",
    "body area, 10 %": "cm²",
    "body area, 90 %": "cm²",
    "lung area, 10 %": "cm²",
    "lung area, 90 %": "cm²",
    "precision": "share",
    "recall": "share",
}
"""Figures and their units, in the order of the table."""


@dataclass(frozen=True)
class Row:
    """One figure.  values: by source; None if there is no value."""

    name: str
    unit: str
    values: dict[str, float | None]


def spread(masks: Masks, count: int) -> list[NDArray[np.uint8]]:
    """At most `count` masks, evenly spread."""
    return [masks[place] for place in evenly(len(masks), count)]


def psi_name(psi: float) -> str:
    """The subject of records of masks at a truncation."""
    return f"psi {psi:.1f}"


def compare_masks(sources: Mapping[str, Masks], test: Masks, pixel_mm: float, nearest: int = NEAREST) -> list[Row]:
    """The rows of ROWS, with a value for "real test" and for each source, in this order.

    sources: masks uint8 [h, w] by name; test: real test masks to compare with; pixel_mm: side of a pixel,
    used for all masks.  nearest: k of precision and recall, which use equally many masks of every source.
    """
    columns = {REAL_TEST: list(test), **{name: list(masks) for name, masks in sources.items()}}
    values = {name: _measured(masks, pixel_mm) for name, masks in columns.items()}
    found = {name: mask_features(masks, pixel_mm) for name, masks in columns.items()}
    for name, (precision, recall) in _variety(found, nearest).items():
        values[name] |= {"precision": precision, "recall": recall}
    return [
        Row(row, unit, {name: values[name].get(row) for name in columns if row in values[name]})
        for row, unit in ROWS.items()
    ]


def records(
    kind: Kind,
    rows: Sequence[Row],
    counts: Mapping[str, int],
    method: str,
    made_from: dict[str, Any],
    details: dict[str, Any],
) -> list[Record]:
    """A record for each value; subject: the source, metric: the row.

    counts: masks of each source; details: for every record.
    """
    return [
        Record(
            kind=kind,
            method=method,
            subject=source,
            metric=row.name,
            value=value,
            n=counts[source],
            reason=None if value is not None else "too few masks have a value",
            made_from=made_from,
            details={"unit": row.unit, **details},
        )
        for row in rows
        for source, value in row.values.items()
    ]


def rows_of(found: Sequence[Record]) -> tuple[list[str], list[Row]]:
    """The sources and rows in the records of one table; the real test masks are first."""
    values = {(one.metric, one.subject): one.value for one in found}
    names = list(dict.fromkeys(one.subject for one in found if one.metric in ROWS))
    names.sort(key=lambda name: name != REAL_TEST)
    rows = [
        Row(row, unit, {name: values[row, name] for name in names if (row, name) in values})
        for row, unit in ROWS.items()
    ]
    return names, [row for row in rows if row.values]


def table_lines(found: Sequence[Record]) -> list[str]:
    """The table in the records as text: one row per figure, one column per source, a dash for no value."""
    names, rows = rows_of(found)
    cells = [["", *names]]
    for row in rows:
        values = (row.values.get(name) for name in names)
        cells.append([f"{row.name} ({row.unit})", *("–" if value is None else f"{value:.3g}" for value in values)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = (str.ljust, *(str.rjust for _ in names))
    return ["  ".join(map(lambda side, cell, width: side(cell, width), sides, line, widths)) for line in cells]


def _measured(masks: Masks, pixel_mm: float) -> dict[str, float | None]:
    """The rows that need only one source."""
    if not len(masks):
        return dict.fromkeys(name for name in ROWS if name not in ("precision", "recall"))
    verdicts = [check(mask, pixel_mm) for mask in masks]
    every = concatenate(measure(masks, pixel_mm))
    around = every["lung around a nodule"]
    return {
        GATE: float(np.mean([one.accepted for one in verdicts])),
        "nodules": float(every["nodules"].mean()),
        **_percentiles(every, "nodule diameter", (25, 50, 75)),
        "lung around a nodule": float(around.mean()) if len(around) else None,
        "trachea": float(np.mean([(mask == TRACHEA).any() for mask in masks])),
        "trachea inside a lung": float(np.mean([TRACHEA_IN_LUNG in one.reasons for one in verdicts])),
        "pairwise IoU": mean_pairwise_iou(spread(masks, PAIRED)),
        **_percentiles(every, "body area", (10, 90)),
        **_percentiles(every, "lung area", (10, 90)),
    }


def _percentiles(every: Sample, name: str, percents: tuple[int, ...]) -> dict[str, float | None]:
    """Percentiles of one property, by row."""
    values = every[name]
    return {f"{name}, {each} %": float(np.percentile(values, each)) if len(values) else None for each in percents}


def _variety(found: Mapping[str, Features], k: int) -> dict[str, tuple[float | None, float | None]]:
    """Precision and recall of each source; the real test masks have none."""
    real = found[REAL_TEST]
    others = {name: features for name, features in found.items() if name != REAL_TEST}
    size = min([len(real), *(len(features) for features in others.values() if len(features))])
    held, *sets = scaled(real, real, *others.values())
    usable = size > k and held.shape[1] > 0
    return {
        name: compared(held, features, size, k) if usable and len(features) else (None, None)
        for name, features in zip(others, sets, strict=True)
    }
