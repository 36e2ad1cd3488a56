"""VGG-19 for training: weights from the config's file, features as a function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tsgan_jax.config import DLPix2PixConfig, GauGANConfig
from tsgan_jax.errors import UserError
from tsgan_jax.nn import vgg
from tsgan_jax.types import Array

Config = DLPix2PixConfig | GauGANConfig
Extractor = Callable[[Array], dict[str, Array]]
"""Images [n, h, w, 1] in [-1, 1] -> features by layer."""


def load_features(config: Config) -> vgg.Vgg19 | None:
    """The weights that `config.perceptual` needs; UserError when the config names none or unusable ones."""
    if not config.perceptual:
        return None
    if config.vgg_weights is None:
        raise UserError(
            "translation.perceptual is on but translation.vgg_weights names no file: set it to VGG-19's weights "
            "(torchvision's .pth, Keras' .h5, or .npz), or set translation.perceptual=off"
        )
    if not config.perceptual_layers:
        raise UserError("translation.perceptual_layers is empty: name layers, or set translation.perceptual=off")
    return vgg.load_vgg19(config.vgg_weights, config.perceptual_layers)


def frozen(features: vgg.Vgg19 | None) -> Any:
    """The weights as arrays for a state's `frozen`."""
    return jax.tree.map(jnp.array, features.params) if features else None


def extractor(config: Config, features: vgg.Vgg19 | None, params: Any) -> Extractor | None:
    """The features of images by the state's weights `params`; None if the loss is off."""
    if features is None:
        return None
    dtype, layers, kind = jnp.dtype(config.precision), config.perceptual_layers, features.kind
    return lambda x: vgg.features(params, x, layers, kind, dtype)


def about(features: vgg.Vgg19 | None) -> dict[str, str]:
    """Name and hash of the file, for a translator's `about`."""
    return {"vgg19": f"{features.file} ({features.kind})", "vgg19_sha256": features.sha256} if features else {}
