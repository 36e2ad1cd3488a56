"""Stage 1 of a run: the phases of the growth plan in order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.config import MasksConfig
from tsgan_jax.data.pipeline import SliceSet, mask_batches, pool_maps
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import stage as stages
from tsgan_jax.experiment import start
from tsgan_jax.experiment.rundir import MANIFEST
from tsgan_jax.experiment.stage import Stage, StepWithBatch, TrainingPhase, mask_grid, masks_work
from tsgan_jax.files import read_object
from tsgan_jax.masks import growth
from tsgan_jax.masks.growth import MaskGanState, Phase
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.masks.sample import generator_of, sample_masks
from tsgan_jax.masks.small_objects import from_json
from tsgan_jax.train.checkpoint import Saved
from tsgan_jax.train.devices import data_mesh, place
from tsgan_jax.train.hooks import Span
from tsgan_jax.train.learner import stream
from tsgan_jax.train.loop import CompiledStep
from tsgan_jax.types import MaskBatch

ENCODED_AT_ONCE = 64

SAMPLES = 16  # number of masks in a sample grid


def train_masks(stage: Stage, slices: SliceSet, then: Sequence[StepWithBatch] = ()) -> None:
    """Train from the newest checkpoint to the end of the plan; then: steps of the next stage, to compile meanwhile."""
    phases = growth.plan(stage.config.masks)
    saved = stages.begin(stage)
    first = growth.phase_at(phases, saved.meta["images_seen"])[0] if saved else start.first_phase(stage.config)
    state = state_at(stage, phases, first, saved)
    maps = _encoded(slices, stage)
    steps = [_step(stage.config.masks, phase) for phase in phases]
    with stages.compiled_ahead([*steps[first + 1 :], *then]):
        for index in range(first, len(phases)):
            if index > first:
                state = _grown(stage, phases, index, state)
            state = stages.train_phase(stage, _training_phase(stage, phases, index, maps, steps[index][0]), state)
    stages.close(stage, state)


def _encoded(slices: SliceSet, stage: Stage) -> np.ndarray:
    """Training masks as maps float16 [n, R, R, c] of the networks' last resolution, encoded in batches."""
    config = stage.config.masks
    parts = np.array_split(slices.mask, -(-len(slices) // ENCODED_AT_ONCE))
    encode, last = representation_of(config).encode, config.resolutions[-1]
    return np.concatenate([pool_maps(encode(part), last) for part in parts])


def state_at(stage: Stage, phases: tuple[Phase, ...], index: int, saved: Saved | None) -> MaskGanState:
    """The state of a checkpoint, or the initial one, in the form of phase `index`."""
    config, mesh = stage.config.masks, data_mesh(phases[index].batch_size)
    if saved is None and index != start.first_phase(stage.config):
        raise UserError(f"{stage.directory}: no checkpoint is left to return to; run the command again to start over")
    if saved is None:
        return start.begun(stage, stages.initial_state(stylegan(config, phases[index]), stage.key, mesh), mesh)
    trained = saved.meta["phase"]
    state = stages.restored(stage, saved, stylegan(config, phases[trained]), mesh)
    return state if trained == index else _grown(stage, phases, index, state)


def _grown(stage: Stage, phases: tuple[Phase, ...], index: int, state: MaskGanState) -> MaskGanState:
    """The last state of phase `index` - 1 grown to phase `index`; deterministic."""
    config, phase = stage.config.masks, phases[index]
    mesh = data_mesh(phase.batch_size)
    fresh = stages.initial_state(stylegan(config, phase), jax.random.fold_in(stage.key, index), mesh)
    return place(growth.grow(place(state, mesh), fresh), mesh)


def _step(config: MasksConfig, phase: Phase) -> StepWithBatch:
    shape = (phase.batch_size, phase.resolution, phase.resolution, representation_of(config).channels)
    batch = jax.eval_shape(lambda: MaskBatch(jnp.zeros(shape)))
    return CompiledStep(stylegan(config, phase), data_mesh(phase.batch_size)), batch


def _training_phase(
    stage: Stage, phases: tuple[Phase, ...], index: int, maps: np.ndarray, step: CompiledStep[Any, Any]
) -> TrainingPhase:
    config, phase = stage.config, phases[index]
    mirror = representation_of(config.masks).mirror if config.masks.mirror else None
    objects = read_object(stage.directory / MANIFEST).get("small_objects")

    def batches(images: int) -> Iterator[MaskBatch]:
        return mask_batches(pool_maps(maps, phase.resolution), phase.batch_size, config.seed, images, mirror)

    def fits(meta: Mapping[str, Any]) -> bool:
        return meta["phase"] == index or meta["images_seen"] == phase.start

    def load(older: bool) -> MaskGanState:
        return state_at(stage, phases, index, stages.newest(stage, older, fits))

    def render(state: MaskGanState) -> NDArray[np.uint8]:
        generator = generator_of(state, config.masks, phase, objects and from_json(objects))
        key = stream(stage.key, "samples")
        return mask_grid(sample_masks(generator, key, jnp.arange(SAMPLES), config.generation.truncation))

    span = Span(
        label=f"masks {phase.resolution} px{' fade' if phase.fade else ''}, phase {index + 1}/{len(phases)}",
        start=phase.start,
        end=phase.end,
        per_image=masks_work(config.masks, phase.resolution),
        before=sum(p.images * masks_work(config.masks, p.resolution) for p in phases[:index]),
        stage=stage.work,
        overall=stage.work_left,
    )
    return TrainingPhase(
        step=step,
        batches=batches,
        load=load,
        render=render,
        samples=max(1, round(config.run.samples * phase.images / stage.images)),
        span=span,
        labels={"phase": index, "resolution": phase.resolution, "fade": phase.fade},
    )
