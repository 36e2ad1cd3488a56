"""Improved precision and recall (Kynkäänniemi et al. 2019)."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def squared_distances(aa: NDArray, bb: NDArray, ab: Matrix) -> Matrix:
    """[n, m] from the squared lengths [n] and [m] and the inner products [n, m]."""
    return (aa[:, None] + bb[None, :] - 2 * ab).clip(0)


def radii(distances: Matrix, k: int) -> NDArray[np.float64]:
    """[n]: the distance to the k-th nearest other point, from [n, n]; the point itself is its nearest."""
    within = distances.copy()
    np.fill_diagonal(within, 0.0)
    return np.partition(within, k, axis=1)[:, k]


def precision_recall(real: Matrix, generated: Matrix, across: Matrix, k: int) -> tuple[float, float]:
    """Shares of generated features near a real one, and of real ones near a generated one.

    real [n, n], generated [m, m], across [n, m]: distances (or squared ones); n and m above k.  Near means: within
    the distance of the other's k-th nearest neighbour among its own kind.
    """
    near_real = across <= radii(real, k)[:, None]
    near_generated = across <= radii(generated, k)[None, :]
    return float(near_real.any(axis=0).mean()), float(near_generated.any(axis=1).mean())
