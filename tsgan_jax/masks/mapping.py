"""Mapping network: z to the intermediate latent w, its running mean, style mixing and truncation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.config import MasksConfig
from tsgan_jax.nn.equalized import EqualizedDense, leaky
from tsgan_jax.nn.stylegan import pixel_norm
from tsgan_jax.types import Array, Key

LR_MUL = 0.01
TRUNCATED_LAYERS = 8


class Mapping(nn.Module):
    """z [n, z_dim] ~ N(0, I) to w [n, w_dim]: pixel norm, then dense layers of leaky rectifiers, the last included."""

    z_dim: int
    w_dim: int
    layers: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        x = pixel_norm(z)
        for i in range(self.layers):
            x = leaky(EqualizedDense(self.w_dim, lr_mul=LR_MUL, name=f"dense{i}")(x))
        return x


def mapping_of(config: MasksConfig) -> Mapping:
    """The mapping network of a config; the same at every resolution, always in float32."""
    return Mapping(config.z_dim, config.w_dim, config.mapping_layers)


def num_layers(resolution: int) -> int:
    """Styled layers of a synthesis network: two for each resolution from 4 up (A22)."""
    return 2 * (resolution.bit_length() - 2)


def mix_styles(key: Key, first: Array, second: Array, layers: int, probability: float) -> Array:
    """One w for each layer, [n, layers, w_dim], of two latents [n, w_dim].

    With the given probability an example takes its second latent from a layer drawn uniformly in
    [1, layers) on, drawn for each example; otherwise its first latent throughout.
    """
    use, position = jax.random.uniform(key, (2, first.shape[0]))
    crossover = 1 + jnp.floor(position * (layers - 1)).astype(jnp.int32)
    crossover = jnp.where(use < probability, crossover, layers)
    own = jnp.arange(layers)[None, :, None] < crossover[:, None, None]
    return jnp.where(own, first[:, None], second[:, None])


def average_w(w_avg: Array, w: Array, decay: float) -> Array:
    """Running mean [w_dim] moved towards w [w_dim], the mean of a batch."""
    return decay * w_avg + (1.0 - decay) * w


def truncate(ws: Array, w_avg: Array, psi: Array | float) -> Array:
    """ws [n, layers, w_dim] with the first 8 layers pulled to w_avg [w_dim]; psi 1 leaves them as they are."""
    strength = jnp.where(jnp.arange(ws.shape[1]) < TRUNCATED_LAYERS, psi, 1.0)[None, :, None]
    return (1.0 - strength) * w_avg[None, None] + strength * ws
