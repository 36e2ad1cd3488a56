"""SPADE, spatially adaptive normalisation (Park et al. 2019, Eq. 1): a label map scales and shifts a norm's output."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv
from tsgan_jax.nn.norm import InstanceNorm
from tsgan_jax.types import Array


class Spade(nn.Module):
    """norm(x) * (1 + gamma) + beta, with gamma and beta convolved from the mask: two layers, `width` hidden channels.

    The publication normalises over the batch, of some eight images on as many devices.  Ours normalises each
    image by itself: an image must not depend on its neighbours, and batches of one have no other statistics.
    beta_bias: off where the next norm removes it.
    """

    width: int = 128
    beta_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        """x: [n, h, w, c]; mask: [n, h, w, classes], one-hot.  Returns x's shape."""

        def conv(features: int, name: str, use_bias: bool = True) -> Conv:
            return Conv(features, kernel=3, stride=1, use_bias=use_bias, dtype=self.dtype, name=name)

        hidden = jax.nn.relu(conv(self.width, "hidden")(mask))
        gamma = conv(x.shape[-1], "gamma")(hidden)
        beta = conv(x.shape[-1], "beta", self.beta_bias)(hidden)
        return InstanceNorm(affine=False)(x) * (1 + gamma) + beta
