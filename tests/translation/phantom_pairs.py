"""A few pairs without any data: two ellipses of lung in an ellipse of body, a nodule in one of them."""

import jax.numpy as jnp
import numpy as np

from tsgan_jax.labels import BODY, LEFT_LUNG, NODULE, RIGHT_LUNG
from tsgan_jax.types import PairBatch

LEVELS = np.array([-1.0, 0.45, -0.75, -0.75, -0.95, 0.5], np.float32)
"""CT of each class in [-1, 1]."""


def phantom_batch(count: int, size: int, seed: int = 0) -> PairBatch:
    """`count` pairs of size x size pixels; texture and places by seed."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size] / size
    mask = np.zeros((count, size, size), np.uint8)
    for one in mask:
        x, y = rng.uniform(0.45, 0.55, 2)
        one[((rows - y) / 0.36) ** 2 + ((cols - x) / 0.44) ** 2 < 1] = BODY
        one[((rows - y) / 0.24) ** 2 + ((cols - x - 0.2) / 0.14) ** 2 < 1] = LEFT_LUNG
        one[((rows - y) / 0.24) ** 2 + ((cols - x + 0.2) / 0.14) ** 2 < 1] = RIGHT_LUNG
        one[(rows - y - rng.uniform(-0.1, 0.1)) ** 2 + (cols - x - 0.2) ** 2 < 0.05**2] = NODULE
    ct = LEVELS[mask] + rng.normal(0, 0.02, mask.shape).astype(np.float32)
    return PairBatch(mask=jnp.asarray(mask), ct=jnp.asarray(ct.clip(-1, 1)[..., None], jnp.float32))
