"""Kernel distance (Bińkowski et al. 2018): the unbiased squared MMD under the kernel (x.y / d + 1)^3."""

import numpy as np
from numpy.typing import NDArray

SUBSETS = 100
SEED = 2020
"""torch-fidelity's, so that the same features give the same subsets and the same figure."""

Matrix = NDArray[np.float64]


def kernel(inner: Matrix, dim: int) -> Matrix:
    """Of inner products of features with `dim` numbers."""
    return (inner / dim + 1.0) ** 3


def mmd2(xx: Matrix, yy: Matrix, xy: Matrix) -> float:
    """Unbiased squared maximum mean discrepancy from kernel values [n, n], [m, m], [n, m]; n and m at least 2.

    It scatters about 0 for equal distributions, so small ones may be negative.
    """
    n, m = xy.shape
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def kernel_distance(xx: Matrix, yy: Matrix, xy: Matrix, subset: int, subsets: int = SUBSETS) -> tuple[float, float]:
    """Mean and standard deviation of `mmd2` over random subsets, without replacement, of `subset` of each.

    xx, yy, xy: kernel values [n, n], [m, m], [n, m].  subset: at most n and m.
    """
    generator = np.random.RandomState(SEED)
    n, m = xy.shape
    found = []
    for _ in range(subsets):
        i = generator.choice(n, subset, replace=False)
        j = generator.choice(m, subset, replace=False)
        found.append(mmd2(xx[np.ix_(i, i)], yy[np.ix_(j, j)], xy[np.ix_(i, j)]))
    return float(np.mean(found)), float(np.std(found))
