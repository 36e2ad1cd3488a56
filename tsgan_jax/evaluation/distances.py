"""Real and generated images compared as distributions: Fréchet and kernel distance, precision and recall (Table 1).

Fréchet: distance of fitted Gaussians (Eq. 11, A42).  Kernel distance (KID, Bińkowski et al. 2018): the unbiased squared
MMD under the kernel (x.y / d + 1)^3.  Improved precision and recall: Kynkäänniemi et al. 2019.

Each figure has its number of images, a 95 % interval (`intervals.half_samples`) and a real-against-real floor.  The
floor is the figure of other real images, if possible as many as generated ones.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel

from tsgan_jax.config import EvaluationConfig
from tsgan_jax.evaluation.features import Features
from tsgan_jax.evaluation.intervals import Index, by_scan, half_samples
from tsgan_jax.evaluation.networks import FeatureNetwork
from tsgan_jax.evaluation.records import MakeRecord, Record

Matrix = NDArray[np.float64]
Matrices = tuple[Matrix, Matrix, Matrix]
"""Values between real images [n, n], between generated ones [m, m], and of real with generated ones [n, m]."""

KEPT = 2000
"""Number of random images of a larger set that all but the Fréchet distance use, because they compare pairs."""
SUBSETS = 100
SEED = 2020
"""torch-fidelity's value, so that equal features give equal subsets and figures."""
BOUNDS = ((0.0, np.inf), (-np.inf, np.inf), (0.0, 1.0), (0.0, 1.0))
"""Least and largest value of each figure."""

DistanceFigures = tuple[float, float, float, float]
"""Fréchet distance, kernel distance, precision, recall; NaN for too few images."""


def measure_distances(
    record: MakeRecord,
    network: FeatureNetwork,
    real: Features,
    generated: Features,
    other: Features,
    scans: Sequence[str],
    settings: EvaluationConfig,
) -> list[Record]:
    """Four records.  Too few images of either kind give records with a reason and without a value.

    real: images of the test fold; scans: the series of each.  other: real images of other scans, for the floor.
    """
    k, n, m = settings.nearest, len(real), len(generated)
    groups = by_scan(np.arange(min(n, KEPT)), [scans[place] for place in subsample(n, KEPT)])
    sets = _Sets(_kept(real), _kept(generated), k)
    value = sets.of_all()
    intervals = half_samples(value, sets.figures, groups, len(sets.generated), settings.bootstrap, BOUNDS)
    subset, spread = min(settings.kid_subset, sets.equal), None
    if subset >= 2:
        kernel, spread = kernel_distance(sets.kernels, subset)
        whole = (np.asarray(one.rows, np.float64) for one in (real, generated))
        value = (frechet_distance(*whole), kernel, *value[2:])
    known = _kept(other)
    floor = _Sets(sets.real, known[subsample(len(known), len(sets.generated))], k)
    floors = floor.of_all()
    details: tuple[dict[str, Any], ...] = (
        {"dim": network.dim, "rank_deficient": min(n, m) <= network.dim},
        {"subset": subset, "subset_std": spread},
        *({"k": k, "n_each": sets.equal},) * 2,
    )
    made_from = {
        "network": network.label,
        "weights": network.file,
        "weights_sha256": network.sha256,
        "real_images": real.images_sha256,
        "generated_images": generated.images_sha256,
    }
    return [
        record(
            metric=name,
            value=_number(value[place]),
            n=m,
            interval=intervals[place],
            floor=_number(floors[place]),
            reason=_too_few(n, m, (2, 2, k + 1, k + 1)[place]),
            made_from=made_from,
            details={"n_real": n, "floor_n": [len(floor.real), len(floor.generated)], **details[place]},
        )
        for place, name in enumerate(network.names)
    ]


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
            distance, kernel = frechet_distance(self.real[i], self.generated[j]), mmd2(*_part(self.kernels, i, j))
            return distance, kernel, *on_equal_numbers(self._distances, i, j, self._k)
        return (np.nan,) * 4


def frechet_distance(real: Matrix, generated: Matrix) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) of features [n, d] and [m, d]; n and m at least 2.

    Covariances are divided by n - 1 as in pytorch-fid.  With centred features X and Y, tr (S1 S2)^1/2 is the sum of
    the singular values of X Y' / sqrt((n - 1) (m - 1)).  So there are no complex roots, covariances may be
    rank-deficient, and the size of the problem is that of the images or of the features, whichever is smaller.
    """
    step = real.mean(axis=0) - generated.mean(axis=0)
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (real, generated))
    a, b = (np.linalg.qr(x).R if len(x) > x.shape[1] else x for x in (a, b))
    roots = np.linalg.norm(a @ b.T, "nuc")
    return float(step @ step + (a**2).sum() + (b**2).sum() - 2 * roots)


def kernels(real: Matrix, generated: Matrix) -> Matrices:
    """Kernel values of features [n, d] and [m, d]."""
    return polynomial_kernel(real), polynomial_kernel(generated), polynomial_kernel(real, generated)


def mmd2(xx: Matrix, yy: Matrix, xy: Matrix) -> float:
    """Unbiased squared maximum mean discrepancy from kernel values; n and m at least 2.

    For equal distributions its expectation is 0, so values may be negative.
    """
    n, m = xy.shape
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def kernel_distance(found: Matrices, subset: int) -> tuple[float, float]:
    """Mean and standard deviation of `mmd2` over random subsets of `subset` images of each kind, at most n and m."""
    generator = np.random.RandomState(SEED)
    values = []
    for _ in range(SUBSETS):
        # Generated images are drawn first, as torch-fidelity does.
        j = generator.choice(len(found[1]), subset, replace=False)
        i = generator.choice(len(found[0]), subset, replace=False)
        values.append(mmd2(*_part(found, i, j)))
    return float(np.mean(values)), float(np.std(values))


def precision_recall(real: Matrix, generated: Matrix, across: Matrix, k: int) -> tuple[float, float]:
    """Shares of generated features near a real one, and of real ones near a generated one.

    real, generated, across: distances, or squared ones, with a diagonal of zeros; n and m above k.  Near means: within
    the other feature's distance to its k-th nearest neighbour of the same kind.
    """
    # sklearn's NearestNeighbors would compute the distances again for each subset of the same images.
    near_real = across <= np.partition(real, k, axis=1)[:, k, None]
    near_generated = across <= np.partition(generated, k, axis=1)[:, k]
    return float(near_real.any(axis=0).mean()), float(near_generated.any(axis=1).mean())


def on_equal_numbers(found: Matrices, i: Index, j: Index, k: int) -> tuple[float, float]:
    """`precision_recall` of real images i and generated images j, of the more as many as of the fewer.

    found: distances of all images.  NaN unless there are more than k of both.
    """
    equal = min(len(i), len(j))
    if equal <= k:
        return np.nan, np.nan
    return precision_recall(*_part(found, *(places[subsample(len(places), equal)] for places in (i, j))), k)


def subsample(count: int, wanted: int) -> Index:
    """At most `wanted` random positions of `count`, ascending, the same at every call."""
    return np.sort(np.random.default_rng(0).permutation(count)[:wanted])


def _part(found: Matrices, i: Index, j: Index) -> Matrices:
    """The values of real images i and generated images j."""
    return found[0][np.ix_(i, i)], found[1][np.ix_(j, j)], found[2][np.ix_(i, j)]


def _kept(features: Features) -> Matrix:
    return features.rows[subsample(len(features), KEPT)].astype(np.float64)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _too_few(real: int, generated: int, needed: int) -> str | None:
    for count, kind in ((real, "real"), (generated, "generated")):
        if count < needed:
            return f"{count} {kind} image{'' if count == 1 else 's'}; this figure needs {needed} or more"
    return None
