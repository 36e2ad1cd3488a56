"""The generator of GauGAN: residual blocks with SPADE norms between nearest-neighbour up-samplings."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv
from tsgan_jax.nn.resample import upsample
from tsgan_jax.nn.spade import Spade
from tsgan_jax.types import Array

BLOCKS = {"head": 16.0, "middle0": 16.0, "middle1": 16.0, "up0": 8.0, "up1": 4.0, "up2": 2.0, "up3": 1.0}
"""Residual blocks in their order, and their output's channels in units of the generator's width."""
LAST_BLOCK = {"up4": 0.5}
"""After them, with seven doublings only."""
DOUBLINGS = ("up3", "up2", "up1", "up0", "middle0", "middle1", "up4")
"""Blocks that a doubling precedes: the first `num_ups` of these.  Published are 5 to 7; fewer suit small images."""


class SpadeBlock(nn.Module):
    """Residual block, two 3x3 convolutions after SPADE and LeakyReLU(0.2); x [n, h, w, c] to [n, h, w, features].

    Where the channels change, the shortcut is a 1x1 convolution after a SPADE of its own.  use_bias: of what the
    output is the sum of; where another block follows, its norms remove them.
    """

    features: int
    spade_width: int = 128
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        """mask: [n, h, w, classes], one-hot, of x's height and width."""

        def spade(x: Array, name: str, beta_bias: bool = True) -> Array:
            return Spade(self.spade_width, beta_bias, self.dtype, name=name)(x, mask)

        def conv(x: Array, features: int, use_bias: bool, name: str) -> Array:
            layer = Conv(features, kernel=3, stride=1, use_bias=use_bias, dtype=self.dtype, name=name)
            return layer(jax.nn.leaky_relu(x, 0.2))

        shortcut = x
        if x.shape[-1] != self.features:
            shortcut = Conv(
                self.features, kernel=1, stride=1, padding=0, use_bias=False, dtype=self.dtype, name="shortcut"
            )(spade(x, "spade_shortcut", self.use_bias))
        y = conv(spade(x, "spade0"), min(x.shape[-1], self.features), False, "conv0")
        return shortcut + conv(spade(y, "spade1"), self.features, self.use_bias, "conv1")


class Generator(nn.Module):
    """One-hot mask to CT, from the mask shrunk to its height and width over 2**num_ups (16x16 at 512 px and 5).

    With a style the start is a dense layer of it instead.  The layers in `spectral` are to be given kernels of
    spectral norm 1 (nn/spectral_norm.py).
    """

    num_ups: int = 5
    width: int = 64
    spade_width: int = 128
    dtype: Any = jnp.float32

    spectral: ClassVar[tuple[str, ...]] = ("conv0", "conv1", "shortcut")

    @nn.compact
    def __call__(self, mask: Array, style: Array | None = None) -> Array:
        """mask: [n, h, w, classes], one-hot 0 and 1; style: [n, z_dim].  Returns float32 [n, h, w, 1] in (-1, 1)."""
        side, doubled = mask.shape[1] >> self.num_ups, DOUBLINGS[: self.num_ups]
        first = 16 * self.width
        if style is None:
            x = Conv(first, kernel=3, stride=1, use_bias=False, dtype=self.dtype, name="start")(shrunk(mask, side))
        else:
            x = nn.Dense(side * side * first, dtype=self.dtype, name="start")(style).reshape(-1, side, side, first)
        blocks = BLOCKS | (LAST_BLOCK if "up4" in doubled else {})
        for name, width in blocks.items():
            x = upsample(x) if name in doubled else x
            last = name == list(blocks)[-1]
            block = SpadeBlock(int(width * self.width), self.spade_width, last, self.dtype, name=name)
            x = block(x, shrunk(mask, x.shape[1]))
        x = Conv(1, kernel=3, stride=1, dtype=self.dtype, name="image")(jax.nn.leaky_relu(x, 0.2))
        return jnp.tanh(x.astype(jnp.float32))


def shrunk(mask: Array, side: int) -> Array:
    """[n, h, h, classes] to [n, side, side, classes] by the nearest pixel, the upper left one of each square."""
    factor = mask.shape[1] // side
    return mask[:, ::factor, ::factor]
