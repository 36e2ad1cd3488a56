"""Synthesis network of StyleGAN v1 with a class head: latents of every layer to a map of class shares."""

import itertools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.config import MasksConfig
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.masks.growth import Phase
from tsgan_jax.nn.equalized import EqualizedConv
from tsgan_jax.nn.resample import blur, fade, upsample
from tsgan_jax.nn.style import StyleEpilogue
from tsgan_jax.types import Array, Key

TYPICAL_SHARES = np.array([0.43, 0.37, 0.09, 0.105, 0.004, 0.001], np.float32)
"""Rough share of each class in slices through LUNA16's nodules: where an untrained head starts."""


def channels(resolution: int, fmap_base: int, fmap_max: int) -> int:
    """Feature maps at a resolution; 512 up to 32 px, then halved at every doubling (32 at 512 px)."""
    return max(1, min(2 * fmap_base // resolution, fmap_max))


def layer_noise(key: Key, resolution: int) -> tuple[Array, ...]:
    """Noise of ONE example: for every styled layer a map [r, r, 1] ~ N(0, 1) of the layer's resolution.

    One draw for all layers, since XLA spends a good part of a second on compiling each.
    """
    sizes = [2**p for p in range(2, resolution.bit_length()) for _ in range(2)]
    ends = list(itertools.accumulate(size * size for size in sizes))
    parts = jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1])
    return tuple(part.reshape(size, size, 1) for part, size in zip(parts, sizes, strict=True))


def class_shares(heads: tuple[Array, ...], alpha: Array) -> Array:
    """Shares [n, r, r, 6] from `Synthesis.heads`: logits of the old head, if there is one, and of the new, mixed."""
    *old, logits = heads
    return jax.nn.softmax(fade(upsample(old[0]), logits, alpha) if old else logits, axis=-1)


class Synthesis(nn.Module):
    """ws [n, layers, w_dim], noise (`layer_noise`, batched) and alpha to class shares [n, r, r, 6], float32.

    Blocks are named by resolution, so the tree of a small network is part of a larger one's.  While a
    resolution fades in, its logits are mixed with the doubled ones of the one before (alpha 0 being the latter
    alone), as StyleGAN mixes colours; `b{r}_torgb` is the 1x1 head, which here gives six class logits (A23).
    Mixed as shares, a head that is new would show through as speckle of every class.
    """

    resolution: int
    fade: bool
    fmap_base: int
    fmap_max: int
    dtype: str
    initial_noise: tuple[float, ...]  # of 4, 8, 16 px, ...

    def __call__(self, ws: Array, noise: tuple[Array, ...], alpha: Array) -> Array:
        return class_shares(self.heads(ws, noise), alpha)

    @nn.compact
    def heads(self, ws: Array, noise: tuple[Array, ...]) -> tuple[Array, ...]:
        """Class logits, float32: in a fade those of the old head, [n, r/2, r/2, 6]; last [n, r, r, 6]."""
        width = channels(4, self.fmap_base, self.fmap_max)
        const = self.param("b4_const", nn.initializers.ones, (4, 4, width))
        x = jnp.broadcast_to(const[None].astype(self.dtype), (ws.shape[0], 4, 4, width))
        x = self._styled("b4_style0", x, ws[:, 0], noise[0])
        x = self._convolved(x, 4, "conv1")
        x = self._styled("b4_style1", x, ws[:, 1], noise[1])
        previous = x
        for layer in range(2, len(noise), 2):
            r = 2 * x.shape[1]
            previous = x
            x = blur(self._convolved(x, r, "conv0", resample="up"))
            x = self._styled(f"b{r}_style0", x, ws[:, layer], noise[layer])
            x = self._convolved(x, r, "conv1")
            x = self._styled(f"b{r}_style1", x, ws[:, layer + 1], noise[layer + 1])
        new = self._head(x, self.resolution)
        return (self._head(previous, self.resolution // 2), new) if self.fade else (new,)

    def _styled(self, name: str, x: Array, w: Array, noise: Array) -> Array:
        return StyleEpilogue(self.initial_noise[x.shape[1].bit_length() - 3], name=name)(x, w, noise)

    def _convolved(self, x: Array, r: int, name: str, resample: Literal["none", "up"] = "none") -> Array:
        width = channels(r, self.fmap_base, self.fmap_max)
        return EqualizedConv(width, use_bias=False, dtype=self.dtype, resample=resample, name=f"b{r}_{name}")(x)

    def _head(self, x: Array, r: int) -> Array:
        logits = EqualizedConv(NUM_CLASSES, size=1, gain=1.0, dtype=self.dtype, name=f"b{r}_torgb")(x)
        # Without the offset every new head begins with a sixth of each class; pushed down from there, the nodule's
        # share falls past the real one to nothing, where straight-through gradients no longer reach it.
        return logits.astype(jnp.float32) + np.log(TYPICAL_SHARES)


def synthesis_of(config: MasksConfig, phase: Phase) -> Synthesis:
    """The synthesis network of one phase."""
    initial_noise = tuple(config.noise(r) for r in config.resolutions)
    return Synthesis(phase.resolution, phase.fade, config.fmap_base, config.fmap_max, config.precision, initial_noise)
