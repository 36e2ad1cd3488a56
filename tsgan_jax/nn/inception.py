"""Inception-v3 for FID (Heusel et al. 2017): the network of pytorch-fid, up to the 2048 features of pool3.

It differs from torchvision's Inception: the weights are from TensorFlow's graph of 2015-12-05 (1008 classes),
average pooling does not count the padding, and the last block uses max pooling.  Nothing is downloaded: the user
gives the file of weights.

Three changes make it faster with equal results: batch normalisation is folded into the convolutions when the file is
read; the 1x1 convolutions at the entry of a block are one matrix product; and a 1x1 convolution after an average
pooling is computed before it, on fewer channels (both are linear, and they act on different axes).
"""

import zipfile
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
from tsgan_jax.nn.weight_files import read_torch, sha256
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
    rows, columns = (jnp.asarray(_bilinear(size)) for size in images.shape[1:])
    resized = jnp.einsum("yh,nhw,xw->nyx", rows, unit, columns, precision=lax.Precision.HIGHEST)
    return 2.0 * resized[..., None] - 1.0


def _bilinear(size: int) -> np.ndarray:
    """float32 [299, size]: bilinear weights, two per row."""
    place = np.clip((np.arange(SIDE) + 0.5) * (size / SIDE) - 0.5, 0, None)
    low = np.minimum(place.astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    weights = np.zeros((SIDE, size), np.float32)
    np.add.at(weights, (np.arange(SIDE), low), 1.0 - (place - low))
    np.add.at(weights, (np.arange(SIDE), high), place - low)
    return weights


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

    XLA:CPU is several times faster when the output has the size of the input.  On a CPU at stride 1 the full map is
    therefore computed and its edge cropped.
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


def _row(features: int, taps: int, name: str) -> Conv:
    return Conv(features, (1, taps), padding=(0, taps // 2), name=name)


def _column(features: int, taps: int, name: str) -> Conv:
    return Conv(features, (taps, 1), padding=(taps // 2, 0), name=name)


class BlockA(nn.Module):
    """Mixed_5b to 5d, at 35 px: 1x1, 5x5, two 3x3, and pooling."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one, five, three, pool = entries(
            x,
            Conv(64, name="branch1x1"),
            Conv(48, name="branch5x5_1"),
            Conv(64, name="branch3x3dbl_1"),
            Conv(self.pool_features, name="branch_pool"),
        )
        five = Conv(64, (5, 5), padding=(2, 2), name="branch5x5_2")(nn.relu(five))
        three = Conv(96, (3, 3), padding=(1, 1), name="branch3x3dbl_2")(nn.relu(three))
        three = Conv(96, (3, 3), padding=(1, 1), name="branch3x3dbl_3")(three)
        return jnp.concatenate([nn.relu(one), five, three, nn.relu(average_pool(pool))], axis=-1)


class BlockB(nn.Module):
    """Mixed_6a, 35 to 17 px."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three = Conv(384, (3, 3), stride=2, name="branch3x3")(x)
        double = Conv(64, name="branch3x3dbl_1")(x)
        double = Conv(96, (3, 3), padding=(1, 1), name="branch3x3dbl_2")(double)
        double = Conv(96, (3, 3), stride=2, name="branch3x3dbl_3")(double)
        return jnp.concatenate([three, double, max_pool(x, 2, 0)], axis=-1)


class BlockC(nn.Module):
    """Mixed_6b to 6e, at 17 px: 1x1, one and two 7x7 in rows and columns, and pooling."""

    inner: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = self.inner
        one, seven, double, pool = entries(
            x,
            Conv(192, name="branch1x1"),
            Conv(c, name="branch7x7_1"),
            Conv(c, name="branch7x7dbl_1"),
            Conv(192, name="branch_pool"),
        )
        seven = _column(192, 7, "branch7x7_3")(_row(c, 7, "branch7x7_2")(nn.relu(seven)))
        double = _row(c, 7, "branch7x7dbl_3")(_column(c, 7, "branch7x7dbl_2")(nn.relu(double)))
        double = _row(192, 7, "branch7x7dbl_5")(_column(c, 7, "branch7x7dbl_4")(double))
        return jnp.concatenate([nn.relu(one), seven, double, nn.relu(average_pool(pool))], axis=-1)


class BlockD(nn.Module):
    """Mixed_7a, 17 to 8 px."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three, seven = entries(x, Conv(192, name="branch3x3_1"), Conv(192, name="branch7x7x3_1"))
        three = Conv(320, (3, 3), stride=2, name="branch3x3_2")(nn.relu(three))
        seven = _column(192, 7, "branch7x7x3_3")(_row(192, 7, "branch7x7x3_2")(nn.relu(seven)))
        seven = Conv(192, (3, 3), stride=2, name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, max_pool(x, 2, 0)], axis=-1)


class BlockE(nn.Module):
    """Mixed_7b and 7c, at 8 px; the second uses max pooling."""

    pools_by_maximum: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one = Conv(320, name="branch1x1")
        three = Conv(384, name="branch3x3_1")
        double = Conv(448, name="branch3x3dbl_1")
        pool = Conv(192, name="branch_pool")
        if self.pools_by_maximum:
            a, b, c = entries(x, one, three, double)
            d = pool(max_pool(x, 1, 1))
        else:
            a, b, c, d = entries(x, one, three, double, pool)
            d = nn.relu(average_pool(d))
        b, c = nn.relu(b), Conv(384, (3, 3), padding=(1, 1), name="branch3x3dbl_2")(nn.relu(c))
        split = [_row(384, 3, "branch3x3_2a")(b), _column(384, 3, "branch3x3_2b")(b)]
        split += [_row(384, 3, "branch3x3dbl_3a")(c), _column(384, 3, "branch3x3dbl_3b")(c)]
        return jnp.concatenate([nn.relu(a), *split, d], axis=-1)


class Pool3(nn.Module):
    """[n, 299, 299, 1] in [-1, 1] to the means of the last 8x8 maps, [n, 2048]."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(32, (3, 3), stride=2, name="Conv2d_1a_3x3")(x)
        x = Conv(32, (3, 3), name="Conv2d_2a_3x3")(x)
        x = Conv(64, (3, 3), padding=(1, 1), name="Conv2d_2b_3x3")(x)
        x = Conv(80, name="Conv2d_3b_1x1")(max_pool(x, 2, 0))
        x = Conv(192, (3, 3), name="Conv2d_4a_3x3")(x)
        x = max_pool(x, 2, 0)
        for name, pool_features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(pool_features, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)
        for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = BlockC(inner, name=name)(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(pools_by_maximum=False, name="Mixed_7b")(x)
        x = BlockE(pools_by_maximum=True, name="Mixed_7c")(x)
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
    params: Params = {}
    for name, shape in layers().items():
        kernel = _checked(source, state, f"{name}.conv.weight", shape).astype(np.float64)
        scale, shift, mean, variance = (
            _checked(source, state, f"{name}.bn.{part}", shape[:1]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = (kernel * factor[:, None, None, None]).transpose(2, 3, 1, 0)
        if name == "Conv2d_1a_3x3":
            kernel = kernel.sum(axis=2, keepdims=True)
        place = params
        for part in name.split("."):
            place = place.setdefault(part, {})
        place |= {"kernel": kernel.astype(np.float32), "bias": (shift - mean * factor).astype(np.float32)}
    return params


def _checked(source: Path | str, state: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in state:
        raise UserError(f"{source}: lacks {name}; give pytorch-fid's Inception file (pt_inception-2015-12-05)")
    array = np.asarray(state[name])
    if array.shape != shape:
        raise UserError(f"{source}: {name} has shape {array.shape}, pytorch-fid's Inception has {shape}")
    if not np.isfinite(array).all():
        raise UserError(f"{source}: {name} has values that are not finite; fetch the file again")
    return array


def load_inception(path: Path) -> Inception:
    """Read pytorch-fid's weights.

    path: its state dict (.pth, .pt; needs torch), or .npz with the same names and layout.  Raises UserError, which
    names the file and the fix; also for torchvision's Inception, which has the same names.
    """
    path = Path(path)
    readers = {".pth": read_torch, ".pt": read_torch, ".npz": _read_npz}
    if path.suffix not in readers:
        raise UserError(
            f"{path}: Inception weights must be one of {', '.join(readers)}, not {path.suffix or 'no suffix'!r}"
        )
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; set evaluation.inception_weights to pytorch-fid's "
            f"pt_inception-2015-12-05-{PUBLISHED}.pth, or evaluation.features=vgg19"
        )
    digest = sha256(path)
    try:
        state = readers[path.suffix](path)
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as Inception weights ({error}); fetch the file again") from error
    if any(name.startswith("AuxLogits.") for name in state) or state.get("fc.bias", np.empty(1008)).size == 1000:
        raise UserError(
            f"{path}: is torchvision's Inception, which does not give FID; use pytorch-fid's file "
            f"pt_inception-2015-12-05-{PUBLISHED}.pth"
        )
    return Inception(params=folded(state, path), sha256=digest, file=path.name)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
