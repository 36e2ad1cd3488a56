"""The critics of GauGAN: PatchGANs at several scales, whose hidden layers count too."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from tsgan_jax.nn.patch_critic import PatchCritic
from tsgan_jax.types import Array


class MultiscaleCritic(nn.Module):
    """One PatchCritic for the image and one for each halving of it, without learned scales and offsets in the norms.

    The layers in `spectral` are to be given kernels of spectral norm 1: those that a norm follows.
    """

    scales: int = 2
    width: int = 64
    layers: int = 3
    dtype: Any = jnp.float32

    @property
    def spectral(self) -> tuple[str, ...]:
        return tuple(f"conv{i}" for i in range(1, self.layers + 1))

    @nn.compact
    def __call__(self, x: Array) -> list[list[Array]]:
        """x: [n, h, h, c], mask and image, h even at each scale.  Returns `PatchCritic.outputs` of every scale."""
        found = []
        for scale in range(self.scales):
            x = halved(x) if scale else x
            critic = PatchCritic(self.width, self.layers, self.dtype, affine=False, padding=2, name=f"scale{scale}")
            found.append(critic.outputs(x))
        return found


def halved(x: Array) -> Array:
    """Mean over 3x3 pixels at every other one, at the edges over those inside: [n, h, w, c], both even, to half."""
    for axis in (1, 2):
        side = x.shape[axis] // 2
        padded = jnp.pad(x, [(1 if a == axis else 0, 0) for a in range(4)])
        rows = jnp.moveaxis(padded, axis, 0)
        total = rows[0:-1:2] + rows[1::2] + rows[2::2]
        inside = jnp.where(jnp.arange(side) == 0, 2.0, 3.0).reshape(-1, 1, 1, 1)
        x = jnp.moveaxis(total / inside, 0, axis)
    return x
