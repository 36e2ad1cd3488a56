"""Tables of masks by source, before the gate: stage 1, deformed training masks and real masks; stage 1 by truncation.

They need only stage 1, no stage 2 and no set.  Deformed masks need no network, so they are the baseline of stage 1.
Real training masks are the best possible value.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.mask_statistics import PAIRED, Sample, concatenate, mean_pairwise_iou, measure
from tsgan_jax.evaluation.mask_variety import NEAREST, compared, mask_features, scaled
from tsgan_jax.evaluation.records import FAILED, Kind, Record
from tsgan_jax.evaluation.sources import evenly
from tsgan_jax.labels import TRACHEA
from tsgan_jax.masks.deform import Deformer
from tsgan_jax.masks.plausibility import TRACHEA_IN_LUNG, check
from tsgan_jax.masks.sample import sample_masks
from tsgan_jax.train.learner import stream

if TYPE_CHECKING:
    from tsgan_jax.data.pipeline import SliceSet
    from tsgan_jax.evaluation.subject import Subject

Masks = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""Masks [h, w]."""

REAL_TEST, STAGE_1, DEFORM, REAL_TRAINING = "real test", "stage 1", "deform", "real training"
MEASURED = 500
"""Number of masks of each source.  At 512 px the gate and the properties take 0.05 s per mask, a deformation 0.3 s."""
PSIS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
"""Truncations psi of the sweep."""
SWEPT = 250
"""Number of masks at each psi."""

GATE = "passes the gate"
COMPARED = ("precision", "recall")
SWEPT_ROWS = (GATE, "pairwise IoU", *COMPARED)
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


def measure_sources(subject: "Subject") -> list[Record]:
    """Records of MEASURED masks of stage 1, deformed ones, real training masks.

    If no mask can be deformed, a record has the reason and the other columns are still computed.
    """
    settings = subject.config.generation
    sources: dict[str, Masks] = {STAGE_1: drawn(subject, MEASURED, settings.truncation)}
    missing: list[Record] = []
    try:
        sources[DEFORM] = deformed(subject.training, settings.seed, MEASURED)
    except UserError as error:
        missing.append(subject.record("mask sources")(DEFORM, FAILED, None, 0, reason=str(error)))
    sources[REAL_TRAINING] = spread(subject.training.mask, MEASURED)
    return records("mask sources", subject, sources, truncation=settings.truncation) + missing


def measure_truncations(subject: "Subject") -> list[Record]:
    """Records of SWEPT masks of stage 1 at each of PSIS, from the same noise, and of real training masks."""
    sources: dict[str, Masks] = {REAL_TRAINING: spread(subject.training.mask, SWEPT)}
    sources |= {psi_name(psi): drawn(subject, SWEPT, psi) for psi in PSIS}
    return [one for one in records("mask truncation", subject, sources) if one.metric in SWEPT_ROWS]


def records(kind: Kind, subject: "Subject", sources: Mapping[str, Masks], **details: object) -> list[Record]:
    """A record for each value of the table of the sources; subject: the source, metric: the row."""
    generator, parent = subject.stage_1
    k, test = subject.config.evaluation.nearest, subject.test.mask
    details |= {"k": k, "pixel_mm_of_all": subject.pixel_mm, "resolution": generator.synthesis.resolution}
    record = subject.record(kind, made_from={"masks": parent, **subject.real_hashes})
    counts = {name: len(masks) for name, masks in {REAL_TEST: test, **sources}.items()}
    return [
        record(
            source,
            row,
            None if np.isnan(value) else float(value),
            counts[source],
            reason="too few masks have a value" if np.isnan(value) else None,
            details={"unit": ROWS[row], **details},
        )
        for row, values in compare_masks(sources, test, subject.pixel_mm, k).iterrows()
        for source, value in values.items()
        if not (source == REAL_TEST and row in COMPARED)
    ]


def drawn(subject: "Subject", count: int, truncation: float) -> NDArray[np.uint8]:
    """Stage 1's masks [count, h, h], equal to a set's first attempts at images 0 to count - 1."""
    key = stream(jax.random.key(subject.config.generation.seed), "masks")
    return sample_masks(subject.stage_1[0], jax.random.fold_in(key, 0), np.arange(count), truncation)


def deformed(slices: "SliceSet", seed: int, count: int) -> NDArray[np.uint8]:
    """Deformed masks [count, h, h] of training slices; UserError if no training mask can be used."""
    deformer = Deformer.of_masks(slices.mask, slices.pixel_mm)
    if not len(deformer.masks) or not deformer.nodules:
        raise UserError(f"none of the {len(slices)} training masks has anatomy and nodules that pass the gate")
    return np.stack([deformer.draw(seed, 0, index) for index in range(count)])


def spread(masks: Masks, count: int) -> list[NDArray[np.uint8]]:
    """At most `count` masks, evenly spread."""
    return [masks[place] for place in evenly(len(masks), count)]


def psi_name(psi: float) -> str:
    """The subject of records of masks at a truncation."""
    return f"psi {psi:.1f}"


def compare_masks(sources: Mapping[str, Masks], test: Masks, pixel_mm: float, nearest: int = NEAREST) -> DataFrame:
    """The rows of ROWS, with a column for "real test" and for each source, in this order; NaN for no value.

    sources: masks uint8 [h, w] by name; test: real test masks to compare with; pixel_mm: side of a pixel,
    used for all masks.  nearest: k of precision and recall, which use equally many masks of every source.
    """
    columns = {REAL_TEST: test, **sources}
    table = DataFrame({name: _measured(masks, pixel_mm) for name, masks in columns.items()}, list(ROWS), dtype=float)
    real, *found = (mask_features(masks, pixel_mm) for masks in columns.values())
    size = min(len(features) for features in (real, *found) if len(features))
    held, *others = scaled(real, real, *found)
    for name, features in zip(sources, others, strict=True):
        if size > nearest and held.shape[1] and len(features):
            table.loc[list(COMPARED), name] = compared(held, features, size, nearest)
    return table


def table_of(found: Iterable[Record]) -> DataFrame:
    """The table in the records: figures of ROWS by source, NaN for no value; the real test masks are first."""
    values = {(one.metric, one.subject): one.value for one in found if one.metric in ROWS}
    names = sorted(dict.fromkeys(subject for _, subject in values), key=lambda name: name != REAL_TEST)
    rows = [row for row in ROWS if any(metric == row for metric, _ in values)]
    return DataFrame({name: [values.get((row, name)) for row in rows] for name in names}, rows, dtype=float)


def table_lines(found: Sequence[Record]) -> list[str]:
    """The table in the records as text: one row per figure, one column per source, a dash for no value."""
    table = table_of(found).rename(index=lambda row: f"{row} ({ROWS[row]})")
    return table.to_string(na_rep="–", float_format="{:.3g}".format).splitlines()


def _measured(masks: Masks, pixel_mm: float) -> dict[str, float | None]:
    """The rows that need only one source."""
    if not len(masks):
        return {}
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
