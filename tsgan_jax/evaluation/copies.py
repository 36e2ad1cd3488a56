"""Audit for copies of training slices among generated slices, by nearest neighbours (FACTS 10, T25).

The nearest training slice of every generated slice is searched, as a mask and as CT.  The threshold comes from
held-out real slices, which cannot be copies.  The audit is evidence, not proof: it finds slices that are repeated,
mirrored, shifted or noisy, but not a patient in another pose.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tsgan_jax.data.pipeline import SliceSet
from tsgan_jax.data.slices import scan_of
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.intervals import bootstrap, wilson
from tsgan_jax.evaluation.nearest import Archive, Level, Match, ct_level, mask_level
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.sources import GeneratedSlice
from tsgan_jax.images import Window

MARGIN = 0.5
"""Threshold as a share of the first percentile of held-out slices' distances."""
SHOWN = 12
"""Number of nearest pairs of each level in the report, flagged or not."""


@dataclass(frozen=True)
class NearestPair:
    """A generated slice and its nearest training slice; flagged: nearer than the threshold."""

    name: str
    generated: GeneratedSlice
    match: Match
    flagged: bool


@dataclass(frozen=True)
class LevelAudit:
    """The result of one level.

    threshold, distances (generated [n]), held_out (distances [m]): in the level's unit.  false_alarms: share of
    held-out slices flagged by the threshold that the other half of the held-out scans gives.  pairs: the nearest
    ones, nearest first.
    """

    level: str
    threshold: float
    distances: np.ndarray
    held_out: np.ndarray
    false_alarms: float
    pairs: tuple[NearestPair, ...]

    @property
    def flagged(self) -> int:
        """Generated slices nearer to a training slice than the threshold."""
        return int((self.distances < self.threshold).sum())


def audit(
    generated: Iterable[GeneratedSlice], training: SliceSet, held_out: SliceSet, window: Window
) -> tuple[LevelAudit, ...]:
    """Find the nearest training slice of every generated slice, as a mask and as CT; one pass over `generated`.

    Raises UserError without at least two held-out scans, which the threshold needs.
    """
    if len({scan_of(uid) for uid in held_out.seriesuid}) < 2:
        raise UserError(
            f"the copy audit needs slices of two or more held-out scans, the test fold has {len(held_out)} slices; "
            "set data.test_fold to a fold with more"
        )
    searches = [
        _Search(mask_level(), training.mask, held_out.mask, held_out),
        _Search(ct_level(window), training.ct, held_out.ct, held_out),
    ]
    for one in generated:
        searches[0].look_up(one, one.mask)
        searches[1].look_up(one, one.hu)
    if not searches[0].distances:
        raise UserError("the copy audit was given no generated slice")
    return tuple(search.outcome() for search in searches)


def threshold_of(held_out: np.ndarray) -> float:
    """Half the first percentile of held-out slices' distances to their nearest training slice."""
    return MARGIN * float(np.percentile(held_out, 1))


def records(
    audits: Iterable[LevelAudit], method: str, made_from: dict[str, Any], bootstraps: int = 200
) -> list[Record]:
    """Three figures per level: the share of copies, the typical distance, and the chance to be nearer than held-out
    slices."""
    out = []
    for one in audits:
        n = len(one.distances)
        record = partial(Record, kind="copies", method=method, subject=one.level, n=n, made_from=made_from)
        facts = {"threshold": one.threshold, "flagged": one.flagged, "held_out": len(one.held_out)}
        out += [
            record(
                metric="share of copies",
                value=one.flagged / n,
                interval=wilson(one.flagged, n),
                floor=one.false_alarms,
                details=facts,
            ),
            record(
                metric="distance to nearest",
                value=float(np.median(one.distances)),
                interval=bootstrap(lambda d: float(np.median(d)), one.distances, times=bootstraps),
                floor=float(np.median(one.held_out)),
                details={"smallest": float(one.distances.min()), "smallest_held_out": float(one.held_out.min())},
            ),
            record(
                metric="nearer than held-out",
                value=_share_nearer(one.distances, one.held_out),
                interval=bootstrap(_share_nearer, one.distances, one.held_out, times=bootstraps),
                floor=0.5,
                details={"note": "0.5: as far from the training slices as held-out ones; smooth CT is near to all"},
            ),
        ]
    return out


class _Search:
    """One level: the archive, the held-out distances, and the generated distances so far."""

    def __init__(self, level: Level, training: np.ndarray, control: np.ndarray, held_out: SliceSet) -> None:
        self._level = level
        self._archive = Archive(level, training)
        self._held_out = np.array([self._archive.nearest(image).distance for image in control])
        self._false_alarms = _false_alarms(self._held_out, held_out.seriesuid)
        self._threshold = threshold_of(self._held_out)
        self.distances: list[float] = []
        self._nearest: list[NearestPair] = []

    def look_up(self, one: GeneratedSlice, image: np.ndarray) -> None:
        match = self._archive.nearest(image)
        self.distances.append(match.distance)
        self._nearest.append(NearestPair(one.name, one, match, match.distance < self._threshold))
        self._nearest = sorted(self._nearest, key=lambda pair: pair.match.distance)[:SHOWN]

    def outcome(self) -> LevelAudit:
        return LevelAudit(
            self._level.name,
            self._threshold,
            np.array(self.distances),
            self._held_out,
            self._false_alarms,
            tuple(self._nearest),
        )


def _false_alarms(distances: np.ndarray, seriesuids: tuple[str, ...]) -> float:
    """Share of held-out slices flagged by a threshold from the other half of the held-out scans."""
    scans = [scan_of(uid) for uid in seriesuids]
    order = {scan: place for place, scan in enumerate(sorted(set(scans)))}
    half = np.array([order[scan] % 2 for scan in scans], bool)
    flagged = (distances[half] < threshold_of(distances[~half])).sum()
    flagged += (distances[~half] < threshold_of(distances[half])).sum()
    return float(flagged / len(distances))


def _share_nearer(distances: np.ndarray, reference: np.ndarray) -> float:
    """Chance that a random distance is smaller than one of `reference`; ties count half (Mann-Whitney)."""
    reference = np.sort(reference)
    below, up_to = np.searchsorted(reference, distances, "left"), np.searchsorted(reference, distances, "right")
    return float((1 - (below + up_to) / (2 * len(reference))).mean())
