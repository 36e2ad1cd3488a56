"""Audit for copies of training slices among generated slices, by nearest neighbours (FACTS 10, T25).

The nearest training slice of every generated slice is searched, as a mask and as CT.  The threshold comes from
held-out real slices, which cannot be copies.  The audit is evidence, not proof: it finds slices that are repeated,
mirrored, shifted or noisy, but not a patient in another pose.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tsgan_jax.data.pipeline import SliceSet
from tsgan_jax.data.slices import scan_of
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.intervals import bootstrap, by_scan, wilson
from tsgan_jax.evaluation.nearest import Archive, Level, Match, ct_level, mask_level
from tsgan_jax.evaluation.records import MakeRecord, Record
from tsgan_jax.evaluation.sources import GeneratedSlice
from tsgan_jax.images import Window

MARGIN = 0.5
"""Threshold as a share of the first percentile of held-out slices' distances."""
SHOWN = 12
"""Number of nearest pairs of each level in the report, flagged or not."""


class LevelAudit:
    """The search at one level; distances are in its unit.

    held_out: distances of held-out slices [m]; threshold: below it a slice is a copy; false_alarms: share of held-out
    slices flagged by the threshold that the other half of the held-out scans gives.  distances: of the generated
    slices so far; pairs: the nearest ones with their training slices, nearest first.
    """

    def __init__(self, level: Level, training: np.ndarray, held_out: np.ndarray, scans: Sequence[str]) -> None:
        self.level = level.name
        self._archive = Archive(level, training)
        self.held_out = np.array([self._archive.nearest(image).distance for image in held_out])
        self.threshold = threshold_of(self.held_out)
        self.false_alarms = _false_alarms(self.held_out, scans)
        self.distances: list[float] = []
        self.pairs: list[tuple[Any, Match]] = []

    def look_up(self, one: Any, image: np.ndarray) -> None:
        """Search the training slice nearest to a generated one.  one: what stands for it in `pairs`; image: its mask
        or its CT."""
        match = self._archive.nearest(image)
        self.distances.append(match.distance)
        self.pairs = sorted([*self.pairs, (one, match)], key=lambda pair: pair[1].distance)[:SHOWN]

    @property
    def flagged(self) -> int:
        """Generated slices nearer to a training slice than the threshold."""
        return sum(distance < self.threshold for distance in self.distances)


def audit(
    generated: Iterable[GeneratedSlice], training: SliceSet, held_out: SliceSet, window: Window
) -> tuple[LevelAudit, LevelAudit]:
    """Find the nearest training slice of every generated slice, as a mask and as CT; one pass over `generated`.

    Raises UserError without at least two held-out scans, which the threshold needs.
    """
    ct = audit_of_ct(training, held_out, window)
    masks = LevelAudit(mask_level(), training.mask, held_out.mask, _scans(held_out))
    for one in generated:
        masks.look_up(one, one.mask)
        ct.look_up(one, one.hu)
    if not masks.distances:
        raise UserError("the copy audit was given no generated slice")
    return masks, ct


def audit_of_ct(training: SliceSet, held_out: SliceSet, window: Window) -> LevelAudit:
    """The search for CT alone, before any look-up; raises as `audit`."""
    return LevelAudit(ct_level(window), training.ct, held_out.ct, _scans(held_out))


def _scans(held_out: SliceSet) -> list[str]:
    scans = [scan_of(uid) for uid in held_out.seriesuid]
    if len(set(scans)) < 2:
        raise UserError(
            f"the copy audit needs slices of two or more held-out scans, the test fold has {len(held_out)} slices; "
            "set data.test_fold to a fold with more"
        )
    return scans


def threshold_of(held_out: np.ndarray) -> float:
    """Half the first percentile of held-out slices' distances to their nearest training slice."""
    return MARGIN * float(np.percentile(held_out, 1))


def records(record: MakeRecord, audits: Iterable[LevelAudit], bootstraps: int = 200) -> list[Record]:
    """Two figures per level: the share of copies and the typical distance."""
    out = []
    for one in audits:
        n, nearest = len(one.distances), np.array(one.distances)
        make = partial(record, one.level, n=n)
        share = make(
            "share of copies",
            value=one.flagged / n,
            interval=wilson(one.flagged, n),
            floor=one.false_alarms,
            details={"threshold": one.threshold, "flagged": one.flagged, "held_out": len(one.held_out)},
        )
        distance = make(
            "distance to nearest",
            value=float(np.median(nearest)),
            interval=bootstrap(np.median, by_scan(nearest), times=bootstraps),
            floor=float(np.median(one.held_out)),
            details={"smallest": float(nearest.min()), "smallest_held_out": float(one.held_out.min())},
        )
        out += [share, distance]
    return out


def _false_alarms(distances: np.ndarray, scans: Sequence[str]) -> float:
    """Share of held-out slices flagged by a threshold from the other half of the held-out scans."""
    half = np.unique(scans, return_inverse=True)[1] % 2 == 1
    flagged = (distances[half] < threshold_of(distances[~half])).sum()
    flagged += (distances[~half] < threshold_of(distances[half])).sum()
    return float(flagged / len(distances))
