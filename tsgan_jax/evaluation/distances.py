"""Distances between two sets of features: Fréchet (Eq. 11, A42), kernel (KID), precision and recall.

Fréchet: distance of fitted Gaussians.  Kernel distance (Bińkowski et al. 2018): the unbiased squared MMD under the
kernel (x.y / d + 1)^3.  Improved precision and recall: Kynkäänniemi et al. 2019.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import polynomial_kernel

from tsgan_jax.evaluation.intervals import Index

Matrix = NDArray[np.float64]
Matrices = tuple[Matrix, Matrix, Matrix]
"""Values between real images [n, n], between generated ones [m, m], and of real with generated ones [n, m]."""

SUBSETS = 100
SEED = 2020
"""torch-fidelity's value, so that equal features give equal subsets and figures."""


def part(found: Matrices, i: Index, j: Index) -> Matrices:
    """The values of real images i and generated images j."""
    return found[0][np.ix_(i, i)], found[1][np.ix_(j, j)], found[2][np.ix_(i, j)]


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
        values.append(mmd2(*part(found, i, j)))
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
    return precision_recall(*part(found, *(places[subsample(len(places), equal)] for places in (i, j))), k)


def subsample(count: int, wanted: int) -> Index:
    """At most `wanted` random positions of `count`, ascending, the same at every call."""
    return np.sort(np.random.default_rng(0).permutation(count)[:wanted])
