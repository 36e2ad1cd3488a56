"""`features:RESOLUTION:BATCH`: the Inception features of a batch of 8-bit images."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.nn import inception


def prepare(resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """Images to features on the host; the weights of the network's convolutions."""
    shapes = jax.eval_shape(inception.Pool3().init, jax.random.key(0), jnp.zeros((1, 299, 299, 1)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.02, leaf.shape).astype(np.float32), shapes)
    images = rng.integers(0, 256, (batch, resolution, resolution), np.uint8)
    features, placed = jax.jit(inception.features), jax.device_put(params)

    def run() -> None:
        np.asarray(features(placed, images))

    return run, sum(int(np.prod(shape)) for shape in inception.layers().values())
