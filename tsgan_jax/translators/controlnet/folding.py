"""Pixels folded into channels, which spares the U-Net its widest levels and loses nothing."""

from tsgan_jax.types import Array


def fold(x: Array, patch: int) -> Array:
    """Space to depth: [n, h, w, c] -> [n, h/patch, w/patch, patch * patch * c], a patch's pixels row by row."""
    n, h, w, c = x.shape
    parts = x.reshape(n, h // patch, patch, w // patch, patch, c)
    return parts.swapaxes(2, 3).reshape(n, h // patch, w // patch, patch * patch * c)


def unfold(x: Array, patch: int) -> Array:
    """The inverse of `fold`: [n, h, w, patch * patch * c] -> [n, h * patch, w * patch, c]."""
    n, h, w, channels = x.shape
    parts = x.reshape(n, h, w, patch, patch, channels // patch**2)
    return parts.swapaxes(2, 3).reshape(n, h * patch, w * patch, channels // patch**2)
