"""A feature network that needs no weights: some means of an image, in numpy."""

import numpy as np

from tsgan_jax.evaluation.networks import FeatureNetwork


def means_network(dim: int = 6, calls: list | None = None, is_fid: bool = False) -> FeatureNetwork:
    """Feature k: the mean over the image of its value times a fixed random pattern."""

    def features(images: np.ndarray) -> np.ndarray:
        if calls is not None:
            calls.append(len(images))
        patterns = np.random.default_rng(0).normal(size=(dim, *images.shape[1:]))
        return np.tensordot(images / 255.0, patterns, ((1, 2), (1, 2))).astype(np.float32)

    return FeatureNetwork("Means", is_fid, "none.npz", "ab" * 32, dim, features)


def noise(n: int, side: int = 8, seed: int = 0, low: int = 0, high: int = 256) -> np.ndarray:
    """uint8 [n, side, side]."""
    return np.random.default_rng(seed).integers(low, high, (n, side, side), np.uint8)
