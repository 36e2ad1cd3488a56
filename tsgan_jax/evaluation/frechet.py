"""Real and generated images compared as distributions: Fréchet and kernel distance, precision and recall (Table 1).

Each figure has its number of images, a 95 % interval (`intervals.half_samples`) and a real-against-real floor.  The
floor is the figure of other real images, if possible as many as generated ones.  Without other real images it is the
figure of one half of the scans against the other.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.metrics import pairwise_distances

from tsgan_jax.config import EvaluationConfig
from tsgan_jax.evaluation.distances import (
    Matrices,
    Matrix,
    frechet_distance,
    kernel_distance,
    kernels,
    mmd2,
    on_equal_numbers,
    part,
    subsample,
)
from tsgan_jax.evaluation.features import Features
from tsgan_jax.evaluation.intervals import Index, by_scan, half_samples
from tsgan_jax.evaluation.networks import FeatureNetwork, Names
from tsgan_jax.evaluation.records import Record

KEPT = 2000
"""Number of random images of a larger set that all but the Fréchet distance use, because they compare pairs."""
BOUNDS = ((0.0, np.inf), (-np.inf, np.inf), (0.0, 1.0), (0.0, 1.0))
"""Least and largest value of each figure."""

DistanceFigures = tuple[float, float, float, float]
"""Fréchet distance, kernel distance, precision, recall; NaN for too few images."""


def measure_distances(
    network: FeatureNetwork,
    real: Features,
    generated: Features,
    *,
    method: str,
    settings: EvaluationConfig,
    subject: str = "full",
    scans: Sequence[str] | None = None,
    other: Features | None = None,
    fold: int | None = None,
) -> list[Record]:
    """Four records of kind "distance".

    real: images of the test fold; scans: the series of each, None: every image is a separate scan.  other: real images
    of other scans, for the floor.  Too few images of either kind give records with a reason and without a value.
    """
    k, n, m = settings.nearest, len(real), len(generated)
    places = subsample(n, KEPT)
    groups = by_scan(np.arange(len(places)), None if scans is None else [scans[place] for place in places])
    sets = _Sets(_kept(real), _kept(generated), k)
    value = sets.of_all()
    subset, spread = min(settings.kid_subset, sets.equal), None
    intervals = half_samples(value, sets.figures, groups, len(sets.generated), settings.bootstrap, BOUNDS)
    if subset >= 2:
        kernel, spread = kernel_distance(sets.kernels, subset)
        whole = (np.asarray(one.rows, np.float64) for one in (real, generated))
        value = (frechet_distance(*whole), kernel, *value[2:])
    floor = _floor(sets, groups, other, k)
    floors, floor_counts = floor.of_all(), [len(floor.real), len(floor.generated)]
    details: tuple[dict[str, Any], ...] = (
        {"dim": network.dim, "rank_deficient": min(n, m) <= network.dim},
        {"subset": subset, "subset_std": spread},
        {"k": k, "n_each": sets.equal},
        {"k": k, "n_each": sets.equal},
    )
    made_from = {
        "network": network.label,
        "weights": network.file,
        "weights_sha256": network.sha256,
        "real_images": real.images_sha256,
        "generated_images": generated.images_sha256,
    }
    return [
        Record(
            kind="distance",
            method=method,
            subject=subject,
            metric=name,
            value=_number(value[place]),
            n=m,
            interval=intervals[place],
            floor=_number(floors[place]),
            fold=fold,
            reason=_too_few(n, m, (2, 2, k + 1, k + 1)[place]),
            made_from=made_from,
            details={"n_real": n, "floor_n": floor_counts, **details[place]},
        )
        for place, name in enumerate(network.names)
    ]


def unavailable(names: Names, method: str, subject: str, reason: str, fold: int | None = None) -> list[Record]:
    """The four records without values, if the network or the images are missing."""
    return [Record("distance", method, subject, name, None, 0, fold=fold, reason=reason) for name in names]


class _Sets:
    """The figures of real [n, d] and generated [m, d] features, and of parts of them."""

    def __init__(self, real: Matrix, generated: Matrix, k: int) -> None:
        self.real, self.generated, self._k = real, generated, k
        self.equal = min(len(real), len(generated))

    @cached_property
    def kernels(self) -> Matrices:
        return kernels(self.real, self.generated)

    @cached_property
    def _distances(self) -> Matrices:
        a, b = self.real, self.generated
        return pairwise_distances(a), pairwise_distances(b), pairwise_distances(a, b)

    def of_all(self) -> DistanceFigures:
        return self.figures(np.arange(len(self.real)), np.arange(len(self.generated)))

    def figures(self, i: Index, j: Index) -> DistanceFigures:
        """The figures of real images i and generated images j; precision and recall of equal numbers of both."""
        if min(len(i), len(j)) >= 2:
            distance, kernel = frechet_distance(self.real[i], self.generated[j]), mmd2(*part(self.kernels, i, j))
            return distance, kernel, *on_equal_numbers(self._distances, i, j, self._k)
        return (np.nan,) * 4


def _floor(sets: _Sets, groups: Sequence[Index], other: Features | None, k: int) -> _Sets:
    """Real images against real images."""
    if other is not None:
        kept = _kept(other)
        return _Sets(sets.real, kept[subsample(len(kept), len(sets.generated))], k)
    order = np.random.default_rng(0).permutation(len(groups))
    empty = np.empty(0, np.int64)
    halves = [np.concatenate([empty, *(groups[place] for place in some)]) for some in np.array_split(order, 2)]
    return _Sets(sets.real[halves[0]], sets.real[halves[1]], k)


def _kept(features: Features) -> Matrix:
    return features.rows[subsample(len(features), KEPT)].astype(np.float64)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _too_few(real: int, generated: int, needed: int) -> str | None:
    for count, kind in ((real, "real"), (generated, "generated")):
        if count < needed:
            return f"{count} {kind} image{'' if count == 1 else 's'}; this figure needs {needed} or more"
    return None
