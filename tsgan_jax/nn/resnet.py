"""The residual networks of Johnson et al. (2016), as in CycleGAN's generators.

The published convolutions have biases before norms without an offset.  These norms remove any constant, so the
biases are omitted here without a change in the output.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv, UpConv, instance_norm
from tsgan_jax.types import Array


def reflect(x: Array, width: int) -> Array:
    """[n, h, w, c], reflected at its borders without repeating them; h and w greater than `width`."""
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), mode="reflect")


class ResidualBlock(nn.Module):
    """x + norm(conv(ReLU(norm(conv(x))))), 3x3 convolutions on reflected images; no ReLU after the sum."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        first, second = (
            Conv(x.shape[-1], 3, stride=1, padding=0, use_bias=False, dtype=self.dtype, name=f"conv{i}") for i in (0, 1)
        )
        y = second(reflect(_norm_relu(first(reflect(x, 1))), 1))
        return x + instance_norm(y)


class Encoder(nn.Module):
    """c7s1-width, d(2 width), d(4 width), then residual blocks: [n, h, w, c] -> [n, h/4, w/4, 4 width].

    Each convolution is followed by norm and ReLU.  h and w: multiples of 4, at least 8.  The blocks' kernels have
    a leading axis, [blocks, ...], and run as a loop: half the memory of unrolled blocks, and faster compilation.
    """

    width: int = 64
    blocks: int = 9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        first = Conv(self.width, 7, stride=1, padding=0, use_bias=False, dtype=self.dtype, name="first")
        x = _norm_relu(first(reflect(x, 3)))
        for i in range(2):
            down = Conv(self.width * 2 ** (i + 1), 3, use_bias=False, dtype=self.dtype, name=f"down{i}")
            x = _norm_relu(down(x))
        blocks = nn.scan(
            lambda block, x: (block(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.blocks,
        )
        return blocks(ResidualBlock(self.dtype, name="blocks"), x)[0]


class Decoder(nn.Module):
    """u(2 width), u(width): 3x3 transposed convolutions, norm, ReLU; [n, h, w, c] -> [n, 4h, 4w, width]."""

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i in range(2):
            up = UpConv(self.width * 2 ** (1 - i), 3, use_bias=False, dtype=self.dtype, name=f"up{i}")
            x = _norm_relu(up(x))
        return x


def _norm_relu(x: Array) -> Array:
    return jax.nn.relu(instance_norm(x))
