"""Inception-v3 for FID (Heusel et al. 2017): the network of pytorch-fid, up to the 2048 features of pool3.

It differs from torchvision's Inception: the weights are from TensorFlow's graph of 2015-12-05 (1008 classes),
average pooling does not count the padding, and the last block uses max pooling.  Nothing is downloaded: the user
gives the file of weights.

Three changes make it faster with equal results: batch normalisation is folded into the convolutions when the file is
read; the 1x1 convolutions at the entry of a block are one matrix product; and a 1x1 convolution after an average
pooling is computed before it, on fewer channels (both are linear, and they act on different axes).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tsgan_jax.errors import UserError
from tsgan_jax.nn.conv import DIMENSIONS
from tsgan_jax.nn.resample import bilinear_matrix
from tsgan_jax.nn.weight_files import checked, read_npz, read_torch, read_weights
from tsgan_jax.types import Array

SIDE = 299
DIM = 2048
BATCH_NORM_EPSILON = 1e-3
PUBLISHED = "6726825d"
"""First digits of the SHA-256 of pytorch-fid's file, pt_inception-2015-12-05-6726825d.pth.  Distances with other
weights are not comparable with published FID."""

Params = dict[str, Any]


class Inception(NamedTuple):
    """Weights and their source file."""

    params: Params  # of `Pool3`
    sha256: str  # of the file
    file: str  # its name

    @property
    def published(self) -> bool:
        """Whether these are the published weights that define FID."""
        return self.sha256.startswith(PUBLISHED)


def features(params: Params, images: Array) -> Array:
    """pool3 of grey images: uint8 [n, h, w] to float32 [n, 2048]."""
    return Pool3().apply({"params": params}, preprocess(images))


def preprocess(images: Array) -> Array:
    """uint8 [n, h, w] to float32 [n, 299, 299, 1] in [-1, 1]: to [0, 1], bilinear resize, then 2 x - 1.

    The resize is pytorch-fid's: pixel centres aligned, two taps at any scale, without
    smoothing before a reduction.  The one channel represents three equal ones; the first kernel is summed over them.
    """
    unit = images.astype(jnp.float32) / 255.0
    rows, columns = (jnp.asarray(bilinear_matrix(size, SIDE)) for size in images.shape[1:])
    resized = jnp.einsum("yh,nhw,xw->nyx", rows, unit, columns, precision=lax.Precision.HIGHEST)
    return 2.0 * resized[..., None] - 1.0


class Conv(nn.Module):
    """Convolution with its batch normalisation folded in, then ReLU: [n, h, w, c] to [n, h', w', features]."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)

    @nn.compact
    def weights(self, channels: int) -> tuple[Array, Array]:
        """Kernel [kh, kw, channels, features] and bias [features]."""
        kernel = self.param("kernel", nn.initializers.he_normal(), (*self.kernel, channels, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))

    def __call__(self, x: Array) -> Array:
        kernel, bias = self.weights(x.shape[-1])
        if self.kernel == (1, 1):
            return nn.relu(jnp.einsum("nhwc,cf->nhwf", x, kernel[0, 0]) + bias)
        return nn.relu(_convolved(x, kernel, self.stride, self.padding) + bias)


def _convolved(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> Array:
    """Cross-correlation with zeros on each side of rows and columns.

    At stride 1 on a CPU, where an output of the input's size is several times faster, its edge is cropped later.
    """
    whole = stride == 1 and jax.default_backend() == "cpu"
    top, left = ((k // 2 - p if whole else 0) for k, p in zip(kernel.shape[:2], padding, strict=True))
    pads = [(p + cut, p + cut) for p, cut in zip(padding, (top, left), strict=True)]
    y = lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=DIMENSIONS)
    return y[:, top : y.shape[1] - top, left : y.shape[2] - left]


def entries(x: Array, *convs: Conv) -> list[Array]:
    """The 1x1 convolutions of x as one product, each before its ReLU."""
    weights = [conv.weights(x.shape[-1]) for conv in convs]
    kernel = jnp.concatenate([kernel[0, 0] for kernel, _ in weights], axis=-1)
    y = jnp.einsum("nhwc,cf->nhwf", x, kernel) + jnp.concatenate([bias for _, bias in weights])
    ends = np.cumsum([conv.features for conv in convs])[:-1]
    return jnp.split(y, [int(end) for end in ends], axis=-1)


def average_pool(x: Array) -> Array:
    """3x3 mean at stride 1 over the pixels inside the image; same size."""
    for axis in (1, 2):
        size = x.shape[axis]
        pad = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
        padded = jnp.pad(x, pad)
        left, middle, right = (lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(3))
        inside = np.convolve(np.ones(size, np.float32), np.ones(3), "same").astype(np.float32)
        x = (left + middle + right) / inside.reshape([size if a == axis else 1 for a in range(x.ndim)])
    return x


def max_pool(x: Array, stride: int, padding: int) -> Array:
    """3x3 maximum, with negative infinity as padding."""
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = jnp.pad(x, pads, constant_values=-jnp.inf) if padding else x
    for axis in (1, 2):
        last = x.shape[axis] - 2
        parts = [lax.slice_in_dim(x, k, k + last, stride, axis) for k in range(3)]
        x = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
    return x


class Block(nn.Module):
    """Branches of convolutions and one of pooling, concatenated; they keep the size or halve it.

    branches: each a name and its convolutions (features, rows, columns of the kernel), numbered if there are several; a
    pair of convolutions has one input and concatenated outputs.
    pool_features: of the 1x1 convolution with the pooling.  None: the block halves the size, with stride 2 in the last
    convolution of each branch and in the pooling, which is the maximum and has no convolution.
    """

    branches: tuple[tuple[Any, ...], ...]
    pool_features: int | None = None
    pools_by_maximum: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        chains = [self._convolutions(*branch) for branch in self.branches]
        first = [chain[0][0] for chain in chains if chain[0][0].kernel == (1, 1)]
        pool = Conv(self.pool_features, name="branch_pool") if self.pool_features else None
        entered = entries(x, *first, *([pool] if pool and not self.pools_by_maximum else []))
        outputs = []
        for chain in chains:
            y, steps = (nn.relu(entered.pop(0)), chain[1:]) if chain[0][0].kernel == (1, 1) else (x, chain)
            for step in steps:
                y = jnp.concatenate([conv(y) for conv in step], axis=-1)
            outputs.append(y)
        if pool is None:
            outputs.append(max_pool(x, 2, 0))
        else:
            outputs.append(pool(max_pool(x, 1, 1)) if self.pools_by_maximum else nn.relu(average_pool(entered.pop())))
        return jnp.concatenate(outputs, axis=-1)

    def _convolutions(self, name: str, *steps: Any) -> list[list[Conv]]:
        chain = []
        for i, step in enumerate(steps, 1):
            numbered = f"{name}_{i}" if len(steps) > 1 else name
            parts = {numbered + "a": step[0], numbered + "b": step[1]} if len(step) == 2 else {numbered: step}
            halves = self.pool_features is None and i == len(steps)
            chain.append(
                [
                    Conv(features, (h, w), 1 + halves, (0, 0) if halves else (h // 2, w // 2), name=part)
                    for part, (features, h, w) in parts.items()
                ]
            )
        return chain


THREE_TWICE = ("branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3))
FORK = (384, 1, 3), (384, 3, 1)
BLOCK_A = ("branch1x1", (64, 1, 1)), ("branch5x5", (48, 1, 1), (64, 5, 5)), THREE_TWICE
BLOCK_B = ("branch3x3", (384, 3, 3)), THREE_TWICE
BLOCK_D = (
    ("branch3x3", (192, 1, 1), (320, 3, 3)),
    ("branch7x7x3", (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)),
)
BLOCK_E = (
    ("branch1x1", (320, 1, 1)),
    ("branch3x3", (384, 1, 1), FORK),
    ("branch3x3dbl", (448, 1, 1), (384, 3, 3), FORK),
)


def block_c(c: int) -> tuple[tuple[Any, ...], ...]:
    """7x7 convolutions as rows and columns, with c channels inside."""
    return (
        ("branch1x1", (192, 1, 1)),
        ("branch7x7", (c, 1, 1), (c, 1, 7), (192, 7, 1)),
        ("branch7x7dbl", (c, 1, 1), (c, 7, 1), (c, 1, 7), (c, 7, 1), (192, 1, 7)),
    )


BLOCKS: dict[str, tuple[Any, ...]] = {
    "Mixed_5b": (BLOCK_A, 32),
    "Mixed_5c": (BLOCK_A, 64),
    "Mixed_5d": (BLOCK_A, 64),
    "Mixed_6a": (BLOCK_B,),
    "Mixed_6b": (block_c(128), 192),
    "Mixed_6c": (block_c(160), 192),
    "Mixed_6d": (block_c(160), 192),
    "Mixed_6e": (block_c(192), 192),
    "Mixed_7a": (BLOCK_D,),
    "Mixed_7b": (BLOCK_E, 192),
    "Mixed_7c": (BLOCK_E, 192, True),
}
"""`Block`'s arguments, in order: 35 px up to 6a, 17 px up to 7a, then 8 px."""


class Pool3(nn.Module):
    """[n, 299, 299, 1] in [-1, 1] to the means of the last 8x8 maps, [n, 2048]."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(32, (3, 3), stride=2, name="Conv2d_1a_3x3")(x)
        x = Conv(32, (3, 3), name="Conv2d_2a_3x3")(x)
        x = Conv(64, (3, 3), padding=(1, 1), name="Conv2d_2b_3x3")(x)
        x = Conv(80, name="Conv2d_3b_1x1")(max_pool(x, 2, 0))
        x = max_pool(Conv(192, (3, 3), name="Conv2d_4a_3x3")(x), 2, 0)
        for name, block in BLOCKS.items():
            x = Block(*block, name=name)(x)
        return x.mean(axis=(1, 2))


def layers() -> dict[str, tuple[int, ...]]:
    """Each convolution's name in pytorch-fid's file, and the shape of its kernel there, OIHW."""
    shapes = jax.eval_shape(Pool3().init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 1)))["params"]
    found: dict[str, tuple[int, ...]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        *names, kind = (part.key for part in path)
        if kind == "kernel":
            height, width, inputs, outputs = leaf.shape
            name = ".".join(names)
            found[name] = (outputs, 3 if name == "Conv2d_1a_3x3" else inputs, height, width)
    return found


def folded(state: Mapping[str, np.ndarray], source: Path | str = "weights") -> Params:
    """Parameters of `Pool3` from arrays named as in pytorch-fid's file.

    state: for each of `layers()` NAME.conv.weight (OIHW) and NAME.bn.{weight, bias, running_mean, running_var}.
    Raises UserError, which names `source`, for an array that is missing, has another shape or is not finite.
    """

    def part(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in state:
            raise UserError(f"{source}: lacks {name}; give pytorch-fid's Inception file (pt_inception-2015-12-05)")
        return checked(source, "pytorch-fid's Inception", name, np.asarray(state[name]), shape).astype(np.float64)

    params: Params = {}
    for name, shape in layers().items():
        kernel = part(f"{name}.conv.weight", shape)
        scale, shift, mean, variance = (
            part(f"{name}.bn.{kind}", shape[:1]) for kind in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = (kernel * factor[:, None, None, None]).transpose(2, 3, 1, 0)
        if name == "Conv2d_1a_3x3":
            kernel = kernel.sum(axis=2, keepdims=True)
        place = params
        for step in name.split("."):
            place = place.setdefault(step, {})
        place |= {"kernel": kernel.astype(np.float32), "bias": (shift - mean * factor).astype(np.float32)}
    return params


def load_inception(path: Path) -> Inception:
    """Read pytorch-fid's weights.

    path: its state dict (.pth, .pt), or .npz with the same names and layout.  Raises UserError, which
    names the file and the fix; also for torchvision's Inception, which has the same names.
    """
    path = Path(path)
    state, digest = read_weights(
        path,
        "Inception",
        {".pth": read_torch, ".pt": read_torch, ".npz": read_npz},
        f"set evaluation.inception_weights to pytorch-fid's pt_inception-2015-12-05-{PUBLISHED}.pth, or "
        "evaluation.features=vgg19",
    )
    if any(name.startswith("AuxLogits.") for name in state) or state.get("fc.bias", np.empty(1008)).size == 1000:
        raise UserError(
            f"{path}: is torchvision's Inception, which does not give FID; use pytorch-fid's file "
            f"pt_inception-2015-12-05-{PUBLISHED}.pth"
        )
    return Inception(params=folded(state, path), sha256=digest, file=path.name)
