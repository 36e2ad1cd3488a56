"""Stage 2 of a run: one method of the registry on (mask, CT) pairs."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.config import TranslationConfig
from tsgan_jax.data.pipeline import SliceSet, pair_batches
from tsgan_jax.experiment import stage as stages
from tsgan_jax.experiment import start
from tsgan_jax.experiment.stage import Stage, StepWithBatch, TrainingPhase, pair_grid, translation_work
from tsgan_jax.images import to_unit
from tsgan_jax.train.checkpoint import Saved
from tsgan_jax.train.devices import data_mesh
from tsgan_jax.train.hooks import Span
from tsgan_jax.train.learner import Learner, stream
from tsgan_jax.train.loop import CompiledStep
from tsgan_jax.translation.api import Translator
from tsgan_jax.types import PairBatch

SAMPLES = 4  # number of (mask, real, generated) triples in a sample grid


def step_of(config: TranslationConfig, translator: Translator) -> StepWithBatch:
    """The step of stage 2."""
    shape = (config.batch_size, config.resolution, config.resolution)
    batch = jax.eval_shape(lambda: PairBatch(mask=jnp.zeros(shape, jnp.uint8), ct=jnp.zeros((*shape, 1))))
    return CompiledStep(Learner(translator.init, translator.step), data_mesh(config.batch_size)), batch


def train_translation(
    stage: Stage, translator: Translator, slices: SliceSet, test_slices: SliceSet, step: CompiledStep[Any, Any]
) -> None:
    """Train from the newest checkpoint to the last epoch.

    test_slices: slices of the test fold, for the sample grids only.  step: from `step_of`.
    """
    saved = stages.begin(stage)
    state = state_at(stage, translator, saved)
    state = stages.train_phase(stage, _training_phase(stage, translator, slices, test_slices, step), state)
    stages.close(stage, state)


def state_at(stage: Stage, translator: Translator, saved: Saved | None) -> Any:
    """The state of a checkpoint, or the initial one."""
    learner, mesh = Learner(translator.init, translator.step), data_mesh(stage.config.translation.batch_size)
    if saved is None:
        return start.begun(stage, stages.initial_state(learner, stage.key, mesh), mesh)
    return stages.restored(stage, saved, learner, mesh)


def _training_phase(
    stage: Stage, translator: Translator, slices: SliceSet, test_slices: SliceSet, step: CompiledStep[Any, Any]
) -> TrainingPhase:
    config, window, seed = stage.config.translation, stage.config.data.hu_window, stage.config.seed
    masks, real = test_slices.mask[:SAMPLES], to_unit(test_slices.ct[:SAMPLES], window)
    key = stream(stage.key, "samples")
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(masks)))
    translate = jax.jit(translator.translate)

    def batches(images: int) -> Iterator[PairBatch]:
        return pair_batches(slices, config.batch_size, seed, images, window, config.mirror, translator.paired)

    def load(older: bool) -> Any:
        return state_at(stage, translator, stages.newest(stage, older, lambda meta: True))

    def render(state: Any) -> NDArray[np.uint8]:
        return pair_grid(masks, real, np.asarray(translate(state, masks, keys)))

    work = translation_work(config)
    return TrainingPhase(
        step=step,
        batches=batches,
        load=load,
        render=render,
        samples=stage.config.run.samples,
        span=Span(f"translation, {config.method}", 0, stage.images, work, 0.0, stage.work, stage.work_left),
        labels={"phase": 0},
    )
