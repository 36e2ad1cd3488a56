"""Feature networks for the comparison of images; every figure is named after its network.

A distance is called FID only with pytorch-fid's published weights.  Other Inception weights, and VGG-19 at any depth,
have their own names (A42).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.config import EvaluationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.nn import inception, vgg
from tsgan_jax.types import Array

Images = Iterable[NDArray[np.uint8]]
"""Grey 8-bit images [h, w] of one size; also an array [n, h, w]."""

INCEPTION_BATCH = {"cpu": 8}
"""Images per batch by backend; 64 on an accelerator."""
VGG_PIXELS = 2**19
"""Pixels per batch for VGG-19, whose first maps need 256 bytes per pixel."""

Names = tuple[str, str, str, str]
"""Names of a network's Fréchet distance, kernel distance, precision and recall."""


@dataclass(frozen=True)
class FeatureNetwork:
    """A network from images to features.

    label: "Inception" or "VGG19 relu3_4"; is_fid: whether its Fréchet distance is the published FID;
    file, sha256: the weights; dim: numbers in a feature; features: uint8 [n, h, w] to float32 [n, dim], any n.
    """

    label: str
    is_fid: bool
    file: str
    sha256: str
    dim: int
    features: Callable[[NDArray[np.uint8]], NDArray[np.float32]]

    @property
    def names(self) -> Names:
        """Names of its figures."""
        return figure_names(self.label, self.is_fid)


def figure_names(label: str, is_fid: bool) -> Names:
    """FID and KID for the published network, else FD- and KD- with the network's name."""
    distance, kernel = ("FID", "KID") if is_fid else (f"FD-{label}", f"KD-{label}")
    return distance, kernel, f"Precision-{label}", f"Recall-{label}"


def wanted_names(settings: EvaluationConfig) -> Names:
    """Names of the figures of the configured network, if it cannot be loaded."""
    is_fid = settings.features == "inception"
    return figure_names("Inception" if is_fid else f"VGG19 {settings.vgg_layer}", is_fid)


def load(settings: EvaluationConfig, vgg_weights: Path | None, say: Callable[[str], None] = print) -> FeatureNetwork:
    """The network of `evaluation.features`; reports its file and hash.

    vgg_weights: `Config.vgg_weights`.  Raises UserError if the file is not set, missing or invalid.
    """
    if settings.features == "inception":
        if settings.inception_weights is None:
            raise UserError(
                "evaluation.inception_weights is not set; give pytorch-fid's pt_inception-2015-12-05-"
                f"{inception.PUBLISHED}.pth, or set evaluation.features=vgg19"
            )
        network = of_inception(inception.load_inception(settings.inception_weights))
    else:
        if vgg_weights is None:
            raise UserError(
                "evaluation.features=vgg19 needs evaluation.vgg_weights, which is not set; give a VGG-19 file"
            )
        network = of_vgg19(vgg.load_vgg19(vgg_weights, [settings.vgg_layer]), settings.vgg_layer)
    say(f"features: {network.label}, {network.file}, SHA-256 {network.sha256}")
    if settings.features == "inception" and not network.is_fid:
        say(f"{network.file} is not pytorch-fid's published file, so its distance is called {network.names[0]}")
    return network


def of_inception(loaded: inception.Inception) -> FeatureNetwork:
    """pool3 of Inception-v3, 2048 numbers."""
    label = "Inception" if loaded.published else f"Inception[{loaded.sha256[:8]}]"
    run = _in_batches(inception.features, loaded.params, lambda pixels: INCEPTION_BATCH.get(jax.default_backend(), 64))
    return FeatureNetwork(label, loaded.published, loaded.file, loaded.sha256, inception.DIM, run)


def of_vgg19(loaded: vgg.Vgg19, layer: str) -> FeatureNetwork:
    """The spatial mean of one of VGG-19's maps, after its ReLU."""

    def pooled(params: Any, images: Array) -> Array:
        x = images.astype(jnp.float32)[..., None] / 127.5 - 1.0
        return vgg.features(params, x, [layer], loaded.kind)[layer].mean(axis=(1, 2))

    run = _in_batches(pooled, loaded.params, lambda pixels: max(1, min(32, VGG_PIXELS // pixels)))
    dim = vgg.BLOCKS[int(layer[len("relu")]) - 1][0]
    return FeatureNetwork(f"VGG19 {layer}", False, loaded.file, loaded.sha256, dim, run)


def _in_batches(
    forward: Callable[[Any, Array], Array], params: Any, batch_size: Callable[[int], int]
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """`forward`, compiled once for each size of image: the last batch is padded with its first image.

    batch_size: pixels per image to images per batch.
    """
    compiled = jax.jit(forward)
    placed = jax.device_put(params)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if images.dtype != np.uint8 or images.ndim != 3:
            raise ValueError(f"expected uint8 [n, h, w], got {images.dtype} {images.shape}")
        size = batch_size(images.shape[1] * images.shape[2])
        found = []
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            filled = np.concatenate([batch, np.repeat(batch[:1], size - len(batch), axis=0)])
            found.append(np.asarray(compiled(placed, filled))[: len(batch)])
        return np.concatenate(found)

    return run
