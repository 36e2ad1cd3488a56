"""The networks of GauGAN: SPADE norms, generator, style encoder, critics at several scales."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.layers import Conv, PatchCritic, instance_norm
from tsgan_jax.nn.resample import downsample, upsample
from tsgan_jax.types import Array, Key


def _conv(features: int, dtype: Any, name: str, use_bias: bool = True) -> Conv:
    """A 3x3 convolution that keeps height and width."""
    return Conv(features, kernel=3, stride=1, use_bias=use_bias, dtype=dtype, name=name)


class Spade(nn.Module):
    """norm(x) * (1 + gamma) + beta, where gamma and beta are two-layer convolutions of the mask, `width` hidden
    channels.

    The publication normalises over a batch of about eight images.  Here each image is normalised alone, so that it
    does not depend on the others, which also works for batches of one.
    beta_bias: off if the next norm removes it.
    """

    width: int = 128
    beta_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        """x: [n, h, w, c]; mask: [n, h, w, classes], one-hot.  Returns x's shape."""

        hidden = jax.nn.relu(_conv(self.width, self.dtype, "hidden")(mask))
        gamma = _conv(x.shape[-1], self.dtype, "gamma")(hidden)
        beta = _conv(x.shape[-1], self.dtype, "beta", self.beta_bias)(hidden)
        return instance_norm(x) * (1 + gamma) + beta


BLOCKS = {"head": 16.0, "middle0": 16.0, "middle1": 16.0, "up0": 8.0, "up1": 4.0, "up2": 2.0, "up3": 1.0, "up4": 0.5}
"""Residual blocks in order, with their output channels in units of the generator's width; up4: with seven doublings."""
DOUBLINGS = ("up3", "up2", "up1", "up0", "middle0", "middle1", "up4")
"""Blocks after a doubling: the first `num_ups` of these.  Published are 5 to 7; small images need fewer."""


class SpadeBlock(nn.Module):
    """Residual block, two 3x3 convolutions after SPADE and LeakyReLU(0.2); x [n, h, w, c] to [n, h, w, features].

    If the channels change, the shortcut is a 1x1 convolution after another SPADE.  use_bias: biases of the two terms of
    the output; if another block follows, its norms remove them.
    """

    features: int
    spade_width: int = 128
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        """mask: [n, h, w, classes], one-hot, of x's height and width."""

        def spade(x: Array, name: str, beta_bias: bool = True) -> Array:
            return Spade(self.spade_width, beta_bias, self.dtype, name=name)(x, mask)

        def conv(x: Array, features: int, use_bias: bool, name: str) -> Array:
            return _conv(features, self.dtype, name, use_bias)(jax.nn.leaky_relu(x, 0.2))

        shortcut = x
        if x.shape[-1] != self.features:
            shortcut = spade(x, "spade_shortcut", self.use_bias)
            shortcut = Conv(self.features, 1, 1, padding=0, use_bias=False, dtype=self.dtype, name="shortcut")(shortcut)
        y = conv(spade(x, "spade0"), min(x.shape[-1], self.features), False, "conv0")
        return shortcut + conv(spade(y, "spade1"), self.features, self.use_bias, "conv1")


class Generator(nn.Module):
    """One-hot mask to CT.  It starts from the mask at its size / 2**num_ups (16x16 at 512 px and 5).

    With a style it starts from a dense layer of the style.  The layers in `spectral` need kernels of spectral norm 1
    (nn/spectral_norm.py).
    """

    num_ups: int = 5
    width: int = 64
    spade_width: int = 128
    dtype: Any = jnp.float32

    spectral: ClassVar[tuple[str, ...]] = ("conv0", "conv1", "shortcut")

    @nn.compact
    def __call__(self, mask: Array, style: Array | None = None) -> Array:
        """mask: [n, h, w, classes], one-hot 0 and 1; style: [n, z_dim].  Returns float32 [n, h, w, 1] in (-1, 1)."""
        side, doubled = mask.shape[1] >> self.num_ups, DOUBLINGS[: self.num_ups]
        first = 16 * self.width
        if style is None:
            x = _conv(first, self.dtype, "start", use_bias=False)(shrunk(mask, side))
        else:
            x = nn.Dense(side * side * first, dtype=self.dtype, name="start")(style).reshape(-1, side, side, first)
        last = "up4" if "up4" in doubled else "up3"
        for name in list(BLOCKS)[: list(BLOCKS).index(last) + 1]:
            x = upsample(x) if name in doubled else x
            features = int(BLOCKS[name] * self.width)
            block = SpadeBlock(features, self.spade_width, name == last, self.dtype, name=name)
            x = block(x, shrunk(mask, x.shape[1]))
        x = _conv(1, self.dtype, "image")(jax.nn.leaky_relu(x, 0.2))
        return jnp.tanh(x.astype(jnp.float32))


def shrunk(mask: Array, side: int) -> Array:
    """[n, h, h, classes] to [n, side, side, classes] by the nearest pixel, which is the upper left one of each
    square."""
    factor = mask.shape[1] // side
    return mask[:, ::factor, ::factor]


class MultiscaleCritic(nn.Module):
    """One PatchCritic for each scale of the image, without learned scales and offsets in the norms.

    The layers in `spectral`, which are followed by a norm, need kernels of spectral norm 1.
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
    """3x3 mean with stride 2 over the pixels inside the image: [n, h, w, c] to [n, h/2, w/2, c], h and w even."""
    return nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False)


LARGEST = 256  # side in pixels of the style encoder's input; larger images are halved first


class Style(NamedTuple):
    """A normal distribution over styles for each image; both [n, z_dim], float32."""

    mean: Array
    log_variance: Array

    def sample(self, keys: Key) -> Array:
        """One style [n, z_dim] for each image, by keys [n]."""
        return self.mean + jnp.exp(0.5 * self.log_variance) * standard_styles(keys, self.mean.shape[-1])


class StyleEncoder(nn.Module):
    """CT to the distribution of its style: 3x3 convolutions of stride 2 down to 4x4, then two dense layers.

    Channels are width * min(2**i, 8); instance norm after every convolution, LeakyReLU(0.2) between them.
    """

    width: int = 64
    z_dim: int = 256
    dtype: Any = jnp.float32

    spectral: ClassVar[tuple[str, ...]] = tuple(f"down{i}" for i in range(6))

    @nn.compact
    def __call__(self, ct: Array) -> Style:
        """ct: [n, h, h, 1] in [-1, 1], h a power of two from 8 px."""
        x = ct
        while x.shape[1] > LARGEST:
            x = downsample(x)
        for i in range((x.shape[1] // 4).bit_length() - 1):
            features = self.width * min(2**i, 8)
            x = Conv(features, kernel=3, use_bias=False, dtype=self.dtype, name=f"down{i}")(x)
            x = jax.nn.leaky_relu(instance_norm(x), 0.2)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return Style(nn.Dense(self.z_dim, name="mean")(x), nn.Dense(self.z_dim, name="log_variance")(x))


def standard_styles(keys: Key, z_dim: int) -> Array:
    """N(0, 1) from each of keys [n]: [n, z_dim]."""
    return jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(keys)
