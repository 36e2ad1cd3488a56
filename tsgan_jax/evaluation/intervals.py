"""95 % intervals of figures, by resampling whole scans, because slices of one patient are not independent.

A generated slice has no patient, so it is resampled alone.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Interval = tuple[float, float]
Index = NDArray[np.int64]


def by_scan(values: Iterable[ArrayLike], scans: Iterable[str] | None = None) -> list[NDArray[Any]]:
    """The values of each scan that has any.  values: those of each slice, one or several; scans: of each slice.

    Without scans each slice is resampled alone.
    """
    values = list(values)
    groups: dict[object, list[NDArray[Any]]] = {}
    for scan, value in zip(range(len(values)) if scans is None else scans, values, strict=True):
        groups.setdefault(scan, []).append(np.atleast_1d(value))
    return [found for group in groups.values() if len(found := np.concatenate(group))]


def bootstrap(statistic: Callable[..., float], *samples: Sequence[NDArray[Any]], times: int) -> Interval | None:
    """95 % percentile interval of `statistic(*values)`.  samples: for each, its values by scan; scans are resampled.

    None if a sample has fewer than two scans, or the statistic of a resample is not finite.
    """
    if min(map(len, samples)) < 2:
        return None

    def of_scans(*drawn: Index) -> float:
        pairs = zip(samples, drawn, strict=True)
        return statistic(*(np.concatenate([scans[place] for place in places]) for scans, places in pairs))

    places = [np.arange(len(scans)) for scans in samples]
    with warnings.catch_warnings(action="ignore", category=stats.DegenerateDataWarning):  # it is None below
        found = stats.bootstrap(places, of_scans, n_resamples=times, vectorized=False, method="percentile", rng=0)
    return _finite(*found.confidence_interval)


def half_samples(
    value: Sequence[float],
    figures: Callable[[Index, Index], Sequence[float]],
    scans: Sequence[Index],
    count: int,
    times: int,
    bounds: Sequence[tuple[float, float]],
) -> list[Interval | None]:
    """Intervals of figures that repeated images would spoil, because a repeated image is its own nearest neighbour.

    Half of the scans of real images and half of the generated images are drawn, without replacement.  The 2.5 and
    97.5 percentiles of their figures, relative to the median, are added to the value (the delete-half jackknife needs
    no other scaling).

    value: the figures of all images.  figures: those of some real and some generated images, by their positions.
    scans: positions of each scan's real images; count: generated images; bounds: of each figure.
    """
    if len(scans) < 2 or count < 2:
        return [None] * len(value)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(times):
        half = np.concatenate([scans[place] for place in rng.permutation(len(scans))[: len(scans) // 2]])
        found.append(figures(np.sort(half), np.sort(rng.permutation(count)[: count // 2])))
    low, middle, high = np.percentile(found, (2.5, 50.0, 97.5), axis=0)
    ends = np.array(value) + (low - middle, high - middle)
    return [_finite(*np.clip(pair, *bound)) for pair, bound in zip(ends.T, bounds, strict=True)]


def wilson(successes: int, n: int) -> Interval | None:
    """95 % interval of a share (E. B. Wilson 1927); None for n = 0."""
    return _finite(*stats.binomtest(successes, n).proportion_ci(method="wilson")) if n else None


def _finite(low: float, high: float) -> Interval | None:
    return (float(low), float(high)) if np.isfinite((low, high)).all() else None
