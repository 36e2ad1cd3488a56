"""`generate:RESOLUTION:BATCH`: a batch of masks from stage 1 and their CT from stage 2."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.stepping import parameter_count
from tsgan_jax.config import DLPix2PixConfig, MasksConfig
from tsgan_jax.masks.growth import Phase
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.sample import generator_of, sample_masks
from tsgan_jax.translation.dl_pix2pix import dl_pix2pix


def prepare(resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """Step from new latents to masks and images; number of parameters of both networks."""
    config = MasksConfig(resolution=resolution)
    phase = Phase(resolution, fade=False, batch_size=batch, images=1, start=0)
    masks_state = jax.jit(stylegan(config, phase).init)(jax.random.key(0))
    generator = generator_of(masks_state, config, phase)
    translator = dl_pix2pix(DLPix2PixConfig(resolution=resolution, perceptual=False), images_per_epoch=949)
    state = jax.jit(translator.init)(jax.random.key(1))
    translate = jax.jit(translator.translate)
    drawn = [0]

    def run() -> None:
        indices = jnp.arange(drawn[0], drawn[0] + batch)
        drawn[0] += batch
        masks = sample_masks(generator, jax.random.key(2), indices)
        np.asarray(translate(state, masks, jax.random.split(jax.random.key(3), batch)))

    return run, parameter_count(generator.params) + parameter_count(state.generator.params)
