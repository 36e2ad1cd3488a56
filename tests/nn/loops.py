"""Convolution and resize as loops in float64: the obvious forms."""

import numpy as np


def conv(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Cross-correlation of x [n, h, w, c] with w [k, k, c, f]."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    w, k = np.asarray(w, np.float64), w.shape[0]
    h, width = ((s - k) // stride + 1 for s in x.shape[1:3])
    y = np.zeros((x.shape[0], h, width, w.shape[3]))
    for i, j in np.ndindex(h, width):
        patch = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
        y[:, i, j] = np.einsum("nabc,abcf->nf", patch, w)
    return y


def bilinear(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """[h, w, c] resized with aligned pixel centres, as in PyTorch: two taps an axis, the edge's value beyond it."""
    out = np.zeros((height, width, x.shape[2]))
    for i, j in np.ndindex(height, width):
        y = min(max((i + 0.5) * x.shape[0] / height - 0.5, 0), x.shape[0] - 1)
        z = min(max((j + 0.5) * x.shape[1] / width - 0.5, 0), x.shape[1] - 1)
        y0, z0 = int(y), int(z)
        y1, z1 = min(y0 + 1, x.shape[0] - 1), min(z0 + 1, x.shape[1] - 1)
        top = x[y0, z0] * (1 - (z - z0)) + x[y0, z1] * (z - z0)
        bottom = x[y1, z0] * (1 - (z - z0)) + x[y1, z1] * (z - z0)
        out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out
