"""PatchGAN: a critic that judges overlapping patches (A16)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv
from tsgan_jax.nn.norm import InstanceNorm
from tsgan_jax.types import Array


class PatchCritic(nn.Module):
    """Logits of overlapping patches; layers=3 is pix2pix's 70x70 PatchGAN.

    x: [n, h, w, c], condition and image concatenated.  4x4 convolutions: `layers` of stride 2, then two
    of stride 1, all padded by 1; no norm in the first and last.  Returns float32 logits
    [n, h / 2**layers - 2, w / 2**layers - 2, 1]: 30x30 at 256 px, 62x62 at 512.
    """

    width: int = 64
    layers: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i in range(self.layers + 1):
            stride = 2 if i < self.layers else 1
            features = self.width * min(2**i, 8)
            x = Conv(features, stride=stride, use_bias=i == 0, dtype=self.dtype, name=f"conv{i}")(x)
            if i > 0:
                x = InstanceNorm(name=f"norm{i}")(x)
            x = jax.nn.leaky_relu(x, 0.2)
        return Conv(1, stride=1, dtype=self.dtype, name="logits")(x).astype(jnp.float32)
