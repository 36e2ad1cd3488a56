"""Mean and covariance gathered in one pass, and the Fréchet distance between two Gaussians (Eq. 11, A42)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Of `count` features: their mean [d], and the sum of outer products of what is left of them [d, d]."""

    count: int
    mean: Matrix
    scatter: Matrix

    @classmethod
    def of(cls, features: NDArray) -> Self:
        """Of features [n, d], n at least 1."""
        values = np.asarray(features, np.float64)
        mean = values.mean(axis=0)
        rest = values - mean
        return cls(len(values), mean, rest.T @ rest)

    def merge(self, other: "Moments") -> "Moments":
        """Of both together (Chan et al. 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(step, step) * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), scatter)

    @property
    def covariance(self) -> Matrix:
        """[d, d], divided by n - 1 as in pytorch-fid; needs two features."""
        return self.scatter / (self.count - 1)


def gathered(chunks: Iterable[NDArray]) -> Moments | None:
    """Of features that come in pieces [n, d]; None where there are none."""
    total: Moments | None = None
    for chunk in chunks:
        part = Moments.of(chunk)
        total = part if total is None else total.merge(part)
    return total


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2).

    tr (S1 S2)^1/2 is taken as the sum of the roots of the eigenvalues of S1^1/2 S2 S1^1/2, which is symmetric:
    no complex root, no offset for a singular product, and a covariance of deficient rank is no trouble.
    """
    first, second = a.covariance, b.covariance
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ second @ root)
    step = a.mean - b.mean
    return float(step @ step + np.trace(first) + np.trace(second) - 2 * np.sqrt(product.clip(0)).sum())


def frechet_distance_of_gram(aa: Matrix, bb: Matrix, ab: Matrix) -> float:
    """The same from inner products of the features, [n, n], [m, m] and [n, m].

    With centred features X and Y, S1 = X'X / (n - 1) and S2 = Y'Y / (m - 1), and tr (S1 S2)^1/2 is the sum of the
    singular values of X Y' / sqrt((n - 1) (m - 1)): a matrix of the number of images, not of features.
    """
    n, m = ab.shape
    means = aa.mean(), bb.mean(), ab.mean()
    spread = (np.trace(aa) - n * means[0]) / (n - 1) + (np.trace(bb) - m * means[1]) / (m - 1)
    cross = ab - ab.mean(axis=1, keepdims=True) - ab.mean(axis=0, keepdims=True) + means[2]
    roots = np.linalg.svd(cross, compute_uv=False).sum() / np.sqrt((n - 1.0) * (m - 1.0))
    return float(means[0] + means[1] - 2 * means[2] + spread - 2 * roots)
