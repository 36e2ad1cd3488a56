"""Distances between two sets of features: Fréchet (Eq. 11, A42), kernel (KID), precision and recall.

Fréchet: distance of fitted Gaussians, whose mean and covariance are computed in one pass.  Kernel distance (Bińkowski
et al. 2018): the unbiased squared MMD under the kernel (x.y / d + 1)^3.  Improved precision and recall: Kynkäänniemi et
al. 2019.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of `count` features: their mean [d], and the sum of outer products of their deviations from it [d,
    d]."""

    count: int
    mean: Matrix
    scatter: Matrix

    @classmethod
    def of(cls, features: NDArray) -> Self:
        """Statistics of features [n, d], n at least 1."""
        values = np.asarray(features, np.float64)
        mean = values.mean(axis=0)
        rest = values - mean
        return cls(len(values), mean, rest.T @ rest)

    def merge(self, other: "FeatureStatistics") -> "FeatureStatistics":
        """Statistics of the union (Chan et al. 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(step, step) * (self.count * other.count / count)
        return FeatureStatistics(count, self.mean + step * (other.count / count), scatter)

    @property
    def covariance(self) -> Matrix:
        """[d, d], divided by n - 1 as in pytorch-fid; needs two features."""
        return self.scatter / (self.count - 1)


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2).

    tr (S1 S2)^1/2 is computed as the sum of the roots of the eigenvalues of S1^1/2 S2 S1^1/2.  This matrix is
    symmetric, so there are no complex roots, singular products need no offset, and covariances may be rank-deficient.
    """
    first, second = a.covariance, b.covariance
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ second @ root)
    step = a.mean - b.mean
    return float(step @ step + np.trace(first) + np.trace(second) - 2 * np.sqrt(product.clip(0)).sum())


def frechet_distance_of_gram(aa: Matrix, bb: Matrix, ab: Matrix) -> float:
    """`frechet_distance` from inner products of the features, [n, n], [m, m] and [n, m].

    With centred features X and Y, S1 = X'X / (n - 1) and S2 = Y'Y / (m - 1), and tr (S1 S2)^1/2 is the sum of the
    singular values of X Y' / sqrt((n - 1) (m - 1)), whose size is the number of images, not of features.
    """
    n, m = ab.shape
    means = aa.mean(), bb.mean(), ab.mean()
    spread = (np.trace(aa) - n * means[0]) / (n - 1) + (np.trace(bb) - m * means[1]) / (m - 1)
    cross = ab - ab.mean(axis=1, keepdims=True) - ab.mean(axis=0, keepdims=True) + means[2]
    roots = np.linalg.svd(cross, compute_uv=False).sum() / np.sqrt((n - 1.0) * (m - 1.0))
    return float(means[0] + means[1] - 2 * means[2] + spread - 2 * roots)


SUBSETS = 100
SEED = 2020
"""torch-fidelity's value, so that equal features give equal subsets and figures."""


def kernel(inner: Matrix, dim: int) -> Matrix:
    """The KID kernel (x.y / dim + 1)^3 from inner products of features with `dim` numbers."""
    return (inner / dim + 1.0) ** 3


def mmd2(xx: Matrix, yy: Matrix, xy: Matrix) -> float:
    """Unbiased squared maximum mean discrepancy from kernel values [n, n], [m, m], [n, m]; n and m at least 2.

    For equal distributions its expectation is 0, so values may be negative.
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


def squared_distances(aa: NDArray, bb: NDArray, ab: Matrix) -> Matrix:
    """[n, m] from the squared lengths [n] and [m] and the inner products [n, m]."""
    return (aa[:, None] + bb[None, :] - 2 * ab).clip(0)


def radii(distances: Matrix, k: int) -> NDArray[np.float64]:
    """[n]: the distance to the k-th nearest other point, from [n, n]."""
    within = distances.copy()
    np.fill_diagonal(within, 0.0)
    return np.partition(within, k, axis=1)[:, k]


def precision_recall(real: Matrix, generated: Matrix, across: Matrix, k: int) -> tuple[float, float]:
    """Shares of generated features near a real one, and of real ones near a generated one.

    real [n, n], generated [m, m], across [n, m]: distances (or squared ones); n and m above k.  Near means: within
    the other feature's distance to its k-th nearest neighbour of the same kind.
    """
    near_real = across <= radii(real, k)[:, None]
    near_generated = across <= radii(generated, k)[None, :]
    return float(near_real.any(axis=0).mean()), float(near_generated.any(axis=1).mean())
