"""The optional style encoder of GauGAN, which makes it a variational autoencoder."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv
from tsgan_jax.nn.norm import InstanceNorm
from tsgan_jax.nn.resample import downsample
from tsgan_jax.types import Array, Key

LARGEST = 256
"""Pixels: larger images are halved first."""
LAST = 4


class Style(NamedTuple):
    """A normal distribution over styles for each image; both [n, z_dim], float32."""

    mean: Array
    log_variance: Array


class StyleEncoder(nn.Module):
    """CT to the distribution of its style: 3x3 convolutions of stride 2 down to 4x4, then two dense layers.

    Channels are width * min(2**i, 8); instance norm after every convolution, LeakyReLU(0.2) between them.
    """

    width: int = 64
    z_dim: int = 256
    dtype: Any = jnp.float32

    spectral: ClassVar[tuple[str, ...]] = tuple(f"down{i}" for i in range(6))

    @nn.compact
    def __call__(self, ct: Array) -> Style:
        """ct: [n, h, h, 1] in [-1, 1], h a power of two from 8 px."""
        x = ct
        while x.shape[1] > LARGEST:
            x = downsample(x)
        for i in range((x.shape[1] // LAST).bit_length() - 1):
            features = self.width * min(2**i, 8)
            x = Conv(features, kernel=3, use_bias=False, dtype=self.dtype, name=f"down{i}")(x)
            x = jax.nn.leaky_relu(InstanceNorm(affine=False)(x), 0.2)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return Style(nn.Dense(self.z_dim, name="mean")(x), nn.Dense(self.z_dim, name="log_variance")(x))


def standard_styles(keys: Key, z_dim: int) -> Array:
    """N(0, 1) for each of keys [n], by the key alone: [n, z_dim]."""
    return jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(keys)


def sample(style: Style, keys: Key) -> Array:
    """One style [n, z_dim] from each distribution."""
    noise = standard_styles(keys, style.mean.shape[-1])
    return style.mean + jnp.exp(0.5 * style.log_variance) * noise
