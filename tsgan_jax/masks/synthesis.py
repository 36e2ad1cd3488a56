"""Synthesis network of StyleGAN v1: latents of every layer to a map of a label map's channels (representation.py)."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import Phase
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.nn.equalized import EqualizedConv
from tsgan_jax.nn.layers import normals
from tsgan_jax.nn.resample import blur, fade, upsample
from tsgan_jax.nn.stylegan import StyleEpilogue
from tsgan_jax.types import Array, Key


def channels(resolution: int, fmap_base: int, fmap_max: int) -> int:
    """Feature maps at a resolution; 512 up to 32 px, then halved at every doubling (32 at 512 px)."""
    return max(1, min(2 * fmap_base // resolution, fmap_max))


def layer_noise(key: Key, resolution: int) -> tuple[Array, ...]:
    """Noise of one example: for every styled layer a map [r, r, 1] ~ N(0, 1) of the layer's resolution."""
    return tuple(normals(key, [(2**p, 2**p, 1) for p in range(2, resolution.bit_length()) for _ in range(2)]))


class Synthesis(nn.Module):
    """ws [n, layers, w_dim], noise (`layer_noise`, batched) and alpha to maps [n, r, r, outputs], float32.

    Blocks are named by resolution, so the tree of a small network is part of a larger one's.  While a
    resolution fades in, its maps are mixed with the doubled ones of the one before (alpha 0 being the latter
    alone).  `b{r}_torgb` is the 1x1 head; `activation` takes what it gives to a map's values (representation.py).
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
        x = StyleEpilogue(name="b4_style0")(x, ws[:, 0], noise[0])
        x = self._convolved(x, 4, "conv1")
        x = StyleEpilogue(name="b4_style1")(x, ws[:, 1], noise[1])
        previous = x
        for layer in range(2, len(noise), 2):
            r = 2 * x.shape[1]
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


def synthesis_of(config: MasksConfig, phase: Phase) -> Synthesis:
    """The synthesis network of one phase."""
    maps = representation_of(config)
    widths = config.fmap_base, config.fmap_max
    return Synthesis(phase.resolution, phase.fade, *widths, config.precision, maps.channels, maps.activate)
