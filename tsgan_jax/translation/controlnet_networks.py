"""The diffusion U-Net, which is trained first and then locked, and its control, a copy of the encoder that gets the
mask."""

import math
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.conv import upsample_conv2d
from tsgan_jax.nn.layers import STD, Conv, GroupNorm, initialise
from tsgan_jax.nn.window_attention import window_attention
from tsgan_jax.train.learner import Params
from tsgan_jax.types import Array, Key


@dataclass(frozen=True)
class Shape:
    """Sizes of encoder and decoder: level i (from 0, the finest) has width * multipliers[i] channels and half the side
    of level i - 1; its encoder has `blocks` residual blocks, its decoder one more.
    """

    width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4)
    blocks: int = 1
    attention_levels: tuple[int, ...] = (2,)
    dtype: Any = jnp.float32

    @property
    def features(self) -> list[int]:
        """Channels of each level."""
        return [self.width * multiplier for multiplier in self.multipliers]

    def conv(self, features: int, name: str, stride: int = 1) -> Conv:
        """A 3x3 convolution that keeps or halves the side; a name that ends in _zero makes it start at zero."""
        return Conv(features, kernel=3, stride=stride, padding=1, dtype=self.dtype, name=name)

    def pointwise(self, features: int, name: str) -> Conv:
        """A 1x1 convolution; a name that ends in _zero makes it start at zero."""
        return Conv(features, kernel=1, stride=1, padding=0, dtype=self.dtype, name=name)


class Encoder(nn.Module):
    """Time embedding, encoder and middle: the part that the control copies."""

    shape: Shape

    @nn.compact
    def __call__(self, x: Array, times: Array, hint: Array | float = 0.0) -> tuple[list[Array], Array, Array]:
        """x: [n, h, w, c]; times: int32 [n]; hint: [n, h, w, width], added after the first convolution.

        Returns the skips (first convolution, then each block and each halving), the middle, and the
        embedded times [n, 4 * width].
        """
        shape = self.shape
        time = nn.Dense(4 * shape.width, name="time0")(time_embedding(times, shape.width))
        time = nn.Dense(4 * shape.width, name="time1")(jax.nn.silu(time))
        x = shape.conv(shape.width, "first")(x) + hint
        skips = [x]
        for i, features in enumerate(shape.features):
            for j in range(shape.blocks):
                x = _Block(shape, features, i in shape.attention_levels, name=f"down{i}_{j}")(x, time)
                skips.append(x)
            if i + 1 < len(shape.multipliers):
                x = shape.conv(features, f"halve{i}", stride=2)(x)
                skips.append(x)
        x = _Block(shape, x.shape[-1], True, name="middle0")(x, time)
        x = _Block(shape, x.shape[-1], False, name="middle1")(x, time)
        return skips, x, time


class Decoder(nn.Module):
    """Decoder from the encoder's skips and middle to `channels` channels, float32."""

    shape: Shape
    channels: int

    @nn.compact
    def __call__(self, skips: list[Array], x: Array, time: Array) -> Array:
        shape, skips = self.shape, list(skips)
        for i, features in reversed(list(enumerate(shape.features))):
            for j in range(shape.blocks + 1):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = _Block(shape, features, i in shape.attention_levels, name=f"up{i}_{j}")(x, time)
            if i > 0:
                x = _Doubling(shape.dtype, name=f"double{i}")(x)
        x = jax.nn.silu(GroupNorm(name="norm")(x))
        return shape.conv(self.channels, "out_zero")(x).astype(jnp.float32)


class UNet(nn.Module):
    """The unconditional diffusion model; `controls`, if given, are added to its skips and middle."""

    shape: Shape
    channels: int

    @nn.compact
    def __call__(self, x: Array, times: Array, controls: list[Array] | None = None) -> Array:
        """x: [n, h, w, channels]; times: int32 [n]; controls: one per skip, then one for the middle.

        Returns float32 [n, h, w, channels].  Controls of zero give bit-identical results.
        """
        skips, middle, time = Encoder(self.shape, name="encoder")(x, times)
        if controls is not None:
            *skips, middle = [a + b for a, b in zip([*skips, middle], controls, strict=True)]
        return Decoder(self.shape, self.channels, name="decoder")(skips, middle, time)


class Control(nn.Module):
    """ControlNet: a copy of the encoder that receives the mask and changes the U-Net's skips and middle.

    Its outputs are 1x1 convolutions that start at zero (`*_zero`), as does the last one on the mask.
    """

    shape: Shape

    @nn.compact
    def __call__(self, x: Array, times: Array, mask: Array) -> list[Array]:
        """x: [n, h, w, c], the noisy image; times: int32 [n]; mask: [n, h, w, m], folded like the image.

        Returns the controls in `UNet`'s order.
        """
        shape = self.shape
        hint = jax.nn.silu(shape.conv(shape.width, "hint0")(mask))
        hint = jax.nn.silu(shape.conv(shape.width, "hint1")(hint))
        hint = shape.conv(shape.width, "hint_zero")(hint)
        skips, middle, _ = Encoder(shape, name="encoder")(x, times, hint)
        controls = [shape.pointwise(s.shape[-1], f"skip{i}_zero")(s) for i, s in enumerate(skips)]
        return [*controls, shape.pointwise(middle.shape[-1], "middle_zero")(middle)]


def initialise_unet(module: nn.Module, key: Key, *args: object) -> Params:
    """`initialise` with kernels rescaled to variance 1 / fan-in, and kernels of `*_zero` set to zero.

    Then each residual block starts as the identity and each convolution keeps the scale of its input.
    """

    def start(path: tuple[Any, ...], leaf: Array) -> Array:
        if any(part.key.endswith("_zero") for part in path):
            return jnp.zeros_like(leaf)
        return leaf / (STD * math.sqrt(math.prod(leaf.shape[:-1]))) if leaf.ndim > 1 else leaf

    return jax.tree_util.tree_map_with_path(start, initialise(module, key, *args))


def time_embedding(times: Array, width: int) -> Array:
    """Cosines, then sines, of the time at wavelengths from 2 pi to 20,000 pi: int32 [n] -> float32 [n, width]."""
    half = width // 2
    angles = times[:, None] * jnp.exp(-math.log(10_000.0) / half * jnp.arange(half))
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class _Block(nn.Module):
    """A residual block with the time embedding, then, if `attends`, attention over all pixels of the image."""

    shape: Shape
    features: int
    attends: bool

    @nn.compact
    def __call__(self, x: Array, time: Array) -> Array:
        shape = self.shape
        y = shape.conv(self.features, "conv")(jax.nn.silu(GroupNorm(name="norm")(x)))
        heard = nn.Dense(self.features, dtype=shape.dtype, name="time")(jax.nn.silu(time))
        y = jax.nn.silu(GroupNorm(name="time_norm")(y + heard[:, None, None]))
        if x.shape[-1] != self.features:
            x = shape.pointwise(self.features, "shortcut")(x)
        x = x + shape.conv(self.features, "conv_zero")(y)
        return x + self._attention(x) if self.attends else x

    def _attention(self, x: Array) -> Array:
        """One head over the whole image."""
        shape, (n, h, w, c) = self.shape, x.shape
        y = GroupNorm(name="attention_norm")(x)
        q, k, v = (shape.pointwise(c, name)(y).reshape(n, h * w, c) for name in ("query", "key", "value"))
        mixed = jax.vmap(window_attention, in_axes=(0, 0, 0, None))(q, k, v, jnp.float32(1.0))
        return shape.pointwise(c, "attention_zero")(mixed.reshape(n, h, w, c))


class _Doubling(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution: [n, h, w, c] -> [n, 2h, 2w, c]."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.normal(STD), (3, 3, x.shape[-1], x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return upsample_conv2d(x.astype(self.dtype), kernel.astype(self.dtype)) + bias.astype(self.dtype)


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
