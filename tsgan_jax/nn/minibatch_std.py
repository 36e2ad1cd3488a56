"""Minibatch standard deviation (Karras et al. 2018, section 3): lets a critic see variety within a batch."""

import jax.numpy as jnp

from tsgan_jax.types import Array


def group_size(batch: int, group: int) -> int:
    """The group used for a batch: the smallest divisor of `batch` that is at least `min(group, batch)`.

    A batch that `group` divides, or one smaller than it, gives the usual group; any other (5, 6, 7, ...)
    gets larger groups rather than groups of one, whose deviation would always be 0.
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
