"""VGG-19 features for the perceptual loss (Eq. 10): the network, and readers of its published weights.

Nothing is downloaded or substituted: the user gives the file of weights, in one of three layouts.  The two
published sets of weights are different networks and need different input:

* "torchvision": RGB in [0, 1], standardised with ImageNet's mean and deviation.
* "caffe" (the Oxford original, as Keras ships it): BGR in [0, 255] minus ImageNet's mean.  Its input, and
  with it every feature, is about 58 times larger.  ReLU and max pooling are positively homogeneous, so
  dividing input and biases by 57.6 (the mean deviation of ImageNet's channels) divides every feature by
  57.6 and changes nothing else; the reader does that, so one perceptual weight suits both kinds.
  Measured on six LUNA16 slices against copies blurred by 2 px: mean L1 of 0.13, 1.2 and 1.6 at relu1_1,
  relu2_1 and relu3_1, so lambda_perc = 10 has the same effect as lambda_L1 = 200; without the division, 57.6 times
  that.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.nn.conv import conv2d
from tsgan_jax.nn.weight_files import checked, read_npz, read_torch, read_weights
from tsgan_jax.types import Array

Kind = Literal["torchvision", "caffe"]

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and 3x3 convolutions of each block; 2x2 max pooling is between blocks."""
CONVS = tuple((b, c) for b, (_, count) in enumerate(BLOCKS, 1) for c in range(1, count + 1))
TORCH_INDEX = {(block, conv): 2 * i + block - 1 for i, (block, conv) in enumerate(CONVS)}
"""Position of each convolution in torchvision's `features`, which also counts ReLUs and poolings."""
MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
CAFFE_SCALE = 255.0 * sum(STD_RGB) / 3.0

LARGEST = 3 * 3 * 512 * 512
"""Values of the largest kernel."""

VggParams = dict[str, dict[str, np.ndarray]]


class Vgg19(NamedTuple):
    """Weights down to the deepest requested layer, and their source file."""

    params: VggParams  # "conv1_1" -> {"kernel" HWIO, "bias"}, float32
    kind: Kind
    sha256: str  # of the file, kept for logs
    file: str  # its name


def features(params: Any, x: Array, layers: Sequence[str], kind: Kind, dtype: Any = jnp.float32) -> dict[str, Array]:
    """Activations after the named ReLUs.

    x: [n, h, w, 1] in [-1, 1], repeated to three channels (FACTS 7).  layers: "relu1_1" to "relu5_4"; the
    network runs only as deep as the deepest.  dtype: of the convolutions.  Returns {layer: [n, h', w', c]}.
    """
    y = preprocess(x, kind).astype(dtype)
    found: dict[str, Array] = {}
    for block, conv in CONVS[: _depth(layers)]:
        if conv == 1 and block > 1:
            y = _max_pool(y)
        p = params[f"conv{block}_{conv}"]
        y = jax.nn.relu(conv2d(y, p["kernel"].astype(dtype), padding=1) + p["bias"].astype(dtype))
        if f"relu{block}_{conv}" in layers:
            found[f"relu{block}_{conv}"] = y
    return {layer: found[layer] for layer in layers}


def preprocess(x: Array, kind: Kind) -> Array:
    """[n, h, w, 1] in [-1, 1] -> [n, h, w, 3], the input that weights of this kind expect (caffe's divided by 57.6)."""
    unit = jnp.repeat((x.astype(jnp.float32) + 1.0) / 2.0, 3, axis=-1)
    if kind == "torchvision":
        return (unit - jnp.asarray(MEAN_RGB)) / jnp.asarray(STD_RGB)
    return (unit * 255.0 - jnp.asarray(CAFFE_MEAN_BGR)) / CAFFE_SCALE


def _max_pool(x: Array) -> Array:
    """2x2 max pooling as a maximum of strided slices, whose gradient needs no scatter."""
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def _depth(layers: Sequence[str]) -> int:
    """Number of convolutions up to the deepest layer; UserError for a layer that VGG-19 does not have."""
    names = [f"relu{b}_{c}" for b, c in CONVS]
    for layer in layers:
        if layer not in names:
            raise UserError(f"VGG-19 has no layer {layer!r}; it has {', '.join(names)}")
    return max((names.index(layer) + 1 for layer in layers), default=0)


def load_vgg19(path: Path, layers: Sequence[str]) -> Vgg19:
    """Read the weights that `layers` need.

    path: torchvision's state dict (.pth, .pt), Keras' (.h5), or .npz with keys
    "block1_conv1/kernel" (HWIO) and "block1_conv1/bias" in Keras' values.  The file may end
    after the deepest of them.  Raises UserError, which names the file and the fix.
    """
    path = Path(path)
    lookup, digest = read_weights(
        path,
        "VGG-19",
        {".pth": _read_torch, ".pt": _read_torch, ".h5": _read_keras, ".npz": lambda file: _by_place(read_npz(file))},
        "set translation.vgg_weights to a VGG-19 file, or translation.perceptual=off",
    )
    kind: Kind = "torchvision" if path.suffix in (".pth", ".pt") else "caffe"
    needed = CONVS[: _depth(layers)]
    missing = [f"conv{b}_{c}" for b, c in needed if (b, c) not in lookup]
    if missing:
        deepest = f"conv{max(lookup)[0]}_{max(lookup)[1]}" if lookup else "no VGG-19 convolution"
        raise UserError(
            f"{path}: lacks {', '.join(missing)}, which {', '.join(layers)} need (the file holds up to {deepest}); "
            "give a deeper file, or list shallower translation.perceptual_layers"
        )
    params, inputs = {}, 3
    for block, conv in needed:
        name, outputs = f"conv{block}_{conv}", BLOCKS[block - 1][0]
        kernel, bias = (np.asarray(array, np.float32) for array in lookup[block, conv])
        kernel = checked(path, "VGG-19", f"{name}'s kernel", kernel, (3, 3, inputs, outputs))
        bias = checked(path, "VGG-19", f"{name}'s bias", bias, (outputs,))
        params[name] = {"kernel": kernel, "bias": bias / np.float32(CAFFE_SCALE if kind == "caffe" else 1.0)}
        inputs = outputs
    return Vgg19(params=params, kind=kind, sha256=digest, file=path.name)


_Lookup = Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray]]
"""(block, conv) -> kernel HWIO, bias."""


def _read_torch(path: Path) -> _Lookup:
    """torchvision's `vgg19` state dict: features.N.weight in OIHW."""
    state = read_torch(path)
    return {
        place: (state[f"features.{index}.weight"].transpose(2, 3, 1, 0), state[f"features.{index}.bias"])
        for place, index in TORCH_INDEX.items()
        if {f"features.{index}.weight", f"features.{index}.bias"} <= state.keys()
    }


def _read_keras(path: Path) -> _Lookup:
    """Keras' HDF5 of any version."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: reading a .h5 file needs h5py, which is not installed; install h5py") from None

    arrays: dict[str, np.ndarray] = {}

    def visit(name: str | bytes, item: object) -> None:
        name = str(name)  # bytes where they are no UTF-8
        if "block" in name and isinstance(item, h5py.Dataset):
            if item.dtype.kind != "f" or item.size > LARGEST:  # of a few bytes in a file it may have any size
                raise ValueError(f"{name} has {item.size} values of {item.dtype}")
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except KeyError as error:  # what h5py makes of a damaged entry
        raise ValueError(str(error)) from None
    return _by_place(arrays)


def _by_place(arrays: Mapping[str, np.ndarray]) -> _Lookup:
    """Keras' arrays, named after layers blockB_convC: of each the one with four axes and the one with one."""
    found: dict[tuple[int, int], dict[int, np.ndarray]] = {}
    for name, array in arrays.items():
        if match := re.search(r"block(\d)_conv(\d)", name):
            found.setdefault((int(match[1]), int(match[2])), {})[array.ndim] = array
    return {place: (of[4], of[1]) for place, of in found.items() if place in CONVS and {1, 4} <= of.keys()}
