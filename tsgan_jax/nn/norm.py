"""Instance and group normalisation."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from tsgan_jax.types import Array


def instance_norm(x: Array, scale: Array | float, bias: Array | float, eps: float = 1e-5) -> Array:
    """(x - mean) / sqrt(var + eps) * scale + bias, over the pixels of each channel.

    x: [h, w, c], one example; scale, bias: [c] or numbers.  Statistics in float32, with the population variance, as
    in batch normalisation at batch size 1.  Returns [h, w, c] in x's dtype.
    """
    y = x.astype(jnp.float32)
    y -= y.mean((0, 1))
    y *= scale * lax.rsqrt(jnp.square(y).mean((0, 1)) + eps)
    return (y + bias).astype(x.dtype)


class InstanceNorm(nn.Module):
    """`instance_norm` over a batch [n, h, w, c], with scales that start as N(1, 0.02), as in pix2pix.

    The paper trains with batch normalisation at batch size 1 and pix2pix tests with batch statistics:
    that is this layer (A17).  In larger batches an image does not depend on the others, so training and
    test compute the same function.  affine=False: scale 1 and bias 0, not learned, as in CycleGAN.
    """

    affine: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if not self.affine:
            return jax.vmap(instance_norm, in_axes=(0, None, None))(x, 1.0, 0.0)
        scale = self.param("scale", _about_one, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return jax.vmap(instance_norm, in_axes=(0, None, None))(x, scale, bias)


def group_norm(x: Array, scale: Array, bias: Array, groups: int, eps: float = 1e-5) -> Array:
    """(x - mean) / sqrt(var + eps) * scale + bias, over pixels and channels of each group (Wu and He 2018).

    x: [h, w, c], one example; scale, bias: [c]; groups divides c; a group is a range of neighbouring channels.
    Statistics in float32.  Returns [h, w, c] in x's dtype.
    """
    y = x.astype(jnp.float32).reshape(*x.shape[:2], groups, -1)
    y -= y.mean((0, 1, 3), keepdims=True)
    y *= lax.rsqrt(jnp.square(y).mean((0, 1, 3), keepdims=True) + eps)
    return (y.reshape(x.shape) * scale + bias).astype(x.dtype)


class GroupNorm(nn.Module):
    """`group_norm` over a batch [n, h, w, c], in 32 groups, or fewer so that each has at least four channels."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        return jax.vmap(group_norm, in_axes=(0, None, None, None))(x, scale, bias, norm_groups(channels))


def norm_groups(channels: int) -> int:
    """Number of groups that `GroupNorm` uses for `channels`."""
    return math.gcd(32, max(channels // 4, 1), channels)


def _about_one(key: Array, shape: tuple[int, ...]) -> Array:
    return 1.0 + 0.02 * jax.random.normal(key, shape)
