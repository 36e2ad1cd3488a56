"""The generator of DL-Pix2Pix: pix2pix's U-Net, LIA on its skips, DWMH at its bottleneck (section 3.3)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv, UpConv
from tsgan_jax.nn.local_importance import LocalImportanceAttention
from tsgan_jax.nn.norm import InstanceNorm
from tsgan_jax.nn.window_attention import DynamicWindowAttention
from tsgan_jax.types import Array, Key


class Generator(nn.Module):
    """One-hot mask to CT.

    depth: down-samplings.  Level i (from 0) has width * min(2**i, 8) channels and half the side of
    level i - 1.  Down: LeakyReLU(0.2), 4x4 convolution of stride 2, norm (none in the first and last).
    Up: ReLU, 4x4 transposed convolution of stride 2, norm, dropout in some, then the skip is prepended.

    A skip is LeakyReLU(x), not x, as in pix2pix, whose activation works in place on the tensor that it concatenates
    later.  LIA's gate uses it too (FACTS 3).
    """

    depth: int
    width: int = 64
    lia: bool = True
    lia_width: int = 16
    dwmh: bool = True
    heads: int = 8
    window: int = 4
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, mask: Array, keys: Key) -> Array:
        """mask: [n, h, w, classes], one-hot 0 and 1; keys: [n], each image's noise (dropout).

        Returns float32 [n, h, w, 1] in (-1, 1).
        """
        skips, x = [], mask
        for i in range(self.depth):
            x = Conv(self._features(i), use_bias=False, dtype=self.dtype, name=f"down{i}")(x)
            if 0 < i < self.depth - 1:
                x = InstanceNorm(name=f"down{i}_norm")(x)
            if i < self.depth - 1:
                x = jax.nn.leaky_relu(x, 0.2)
                skips.append(x)
        if self.dwmh:
            x = DynamicWindowAttention(self.heads, self.window, self.dtype, name="dwmh")(x)
        for i in reversed(range(1, self.depth)):
            x = UpConv(self._features(i - 1), use_bias=False, dtype=self.dtype, name=f"up{i}")(jax.nn.relu(x))
            x = InstanceNorm(name=f"up{i}_norm")(x)
            if i in noisy_levels(self.depth):
                x = _dropout(x, self.dropout, keys, i)
            skip = skips[i - 1]
            if self.lia:
                skip = LocalImportanceAttention(self.lia_width, self.dtype, name=f"lia{i - 1}")(skip)
            x = jnp.concatenate([skip, x], axis=-1)
        x = UpConv(1, dtype=self.dtype, name="up0")(jax.nn.relu(x))
        return jnp.tanh(x.astype(jnp.float32))

    def _features(self, level: int) -> int:
        return self.width * min(2**level, 8)


def noisy_levels(depth: int) -> tuple[int, ...]:
    """Levels whose up-sampling ends in dropout, the only noise of the network, in training and in sampling.

    pix2pix has dropout in its depth - 5 middle blocks.  Networks with a depth below 6 have none of them and would have
    no noise, so they use the innermost block (A8).
    """
    return tuple(range(4, depth - 1)) or (depth - 1,)


def _dropout(x: Array, rate: float, keys: Key, level: int) -> Array:
    """Inverted dropout with one key per image, so an image's noise does not depend on its batch."""
    if rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, level), 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
