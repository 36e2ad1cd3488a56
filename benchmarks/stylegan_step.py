"""`stylegan:RESOLUTION:BATCH`: one training step of stage 1 with the published widths, alpha 0.5."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.stepping import parameter_count, stepper
from tsgan_jax.config import MasksConfig
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.masks.growth import Phase
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.types import MaskBatch


def prepare(resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """A step of critic (penalty, drift), generator, both Adams and the running means; trained parameters."""
    phase = Phase(resolution, fade=True, batch_size=batch, images=2 * 10**6, start=0)
    learner = stylegan(MasksConfig(resolution=resolution), phase)
    state = jax.jit(learner.init)(jax.random.key(0))
    state = state.replace(images_seen=jnp.int32(10**6))
    codes = jax.random.randint(jax.random.key(1), (batch, resolution, resolution), 0, NUM_CLASSES)
    parameters = parameter_count(state.gen.params) + parameter_count(state.critic.params)
    return stepper(learner, state, MaskBatch(maps=jax.nn.one_hot(codes, NUM_CLASSES)), batch), parameters
