"""Does a detector trained on real slices find the nodules of synthetic ones as it finds real ones?

Its threshold is the score of the largest F1 on real test slices.  Sensitivity is the share of nodules matched at IoU .5
by a prediction of at least that score: of synthetic slices and, as the floor, of the same real test slices; of all
nodules, and of the thirds of real nodules by size and by contrast.  With a perfect set the two are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.components import components
from tsgan_jax.detection.scores import Matched, best_threshold
from tsgan_jax.evaluation.adherence import contrast
from tsgan_jax.evaluation.intervals import wilson
from tsgan_jax.evaluation.records import MakeRecord, Record
from tsgan_jax.generation.labelled import LabelledImage
from tsgan_jax.generation.manifest import HU, MASKS
from tsgan_jax.images import read_hu, read_mask
from tsgan_jax.labels import NODULE

MOST = 500
"""Synthetic slices that are searched."""
THIRDS = ("lower third", "middle third", "upper third")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Objects:
    """Nodules of a set [n].  score: of the prediction that matches each, -inf for none (`Matched.found`).

    size: root of the box's area, mm; contrast: HU minus that of the lung around, NaN with too little lung.
    """

    score: Values
    size: Values
    contrast: Values


def objects_of(pictures: Sequence[LabelledImage], matched: Matched) -> Objects:
    """The nodules of a set's images, in the order of `datasets.ground_truth`, with `matched` of the same images."""
    sizes, contrasts = [], []
    for picture in pictures:
        if not picture.boxes:
            continue
        pixel_mm = float(picture.record["pixel_mm"])
        mask, hu = read_mask(picture.file(MASKS)), read_hu(picture.file(HU))
        found = {one.box: contrast(one, mask, hu, pixel_mm) for one in components(mask == NODULE)}
        for box in picture.boxes:
            sizes.append(np.sqrt(box[2] * box[3]) * pixel_mm)
            value = found.get((int(box[0]), int(box[1]), int(box[2]), int(box[3])))
            contrasts.append(np.nan if value is None else value)
    return Objects(matched.found, np.array(sizes, float), np.array(contrasts, float))


def measure(record: MakeRecord, real: Objects, made: Objects, threshold: float | None) -> list[Record]:
    """Seven records: of all nodules, and of thirds by size and by contrast.

    threshold: `scores.best_threshold` of real test slices; with None one record has the reason.
    """
    if threshold is None:
        return [record("all", value=None, n=0, reason="the detector finds no real nodule, so it has no threshold")]
    everything = (np.ones(len(real.score), bool), np.ones(len(made.score), bool))
    out = [_sensitivity(record, "all", real, made, threshold, everything, {})]
    for name, unit, ours, theirs in (
        ("size", "mm", made.size, real.size),
        ("contrast", "HU", made.contrast, real.contrast),
    ):
        known = theirs[np.isfinite(theirs)]
        edges = np.quantile(known, (1 / 3, 2 / 3)) if len(known) else np.full(2, np.nan)
        for place, third in enumerate(THIRDS):
            chosen = tuple(np.isfinite(x) & (np.searchsorted(edges, x) == place) for x in (theirs, ours))
            bounds = {"edges": edges.round(2).tolist() if len(known) else None, "unit": unit}
            out.append(_sensitivity(record, f"{name}, {third}", real, made, threshold, chosen, bounds))
    return out


def _sensitivity(
    record: MakeRecord,
    subject: str,
    real: Objects,
    made: Objects,
    threshold: float,
    chosen: tuple[NDArray[np.bool_], ...],
    bounds: dict[str, object],
) -> Record:
    """One figure.  chosen: of the real and of the synthetic nodules."""
    theirs, ours = (side.score[some] >= threshold for side, some in zip((real, made), chosen, strict=True))
    details = {**bounds, "threshold": threshold, "n_real": len(theirs)}
    return record(
        subject,
        value=float(ours.mean()) if len(ours) else None,
        n=len(ours),
        interval=wilson(int(ours.sum()), len(ours)),
        floor=float(theirs.mean()) if len(theirs) else None,
        reason=None if len(ours) else "no synthetic nodule is of this kind",
        details={**details, "real_interval": wilson(int(theirs.sum()), len(theirs))},
    )


def of_detector(
    record: MakeRecord,
    real: tuple[Sequence[LabelledImage], Matched],
    made: tuple[Sequence[LabelledImage], Matched],
) -> list[Record]:
    """The records of a detector from its matched predictions on real test and on synthetic images."""
    return measure(record, objects_of(*real), objects_of(*made), best_threshold(real[1]))
