"""Convolution layers with the kernels of pix2pix: N(0, 0.02), biases 0."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from tsgan_jax.nn.conv import conv2d, conv_transpose2d
from tsgan_jax.types import Array


class Conv(nn.Module):
    """[n, h, w, c] -> [n, h', w', features]; parameters in float32, computed in `dtype`."""

    features: int
    kernel: int = 4
    stride: int = 2
    padding: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(0.02), shape)
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, padding=self.padding)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


class UpConv(nn.Module):
    """The 4x4, stride 2 transposed convolution: [n, h, w, c] -> [n, 2h, 2w, features]."""

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.normal(0.02), (4, 4, x.shape[-1], self.features))
        y = conv_transpose2d(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y
