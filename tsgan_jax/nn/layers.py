"""Convolution layers, and the initialisation of pix2pix: kernels N(0, 0.02), norm scales N(1, 0.02), biases 0."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tsgan_jax.nn.conv import conv2d, conv_transpose2d
from tsgan_jax.nn.norm import InstanceNorm
from tsgan_jax.types import Array, Key

Path = tuple[str, ...]


def owners_of(module: nn.Module, key: Key, *args: object) -> tuple[dict, dict[Path, nn.Module]]:
    """The parameters of `module.init(key, *args)`, and every layer by its path.

    The path of a layer is that of its leaves without the last part.  The leaves' names do not identify the layer's
    type: Flax calls the weights of all layers "kernel" and the scales of all norms "scale".
    """
    layers: dict[Path, nn.Module] = {}

    def note(call, args, kwargs, context):  # type: ignore[no-untyped-def]
        layers[context.module.path] = context.module
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        params = module.init(key, *args)["params"]
    return params, layers


Params = Any
STD = 0.02


def _constant(shape: tuple[int, ...]) -> float:
    del shape
    return STD


def xavier(shape: tuple[int, ...]) -> float:
    """Xavier's deviation of a kernel [..., inputs, outputs], times 0.02 (SPADE's)."""
    return STD * math.sqrt(2.0 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))


def initialise(
    module: nn.Module, key: Key, *args: object, deviation: Callable[[tuple[int, ...]], float] = _constant
) -> Params:
    """The parameters of `module.init(key, *args)`, with one random draw for all of them.

    Kernels (two axes or more) are N(0, deviation(shape)), scales of instance norms N(1, 0.02); all others, such as the
    scales of group norms, are those of `init`.
    XLA needs a second or more to compile each draw, and a U-Net has forty; under jit the unused draws of `init` are
    removed.
    """
    params, layers = owners_of(module, key, *args)
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)

    def is_random(path: tuple[Any, ...], leaf: Array) -> bool:
        *layer, name = (part.key for part in path)
        return leaf.ndim > 1 or (name == "scale" and isinstance(layers[tuple(layer)], InstanceNorm))

    random = [leaf.size if is_random(path, leaf) else 0 for path, leaf in leaves]
    ends = list(itertools.accumulate(random))
    noise = jax.random.normal(key, (ends[-1],))
    drawn = [
        noise[end - size : end].reshape(leaf.shape) * (deviation(leaf.shape) if leaf.ndim > 1 else STD)
        + float(leaf.ndim == 1)
        if size
        else leaf
        for (_, leaf), size, end in zip(leaves, random, ends, strict=True)
    ]
    return jax.tree.unflatten(tree, drawn)


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
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, padding=self.padding)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


class UpConv(nn.Module):
    """The stride 2 transposed convolution, 4x4 or 3x3: [n, h, w, c] -> [n, 2h, 2w, features]."""

    features: int
    kernel: int = 4
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param(
            "kernel", nn.initializers.normal(STD), (self.kernel, self.kernel, x.shape[-1], self.features)
        )
        y = conv_transpose2d(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y
