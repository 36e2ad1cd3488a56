"""Parts of StyleGAN v1 (Karras et al. 2019, section 2), and a sampler of label maps for its critic.

Style modulation: noise, instance norm, scale and shift.  Minibatch standard deviation (Karras et al. 2018).
Straight-through Gumbel softmax (Jang et al. 2017), as SB-GAN uses for the critic's label maps.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.equalized import Bias, EqualizedDense, leaky
from tsgan_jax.nn.layers import instance_norm
from tsgan_jax.types import Array, Key


def pixel_norm(x: Array) -> Array:
    """x [n, c] scaled so that each row has mean square 1."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + 1e-8)


def modulate(x: Array, style: Array) -> Array:
    """`x * (scale + 1) + shift` of x [n, h, w, c], style [n, 2c] holding scale and then shift."""
    scale, shift = jnp.split(style[:, None, None, :], 2, axis=-1)
    return x * (scale + 1.0) + shift


class StyleEpilogue(nn.Module):
    """The layers after each convolution: noise, bias, leaky rectifier, instance norm, style, in this order.

    x: [n, h, w, c]; w: [n, w_dim], the layer's latent; noise: [n, h, w, 1], N(0, 1).  The noise has one
    weight per channel, which starts at 0.
    """

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array) -> Array:
        channels = x.shape[-1]
        strength = self.param("noise", nn.initializers.zeros, (channels,))
        x = x + noise.astype(x.dtype) * strength[None, None, None].astype(x.dtype)
        x = instance_norm(leaky(Bias(name="bias")(x)), epsilon=1e-8)
        style = EqualizedDense(2 * channels, gain=1.0, dtype=x.dtype.name, name="style")(w)
        return modulate(x, style)


EPSILON = 1e-10
"""Added to a share before its logarithm: a class of share 0 is then drawn about once in 10^10 pixels."""


def sample_one_hot(key: Key, shares: Array, temperature: float = 1.0) -> Array:
    """A class drawn at each pixel of shares [..., k] (which sum to 1 over k), as an exact one-hot float32.

    Forward: the hard sample.  Backward: the gradient of the Gumbel-softmax sample at `temperature`.
    """
    # Drawn with one axis: a draw with four takes XLA ten times as long to compile.
    logits = jnp.log(shares + EPSILON) + jax.random.gumbel(key, (shares.size,)).reshape(shares.shape)
    soft = jax.nn.softmax(logits / temperature, axis=-1)
    hard = jax.nn.one_hot(jnp.argmax(logits, axis=-1), shares.shape[-1], dtype=shares.dtype)
    return hard + (soft - jax.lax.stop_gradient(soft))


def group_size(batch: int, group: int) -> int:
    """The group used for a batch: the smallest divisor of `batch` that is at least `min(group, batch)`.

    Batches divisible by `group`, or smaller than it, use the usual group.  Others (5, 6, 7, ...) use larger groups,
    because groups of one always have deviation 0.
    """
    return next(size for size in range(min(group, batch), batch + 1) if batch % size == 0)


def minibatch_std(x: Array, group: int) -> Array:
    """x [n, h, w, c] with one more channel: the deviation within each group, averaged over everything else.

    Groups are interleaved (example i is in group `i mod (n / size)`).  The deviation is that of the
    population, `sqrt(var + 1e-8)`, in float32.
    """
    n, h, w, c = x.shape
    size = group_size(n, group)
    groups = x.astype(jnp.float32).reshape(size, n // size, h, w, c)
    centred = groups - groups.mean(axis=0, keepdims=True)
    deviation = jnp.sqrt(jnp.square(centred).mean(axis=0) + 1e-8).mean(axis=(1, 2, 3))
    channel = jnp.broadcast_to(deviation[None, :, None, None, None], (size, n // size, h, w, 1))
    return jnp.concatenate([x, channel.reshape(n, h, w, 1).astype(x.dtype)], axis=-1)
