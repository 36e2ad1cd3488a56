"""`dl_pix2pix:RESOLUTION:BATCH`: one training step of stage 2 with the paper's settings, VGG-19 random."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.stepping import parameter_count, stepper
from tsgan_jax.config import DLPix2PixConfig
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.nn.vgg import BLOCKS
from tsgan_jax.translation.dl_pix2pix import dl_pix2pix
from tsgan_jax.types import PairBatch


def prepare(resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """A step of critic and generator (GAN, L1, perceptual over relu1_1 to relu5_1); trained parameters."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "random.npz")
        _write_random_vgg19(weights)
        config = DLPix2PixConfig(resolution=resolution, batch_size=batch, vgg_weights=weights)
        translator = dl_pix2pix(config, images_per_epoch=949)
    state = jax.jit(translator.init)(jax.random.key(0))
    shape = (batch, resolution, resolution)
    pair = PairBatch(
        mask=jax.random.randint(jax.random.key(1), shape, 0, NUM_CLASSES).astype(jnp.uint8),
        ct=jax.random.uniform(jax.random.key(2), (*shape, 1), minval=-1.0),
    )
    parameters = parameter_count(state.generator.params) + parameter_count(state.critic.params)
    return stepper(translator, state, pair, batch), parameters


def _write_random_vgg19(path: Path) -> None:
    """He-normal kernels up to conv5_1, in the layout of `load_vgg19`."""
    rng = np.random.default_rng(0)
    arrays, channels = {}, 3
    for block, (features, count) in enumerate(BLOCKS, 1):
        for conv in range(1, count + 1 if block < 5 else 2):
            kernel = rng.standard_normal((3, 3, channels, features), np.float32) * np.sqrt(2 / (9 * channels))
            arrays[f"block{block}_conv{conv}/kernel"] = kernel.astype(np.float32)
            arrays[f"block{block}_conv{conv}/bias"] = np.zeros(features, np.float32)
            channels = features
    np.savez(path, **arrays)
