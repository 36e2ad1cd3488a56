"""A StyleGAN small enough that XLA compiles a step of it in seconds."""

import jax

from tsgan_jax.config import MasksConfig
from tsgan_jax.types import Key, MaskBatch

TINY = {
    "resolution": 8,
    "z_dim": 8,
    "w_dim": 8,
    "mapping_layers": 2,
    "fmap_base": 64,
    "fmap_max": 8,
    "steps_per_resolution": 4,
    "batch_size": dict.fromkeys((4, 8, 16, 32, 64, 128, 256, 512), 4),
}


def tiny(**changes: object) -> MasksConfig:
    """TINY with some of its values changed."""
    return MasksConfig(**{**TINY, **changes})


def random_batch(key: Key, n: int, resolution: int) -> MaskBatch:
    """Class shares such as area pooling gives of one-hot masks."""
    return MaskBatch(maps=jax.nn.softmax(2.0 * jax.random.normal(key, (n, resolution, resolution, 6)), axis=-1))
