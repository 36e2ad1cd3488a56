"""Dense layers and convolutions with an equalised learning rate (Karras et al. 2018, section 4.1).

The stored weight is N(0, 1 / lr_mul); the weight used is `stored * gain / sqrt(fan_in) * lr_mul`, so that
Adam moves every layer at the same relative speed.  Biases start at 0 and are used as `stored * lr_mul`.
"""

import math
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from tsgan_jax.nn.conv import conv2d, conv2d_downsample, upsample_conv2d
from tsgan_jax.nn.layers import Params, redrawn
from tsgan_jax.types import Array, Key

LEAKY_GAIN = math.sqrt(2.0)
"""He gain of a layer that is followed by a leaky rectifier."""

LEAK = 0.2


def leaky(x: Array) -> Array:
    """Leaky rectifier of slope 0.2; any shape."""
    return nn.leaky_relu(x, LEAK)


def initialise(module: nn.Module, key: Key, *args: object) -> Params:
    """The parameters of `module.init(key, *args)`, with one random draw for the kernels of all equalised layers."""

    def rule(layer: nn.Module, name: str, leaf: Array) -> tuple[float, float] | None:
        del leaf
        if name != "kernel" or not isinstance(layer, EqualizedDense | EqualizedConv):
            return None
        return 0.0, 1.0 / getattr(layer, "lr_mul", 1.0)  # convolutions have no multiplier

    return redrawn(module, key, args, rule)


class EqualizedDense(nn.Module):
    """x [n, i] to [n, features]; parameters in float32, computation in `dtype`."""

    features: int
    gain: float = LEAKY_GAIN
    lr_mul: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        fan_in = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(1.0 / self.lr_mul), (fan_in, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel * (self.gain / math.sqrt(fan_in) * self.lr_mul)
        bias = bias * self.lr_mul
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)[None]


class EqualizedConv(nn.Module):
    """x [n, h, w, i] to [n, h, w, features], stride 1, zero padding that keeps the size (odd kernels).

    resample: "up" for nearest-neighbour doubling before a 3x3 convolution, "down" for the mean over 2x2
    pixels after it, both fused with it.  use_bias=False: the caller adds the bias later.
    """

    features: int
    size: int = 3
    gain: float = LEAKY_GAIN
    use_bias: bool = True
    resample: Literal["none", "up", "down"] = "none"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
        kernel = (kernel * (self.gain / math.sqrt(math.prod(shape[:3])))).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.resample == "up":
            y = upsample_conv2d(x, kernel)
        elif self.resample == "down":
            y = conv2d_downsample(x, kernel)
        else:
            y = conv2d(x, kernel, padding=self.size // 2)
        return Bias(name="bias")(y) if self.use_bias else y


class Bias(nn.Module):
    """Add a learned bias to each channel of x [..., c]."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return x + jnp.reshape(bias, (1,) * (x.ndim - 1) + bias.shape).astype(x.dtype)
