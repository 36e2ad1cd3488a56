"""Masks of several sources side by side: what stage 1 draws, what needs no network, and real ones.

A generator of masks is worth its training only where it is better than the simplest source of new masks, and nothing
is nearer to real test masks than real training masks are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.evaluate.mask_statistics import PAIRED, Gate, mean_pairwise_iou, measure, pooled
from tsgan_jax.evaluate.mask_variety import NEAREST, Features, compared, mask_features, scaled
from tsgan_jax.evaluate.records import Record
from tsgan_jax.labels import TRACHEA
from tsgan_jax.masks.plausibility import TRACHEA_IN_LUNG, judge

Masks = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""One mask [h, w] after another."""

REAL_TEST, STAGE_1, DEFORM, REAL_TRAINING = "real test", "stage 1", "deform", "real training"

MEASURED = 500
"""Generated masks that are measured, evenly spread, and so masks of each other source: at 512 px the gate and the
properties take a twentieth of a second a mask, and a deformed mask a third of a second more."""

ROWS = {
    "accepted by the gate": "share",
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
    "precision": "share",
    "recall": "share",
}
"""Figures and their units, in the order of the table."""


@dataclass(frozen=True)
class Row:
    """One figure.  values: by source; None where it cannot be had."""

    name: str
    unit: str
    values: dict[str, float | None] = field(default_factory=dict)


def spread(masks: Masks, count: int) -> list[NDArray[np.uint8]]:
    """At most `count` masks, evenly spread."""
    places = np.unique(np.linspace(0, len(masks) - 1, min(count, len(masks))).round().astype(int)) if len(masks) else ()
    return [masks[place] for place in places]


def compare_masks(
    sources: Mapping[str, Masks],
    test: Masks,
    pixel_mm: float,
    *,
    gates: Mapping[str, Gate] | None = None,
    nearest: int = NEAREST,
) -> list[Row]:
    """The rows of ROWS, with a value for "real test" and for each source, in this order.

    sources: masks uint8 [h, w] by name; test: real test masks, which the sources are held against; pixel_mm: the side
    that a pixel is taken to have in all of them.  gates: what the gate let through of sources whose masks it has
    filtered; of the others it judges the masks given.  nearest: k of precision and recall, which are had of equally
    many masks of every source.
    """
    columns = {REAL_TEST: list(test), **{name: list(masks) for name, masks in sources.items()}}
    values = {name: _measured(masks, pixel_mm, (gates or {}).get(name)) for name, masks in columns.items()}
    found = {name: mask_features(masks, pixel_mm) for name, masks in columns.items()}
    for name, (precision, recall) in _variety(found, nearest).items():
        values[name] |= {"precision": precision, "recall": recall}
    return [
        Row(row, unit, {name: values[name].get(row) for name in columns if row in values[name]})
        for row, unit in ROWS.items()
    ]


def records(
    rows: Sequence[Row], counts: Mapping[str, int], method: str, made_from: dict[str, Any], details: dict[str, Any]
) -> list[Record]:
    """A record of the kind "mask sources" for each value; subject: the source, metric: the row.

    counts: masks of each source; details: for every record.
    """
    return [
        Record(
            kind="mask sources",
            method=method,
            subject=source,
            metric=row.name,
            value=value,
            n=counts[source],
            reason=None if value is not None else "no mask, or too few of them, has a value",
            made_from=made_from,
            details={"unit": row.unit, **details},
        )
        for row in rows
        for source, value in row.values.items()
    ]


def rows_of(found: Sequence[Record]) -> tuple[list[str], list[Row]]:
    """The sources and the rows that records of the kind "mask sources" hold; the real test masks come first."""
    values = {(one.metric, one.subject): one.value for one in found}
    names = list(dict.fromkeys(one.subject for one in found if one.metric in ROWS))
    names.sort(key=lambda name: name != REAL_TEST)
    rows = [
        Row(row, unit, {name: values[row, name] for name in names if (row, name) in values})
        for row, unit in ROWS.items()
    ]
    return names, [row for row in rows if row.values]


def _measured(masks: Masks, pixel_mm: float, gate: Gate | None) -> dict[str, float | None]:
    """The rows that a source has by itself."""
    if not len(masks):
        return dict.fromkeys(name for name in ROWS if name not in ("precision", "recall"))
    verdicts = [judge(mask, pixel_mm) for mask in masks]
    share = float(np.mean([one.accepted for one in verdicts]))
    if gate is not None:
        share = gate.accepted / gate.drawn if gate.drawn else float("nan")
    every = pooled(measure(masks, pixel_mm))
    diameters = _percentiles(every["nodule diameter"], (25, 50, 75))
    areas = _percentiles(every["body area"], (10, 90))
    around = every["lung around a nodule"]
    return {
        "accepted by the gate": share if np.isfinite(share) else None,
        "nodules": float(every["nodules"].mean()),
        **{f"nodule diameter, {percent} %": value for percent, value in diameters.items()},
        "lung around a nodule": float(around.mean()) if len(around) else None,
        "trachea": float(np.mean([(mask == TRACHEA).any() for mask in masks])),
        "trachea inside a lung": float(np.mean([TRACHEA_IN_LUNG in one.reasons for one in verdicts])),
        "pairwise IoU": mean_pairwise_iou(spread(masks, PAIRED)),
        **{f"body area, {percent} %": value for percent, value in areas.items()},
    }


def _percentiles(values: NDArray[np.float64], percents: tuple[int, ...]) -> dict[int, float | None]:
    if not len(values):
        return dict.fromkeys(percents)
    return {percent: float(np.percentile(values, percent)) for percent in percents}


def _variety(found: Mapping[str, Features], k: int) -> dict[str, tuple[float | None, float | None]]:
    """Precision and recall of each source; of the real test masks there is none, they would be held against
    themselves."""
    real = found[REAL_TEST]
    others = {name: features for name, features in found.items() if name != REAL_TEST}
    size = min([len(real), *(len(features) for features in others.values() if len(features))])
    held, *sets = scaled(real, real, *others.values())
    usable = size > k and held.shape[1] > 0
    return {
        name: compared(held, features, size, k) if usable and len(features) else (None, None)
        for name, features in zip(others, sets, strict=True)
    }
