"""The networks of StyleGAN v1 (Karras et al. 2019): mapping, synthesis and critic, one set of them for each phase.

Synthesis and critic work on maps of a label map (representation.py).  Their blocks are named by resolution, so that the
parameters of a small network are a part of a larger one's.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import Phase
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.nn.equalized import EqualizedConv, EqualizedDense, leaky
from tsgan_jax.nn.layers import normals
from tsgan_jax.nn.resample import blur, downsample, fade, upsample
from tsgan_jax.nn.stylegan import StyleEpilogue, minibatch_std, pixel_norm
from tsgan_jax.types import Array, Key

MAPPING_LR_MUL = 0.01
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
            x = leaky(EqualizedDense(self.w_dim, lr_mul=MAPPING_LR_MUL, name=f"dense{i}")(x))
        return x


def num_layers(resolution: int) -> int:
    """Styled layers of a synthesis network: two for each resolution from 4 up (A22)."""
    return 2 * (resolution.bit_length() - 2)


def mix_styles(key: Key, first: Array, second: Array, layers: int, probability: float) -> Array:
    """One w for each layer, [n, layers, w_dim], of two latents [n, w_dim].

    With the given probability an example takes its second latent from a layer drawn uniformly in [1, layers) on;
    otherwise its first latent throughout.
    """
    use, position = jax.random.uniform(key, (2, first.shape[0]))
    crossover = 1 + jnp.floor(position * (layers - 1)).astype(jnp.int32)
    crossover = jnp.where(use < probability, crossover, layers)
    own = jnp.arange(layers)[None, :, None] < crossover[:, None, None]
    return jnp.where(own, first[:, None], second[:, None])


def truncate(ws: Array, w_avg: Array, psi: Array | float) -> Array:
    """ws [n, layers, w_dim] with the first 8 layers pulled to w_avg [w_dim]; psi 1 leaves them as they are."""
    strength = jnp.where(jnp.arange(ws.shape[1]) < TRUNCATED_LAYERS, psi, 1.0)[None, :, None]
    return (1.0 - strength) * w_avg[None, None] + strength * ws


def channels(resolution: int, fmap_base: int, fmap_max: int) -> int:
    """Feature maps at a resolution; 512 up to 32 px, then halved at every doubling (32 at 512 px)."""
    return max(1, min(2 * fmap_base // resolution, fmap_max))


def layer_noise(key: Key, resolution: int) -> tuple[Array, ...]:
    """Noise of one example: for every styled layer a map [r, r, 1] ~ N(0, 1) of the layer's resolution."""
    return tuple(normals(key, [(2**p, 2**p, 1) for p in range(2, resolution.bit_length()) for _ in range(2)]))


class Synthesis(nn.Module):
    """ws [n, layers, w_dim], noise (`layer_noise`, batched) and alpha to maps [n, r, r, outputs], float32.

    While a resolution fades in, its maps are mixed with the doubled ones of the one before (alpha 0: these alone).
    `activation` takes what the 1x1 head `b{r}_torgb` gives to a map's values.
    """

    resolution: int
    fade: bool
    fmap_base: int
    fmap_max: int
    dtype: str
    outputs: int
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(self, ws: Array, noise: tuple[Array, ...], alpha: Array) -> Array:
        width = channels(4, self.fmap_base, self.fmap_max)
        const = self.param("b4_const", nn.initializers.ones, (4, 4, width))
        x = jnp.broadcast_to(const[None].astype(self.dtype), (ws.shape[0], 4, 4, width))
        previous = x
        for layer in range(0, len(noise), 2):
            r = 4 * 2 ** (layer // 2)
            if layer:
                previous = x
                x = blur(self._convolved(x, r, "conv0", resample="up"))
            x = StyleEpilogue(name=f"b{r}_style0")(x, ws[:, layer], noise[layer])
            x = self._convolved(x, r, "conv1")
            x = StyleEpilogue(name=f"b{r}_style1")(x, ws[:, layer + 1], noise[layer + 1])
        maps = self._head(x, self.resolution)
        return fade(upsample(self._head(previous, self.resolution // 2)), maps, alpha) if self.fade else maps

    def _convolved(self, x: Array, r: int, name: str, resample: Literal["none", "up"] = "none") -> Array:
        width = channels(r, self.fmap_base, self.fmap_max)
        return EqualizedConv(width, use_bias=False, dtype=self.dtype, resample=resample, name=f"b{r}_{name}")(x)

    def _head(self, x: Array, r: int) -> Array:
        head = EqualizedConv(self.outputs, size=1, gain=1.0, dtype=self.dtype, name=f"b{r}_torgb")
        return self.activation(head(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """x [n, r, r, c] in [-1, 1] and alpha to scores [n], float32 and unbounded: the critic.

    With `parts` > 1 the batch is that many populations of equal size, one behind the other (reals, then fakes), which
    minibatch standard deviation keeps apart.  While a resolution fades in, its block's output is mixed with `fromrgb`
    of the halved input (alpha 0: this alone).
    """

    resolution: int
    fade: bool
    fmap_base: int
    fmap_max: int
    group: int
    dtype: str

    @nn.compact
    def __call__(self, x: Array, alpha: Array, parts: int = 1) -> Array:
        maps = x
        x = self._from_maps(maps, self.resolution)
        r = self.resolution
        while r > 4:
            x = leaky(self._convolved(x, self._width(r), f"b{r}_conv0"))
            x = leaky(self._convolved(blur(x), self._width(r // 2), f"b{r}_conv1", "down"))
            if self.fade and r == self.resolution:
                previous = self._from_maps(downsample(maps), r // 2)
                x = fade(previous, x, alpha.astype(x.dtype))
            r //= 2
        populations = x.reshape(parts, -1, *x.shape[1:])
        x = jax.vmap(partial(minibatch_std, group=self.group))(populations)
        x = x.reshape(-1, *x.shape[2:])
        x = leaky(self._convolved(x, self._width(4), "b4_conv0"))
        x = leaky(EqualizedDense(self._width(2), dtype=self.dtype, name="b4_dense0")(x.reshape(x.shape[0], -1)))
        score = EqualizedDense(1, gain=1.0, dtype=self.dtype, name="b4_dense1")(x)
        return score[:, 0].astype(jnp.float32)

    def _width(self, r: int) -> int:
        return channels(r, self.fmap_base, self.fmap_max)

    def _convolved(self, x: Array, width: int, name: str, resample: Literal["none", "down"] = "none") -> Array:
        return EqualizedConv(width, resample=resample, dtype=self.dtype, name=name)(x)

    def _from_maps(self, maps: Array, r: int) -> Array:
        return leaky(EqualizedConv(self._width(r), size=1, dtype=self.dtype, name=f"b{r}_fromrgb")(maps))


class Networks(NamedTuple):
    """The networks of one phase, without their parameters."""

    mapping: Mapping
    synthesis: Synthesis
    discriminator: Discriminator


def networks_of(config: MasksConfig, phase: Phase) -> Networks:
    """The networks of one phase; the mapping network is the same in all of them, and always in float32."""
    maps = representation_of(config)
    widths, dtype = (config.fmap_base, config.fmap_max), config.precision
    return Networks(
        Mapping(config.z_dim, config.w_dim, config.mapping_layers),
        Synthesis(phase.resolution, phase.fade, *widths, dtype, maps.channels, maps.activate),
        Discriminator(phase.resolution, phase.fade, *widths, config.minibatch_std_group, dtype),
    )
