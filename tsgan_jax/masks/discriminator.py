"""The critic of progressive growing: label maps to scores, the generator's mirror image."""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import Phase
from tsgan_jax.masks.synthesis import channels
from tsgan_jax.nn.equalized import EqualizedConv, EqualizedDense, leaky
from tsgan_jax.nn.resample import blur, downsample, fade
from tsgan_jax.nn.stylegan import minibatch_std
from tsgan_jax.types import Array


class Discriminator(nn.Module):
    """x [n, r, r, c] in [-1, 1] and alpha to scores [n], float32 and unbounded.

    With `parts` > 1 the batch is that many populations of equal size, one behind the other (reals, then
    fakes), which minibatch standard deviation keeps apart.  While a resolution fades in, its block's output
    is mixed with `fromrgb` of the halved input, alpha 0 being the latter alone.
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
        x = jax.vmap(functools.partial(minibatch_std, group=self.group))(populations)
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


def discriminator_of(config: MasksConfig, phase: Phase) -> Discriminator:
    """The critic of one phase."""
    return Discriminator(
        phase.resolution,
        phase.fade,
        config.fmap_base,
        config.fmap_max,
        config.minibatch_std_group,
        config.precision,
    )
