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
from tsgan_jax.nn import torch_file
from tsgan_jax.nn.conv import conv2d
from tsgan_jax.nn.weight_files import read_npz, read_weights
from tsgan_jax.types import Array

Kind = Literal["torchvision", "caffe"]

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and 3x3 convolutions of each block; 2x2 max pooling is between blocks."""
CONVS = tuple((b, c) for b, (_, count) in enumerate(BLOCKS, 1) for c in range(1, count + 1))
MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
CAFFE_SCALE = 255.0 * sum(STD_RGB) / 3.0

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
        {".pth": _read_torch, ".pt": _read_torch, ".h5": _read_keras, ".npz": _read_npz},
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
    scale = CAFFE_SCALE if kind == "caffe" else 1.0
    params = {f"conv{b}_{c}": _checked(path, b, c, lookup[b, c], scale) for b, c in needed}
    return Vgg19(params=params, kind=kind, sha256=digest, file=path.name)


_Lookup = Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray]]
"""(block, conv) -> kernel HWIO, bias."""


def _checked(path: Path, block: int, conv: int, arrays: tuple[np.ndarray, np.ndarray], scale: float) -> dict:
    """One convolution, checked for shape and finite values, with its bias in the reader's scale."""
    kernel, bias = (np.asarray(a, np.float32) for a in arrays)
    features_out = BLOCKS[block - 1][0]
    features_in = features_out if conv > 1 else 3 if block == 1 else BLOCKS[block - 2][0]
    expected = (3, 3, features_in, features_out)
    if kernel.shape != expected or bias.shape != (features_out,):
        raise UserError(f"{path}: conv{block}_{conv} has shape {kernel.shape}, VGG-19 has {expected}")
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise UserError(f"{path}: conv{block}_{conv} has values that are not finite; fetch the file again")
    return {"kernel": kernel, "bias": bias / np.float32(scale)}


def _read_torch(path: Path) -> _Lookup:
    """torchvision's `vgg19` state dict: features.N.weight in OIHW."""
    state = torch_file.read(path)
    found = {}
    for (block, conv), index in zip(CONVS, _torch_indices(), strict=True):
        if f"features.{index}.weight" in state:
            kernel = state[f"features.{index}.weight"].transpose(2, 3, 1, 0)
            found[block, conv] = (kernel, state[f"features.{index}.bias"])
    return found


def _torch_indices() -> list[int]:
    """Position of each convolution in torchvision's `features`, which also counts ReLUs and poolings."""
    return [2 * i + (block - 1) for i, (block, _) in enumerate(CONVS)]


def _read_keras(path: Path) -> _Lookup:
    """Keras' HDF5 of any version: a group blockB_convC with one 4-D and one 1-D dataset below it."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: reading a .h5 file needs h5py, which is not installed; install h5py") from None

    arrays: dict[tuple[int, int], dict[int, np.ndarray]] = {}

    def visit(name: str, item: object) -> None:
        place = _place(name)
        if place and isinstance(item, h5py.Dataset):
            arrays.setdefault(place, {})[item.ndim] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return {place: (a[4], a[1]) for place, a in arrays.items() if {1, 4} <= a.keys()}


def _read_npz(path: Path) -> _Lookup:
    arrays = read_npz(path)
    places = {name.removesuffix("/kernel"): _place(name) for name in arrays if name.endswith("/kernel")}
    return {
        place: (arrays[f"{group}/kernel"], arrays[f"{group}/bias"])
        for group, place in places.items()
        if place and f"{group}/bias" in arrays
    }


def _place(name: str) -> tuple[int, int] | None:
    """(block, conv) of a Keras name; None if it is not a convolution of VGG-19."""
    match = re.search(r"block(\d)_conv(\d)", name)
    place = (int(match[1]), int(match[2])) if match else None
    return place if place in CONVS else None
