"""Counts and sizes of small objects, calibrated against real masks.

A generator places nodules and trachea rightly long before it makes their distance maps as high as real ones: a peak
that should be at .6 is at .2, and by sign there would be no object.  So a peak's rank decides instead of its height.
The k-th highest peak of a map that has k - 1 objects is one more if it is among the highest of such maps' k-th peaks,
as many as real masks have a k-th object, and as high as a first one must be; its area is that of the real object of the
same rank.  Place and shape are the network's, count and area are the training set's.

Two more things follow the training set, because a young network gets them wrong.  Nodules are drawn with more certainty
inside a lung than at the pleura, so peaks are ranked by their height less a slope times the nearer lung's channel; the
slope is the one with which objects lie as deep in the lungs as real ones do.  And no object of a class is farther from
the map's first one than real ones are from each other, or main bronchi would stand in the chest wall.
Ours, not the paper's (A23).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tsgan_jax.masks.decoding import Calibration, peaks
from tsgan_jax.masks.distance import enlarged
from tsgan_jax.masks.small_objects import Objects
from tsgan_jax.types import Array

STEEPEST = 8.0  # largest slope, either way
NONE = -2.0 - STEEPEST  # rank of a missing peak, below every rank


@dataclass(frozen=True, eq=False)
class _Peaks:
    """Local maxima of a class's channel."""

    heights: np.ndarray  # [k]
    depths: np.ndarray  # [k], the nearer lung's channel there
    places: np.ndarray  # [k, 2], rows and columns

    @classmethod
    def of(cls, heights: Array, depths: Array) -> "_Peaks":
        """Of a map, as `peaks` gives them, [1, h, h]; row by row."""
        high, deep = np.asarray(heights[0], float), np.asarray(depths[0], float)
        at = np.nonzero(high > -np.inf)
        return cls(high[at], deep[at], np.stack(at, axis=1))

    def ranked(self, slope: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
        """(ranks, the peaks' numbers), the first rank first; none farther than `spread` pixels from the first."""
        ranks = self.heights - slope * self.depths
        order = np.argsort(-ranks, kind="stable")
        apart = np.hypot(*(self.places[order] - self.places[order[:1]]).T)
        order = order[apart <= spread]
        return ranks[order], order


def calibrate(maps: np.ndarray, size: int, real: Mapping[int, Objects]) -> dict[int, Calibration]:
    """That with which masks of `size` of generated maps [n, r, r, 5] have as many and as large objects as real ones."""
    found: dict[int, list[_Peaks]] = {label: [] for label in real}
    for start in range(len(maps)):  # one at a time, as they are large at their full size
        large = enlarged(maps[start : start + 1], size)
        for label, objects in real.items():
            found[label].append(_Peaks.of(*peaks(large, label, objects)))
    return {
        label: _calibrate(each, real[label], size)
        for label, each in found.items()
        if any(len(one.heights) for one in each)
    }


def _calibrate(peaks: Sequence[_Peaks], real: Objects, size: int) -> Calibration:
    """The calibration of one class, from each map's peaks."""
    slope = 0.0
    if real.depth is not None:
        gentle, steep = -STEEPEST, STEEPEST  # the steeper, the less deep
        for _ in range(16):
            slope = (gentle + steep) / 2
            _, _, depths = _chosen(peaks, real, size, slope)
            gentle, steep = (slope, steep) if depths.mean() > real.depth else (gentle, slope)
    levels, ranks, _ = _chosen(peaks, real, size, slope)
    return Calibration(real, slope, levels, tuple(np.quantile(ranks, np.linspace(0, 1, len(real.areas))).tolist()))


def _chosen(
    peaks: Sequence[_Peaks], real: Objects, size: int, slope: float
) -> tuple[tuple[float, ...], np.ndarray, np.ndarray]:
    """(levels, ranks of all objects, the nearer lung's channel at each) with which maps have as many as real masks."""
    ranks = np.full((len(peaks), len(real.present)), NONE)
    depths = np.zeros(ranks.shape)
    for row, each in enumerate(peaks):
        ranked, order = each.ranked(slope, real.spread * size)
        found = len(ranked[: ranks.shape[1]])
        ranks[row, :found], depths[row, :found] = ranked[:found], each.depths[order[:found]]
    levels, chosen = _levels(ranks, real.present)
    return levels, ranks[chosen], depths[chosen]


def _levels(ranks: np.ndarray, present: tuple[float, ...]) -> tuple[tuple[float, ...], np.ndarray]:
    """(levels of the first, second, ... peak with which as many maps as asked for have that many objects; which peaks
    are objects, bool [n, k]).  ranks: [n, k], falling, NONE where a map has no such peak.

    No level is below the first: where a network draws too few further peaks, as of main bronchi, masks have fewer
    further objects than real ones rather than specks at the wrong place.
    """
    levels: list[float] = []
    chosen = np.zeros(ranks.shape, bool)
    having = np.ones(len(ranks), bool)
    for k, (column, share) in enumerate(zip(ranks.T, present, strict=True)):
        asked = min(1.0, share / having.mean()) if having.any() else 0.0
        least = float(np.quantile(column[having], 1 - asked)) if having.any() else np.inf
        levels.append(max([least, *levels[:1]]))
        having &= (column >= levels[-1]) & (column > NONE)
        chosen[:, k] = having
    return tuple(levels), chosen
