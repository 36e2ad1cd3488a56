"""Style modulation of StyleGAN v1 (Karras et al. 2019, section 2): noise, instance norm, scale and shift."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.equalized import Bias, EqualizedDense, leaky
from tsgan_jax.types import Array


def pixel_norm(x: Array) -> Array:
    """x [n, c] scaled so that each row has mean square 1."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + 1e-8)


def instance_norm(x: Array) -> Array:
    """x [n, h, w, c] with mean 0 and variance 1 in every channel of every example; statistics in float32."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(axis=(1, 2), keepdims=True)
    variance = jnp.square(centred).mean(axis=(1, 2), keepdims=True)
    return (centred * jax.lax.rsqrt(variance + 1e-8)).astype(x.dtype)


def modulate(x: Array, style: Array) -> Array:
    """`x * (scale + 1) + shift` of x [n, h, w, c], style [n, 2c] holding scale and then shift."""
    scale, shift = jnp.split(style[:, None, None, :], 2, axis=-1)
    return x * (scale + 1.0) + shift


class StyleEpilogue(nn.Module):
    """What follows each convolution: noise, bias, leaky rectifier, instance norm, style, in this order.

    x: [n, h, w, c]; w: [n, w_dim], the layer's latent; noise: [n, h, w, 1], N(0, 1).  The weight of the noise,
    one for each channel, starts at 0.
    """

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array) -> Array:
        channels = x.shape[-1]
        strength = self.param("noise", nn.initializers.zeros, (channels,))
        x = x + noise.astype(x.dtype) * strength[None, None, None].astype(x.dtype)
        x = instance_norm(leaky(Bias(name="bias")(x)))
        style = EqualizedDense(2 * channels, gain=1.0, dtype=x.dtype.name, name="style")(w)
        return modulate(x, style)
