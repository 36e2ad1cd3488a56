"""Layers of stage 2, and the initialisation of pix2pix: kernels N(0, 0.02), norm scales N(1, 0.02), biases 0.

Convolutions, instance and group norm, and the PatchGAN critic.  A norm depends on one image alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from tsgan_jax.nn.conv import conv2d, conv_transpose2d
from tsgan_jax.types import Array, Key

Params = Any
STD = 0.02


def normals(key: Key, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """N(0, 1) of each shape, from one draw: XLA needs a second or more to compile each, and a U-Net has forty."""
    noise, parts, end = jax.random.normal(key, (sum(map(math.prod, shapes)),)), [], 0
    for shape in shapes:
        start, end = end, end + math.prod(shape)
        parts.append(noise[start:end].reshape(shape))
    return parts


def redrawn(
    module: nn.Module,
    key: Key,
    args: Sequence[object],
    rule: Callable[[nn.Module, str, Array], tuple[float, float] | None],
) -> Params:
    """The parameters of `module.init(key, *args)`, with one random draw for those that `rule` chooses.

    rule: (layer, name in it, parameter) -> mean and deviation, None to keep what `init` gives.  The name does not tell
    the layer's type: Flax calls the weights of all layers "kernel" and the scales of all norms "scale".  Under jit the
    unused draws of `init` are removed.
    """
    layers: dict[tuple[str, ...], nn.Module] = {}

    def note(call, args, kwargs, context):  # type: ignore[no-untyped-def]
        layers[context.module.path] = context.module
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        params = flatten_dict(module.init(key, *args)["params"])
    rules = {path: rule(layers[path[:-1]], path[-1], params[path]) for path in sorted(params)}
    chosen = {path: each for path, each in rules.items() if each is not None}
    noise = normals(key, [params[path].shape for path in chosen])
    drawn = {path: mean + spread * part for (path, (mean, spread)), part in zip(chosen.items(), noise, strict=True)}
    return unflatten_dict({path: drawn.get(path, leaf) for path, leaf in params.items()})


def xavier(shape: tuple[int, ...]) -> float:
    """Xavier's deviation of a kernel [..., inputs, outputs], times 0.02 (SPADE's)."""
    return STD * math.sqrt(2.0 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))


def initialise(
    module: nn.Module, key: Key, *args: object, deviation: Callable[[tuple[int, ...]], float] = lambda shape: STD
) -> Params:
    """The parameters of `module.init(key, *args)`, with kernels (two axes or more) N(0, deviation(shape)).

    Scales of instance norms are N(1, 0.02); all others, such as those of group norms, are those of `init`.
    """

    def rule(layer: nn.Module, name: str, leaf: Array) -> tuple[float, float] | None:
        if leaf.ndim > 1:
            return 0.0, deviation(leaf.shape)
        return (1.0, STD) if name == "scale" and isinstance(layer, InstanceNorm) else None

    return redrawn(module, key, args, rule)


# Flax's norms subtract the mean twice, which costs a reduction more in each backward pass.


def instance_norm(x: Array, scale: Array | float = 1.0, bias: Array | float = 0.0, epsilon: float = 1e-5) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, over the pixels of each channel of each image.

    x: [n, h, w, c]; scale, bias: [c] or numbers.  Statistics in float32, with the population variance.  Returns x's
    shape and dtype.  The paper trains with batch normalisation at batch size 1 and pix2pix tests with batch
    statistics: that is this norm (A17).
    """
    y = x.astype(jnp.float32)
    y -= y.mean((1, 2), keepdims=True)
    y *= scale * jax.lax.rsqrt(jnp.square(y).mean((1, 2), keepdims=True) + epsilon)
    return (y + bias).astype(x.dtype)


class InstanceNorm(nn.Module):
    """`instance_norm` with learned scales, which start as N(1, 0.02) as in pix2pix, and offsets."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", lambda key, shape: 1.0 + STD * jax.random.normal(key, shape), x.shape[-1:])
        return instance_norm(x, scale, self.param("bias", nn.initializers.zeros, x.shape[-1:]))


class GroupNorm(nn.Module):
    """Group norm (Wu and He 2018) of x [n, h, w, c] over pixels and neighbouring channels, in float32.

    In 32 groups, or fewer so that each has at least four channels.  Returns x's shape and dtype.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        groups = math.gcd(32, max(channels // 4, 1), channels)
        y = x.astype(jnp.float32).reshape(*x.shape[:3], groups, -1)
        y -= y.mean((1, 2, 4), keepdims=True)
        y *= jax.lax.rsqrt(jnp.square(y).mean((1, 2, 4), keepdims=True) + 1e-5)
        return (y.reshape(x.shape) * scale + bias).astype(x.dtype)


class Conv(nn.Module):
    """[n, h, w, c] -> [n, h', w', features]; parameters in float32, computed in `dtype`."""

    features: int
    kernel: int = 4
    stride: int = 2
    padding: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(STD), shape)
        y = self._convolved(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y

    def _convolved(self, x: Array, kernel: Array) -> Array:
        return conv2d(x, kernel, stride=self.stride, padding=self.padding)


class UpConv(Conv):
    """The stride 2 transposed convolution, 4x4 or 3x3: [n, h, w, c] -> [n, 2h, 2w, features]."""

    def _convolved(self, x: Array, kernel: Array) -> Array:
        return conv_transpose2d(x, kernel)


class PatchCritic(nn.Module):
    """PatchGAN: logits of overlapping patches (A16); layers=3 is pix2pix's 70x70 PatchGAN.

    x: [n, h, w, c], condition (if any) and image concatenated.  4x4 convolutions: `layers` of stride 2, then two
    of stride 1, all padded by 1; no norm in the first and last.  Returns float32 logits
    [n, h / 2**layers - 2, w / 2**layers - 2, 1]: 30x30 at 256 px, 62x62 at 512.

    affine: learned scales and offsets in the norms, as in pix2pix; False for CycleGAN.
    padding: 2 in pix2pixHD and GauGAN, where each convolution adds a pixel to the map.
    """

    width: int = 64
    layers: int = 3
    dtype: Any = jnp.float32
    affine: bool = True
    padding: int = 1

    def __call__(self, x: Array) -> Array:
        return self.outputs(x)[-1]

    @nn.compact
    def outputs(self, x: Array) -> list[Array]:
        """The outputs of all convolutions after norm and LeakyReLU(0.2); the last are the logits."""
        found = []
        for i in range(self.layers + 1):
            stride, features = 2 if i < self.layers else 1, self.width * min(2**i, 8)
            x = self._conv(features, stride, i == 0, f"conv{i}")(x)
            if i > 0:
                x = InstanceNorm(name=f"norm{i}")(x) if self.affine else instance_norm(x)
            x = jax.nn.leaky_relu(x, 0.2)
            found.append(x)
        return [*found, self._conv(1, 1, True, "logits")(x).astype(jnp.float32)]

    def _conv(self, features: int, stride: int, use_bias: bool, name: str) -> Conv:
        return Conv(features, stride=stride, padding=self.padding, use_bias=use_bias, dtype=self.dtype, name=name)
