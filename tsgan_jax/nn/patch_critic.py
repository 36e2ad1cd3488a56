"""PatchGAN: a critic with one output per overlapping patch (A16)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv
from tsgan_jax.nn.norm import InstanceNorm
from tsgan_jax.types import Array


class PatchCritic(nn.Module):
    """Logits of overlapping patches; layers=3 is pix2pix's 70x70 PatchGAN.

    x: [n, h, w, c], condition (if any) and image concatenated.  4x4 convolutions: `layers` of stride 2, then two
    of stride 1, all padded by 1; no norm in the first and last.  Returns float32 logits
    [n, h / 2**layers - 2, w / 2**layers - 2, 1]: 30x30 at 256 px, 62x62 at 512.

    affine: learned scales and offsets in the norms, as in pix2pix; False for CycleGAN.
    padding: 2 in pix2pixHD and GauGAN, where each convolution adds a pixel to the map.
    """

    width: int = 64
    layers: int = 3
    dtype: Any = jnp.float32
    affine: bool = True
    padding: int = 1

    def __call__(self, x: Array) -> Array:
        return self.outputs(x)[-1]

    @nn.compact
    def outputs(self, x: Array) -> list[Array]:
        """The outputs of all convolutions after norm and LeakyReLU(0.2); the last are the logits."""
        found = []
        for i in range(self.layers + 1):
            stride, features = 2 if i < self.layers else 1, self.width * min(2**i, 8)
            x = self._conv(features, stride, i == 0, f"conv{i}")(x)
            if i > 0:
                x = InstanceNorm(self.affine, name=f"norm{i}")(x)
            x = jax.nn.leaky_relu(x, 0.2)
            found.append(x)
        return [*found, self._conv(1, 1, True, "logits")(x).astype(jnp.float32)]

    def _conv(self, features: int, stride: int, use_bias: bool, name: str) -> Conv:
        return Conv(features, stride=stride, padding=self.padding, use_bias=use_bias, dtype=self.dtype, name=name)
