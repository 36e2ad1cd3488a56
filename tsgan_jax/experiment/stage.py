"""Common parts of both stages: directory, key, one phase of training with its hooks, sample grids, and work.

Work, in GFLOP, is used to estimate the remaining time across resolutions and stages.  It is fitted to measured training
steps of the paper's networks, with errors of about a third.  Only ratios matter, because the rate is measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray
from skimage.util import montage

from tsgan_jax.config import Config, MasksConfig, TranslationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import rundir
from tsgan_jax.labels import PALETTE
from tsgan_jax.masks.growth import plan
from tsgan_jax.train import hooks, processes
from tsgan_jax.train.checkpoint import Checkpoints, Saved, abstract_like
from tsgan_jax.train.devices import on_cpu, place, replicated
from tsgan_jax.train.hooks import Console, ProgressHook, Span
from tsgan_jax.train.learner import Learner, stream, with_frozen
from tsgan_jax.train.loop import CompiledStep, Hook, StepInfo, prefetch
from tsgan_jax.train.recovery import run_recovering
from tsgan_jax.types import Key
from tsgan_jax.workers import cores


def masks_work(config: MasksConfig, resolution: int) -> float:
    """GFLOP of one real image in a stage 1 step: proportional to r^2 f^2 for each resolution r with f feature maps."""
    levels = [r for r in config.resolutions if r <= resolution]
    return 0.75e-6 * sum(r * r * min(2 * config.fmap_base / r, config.fmap_max) ** 2 for r in levels)


GENERATOR_WORK = {
    "dl_pix2pix": 270.0,
    "pix2pix": 270.0,
    "cyclegan": 7700.0,
    "attentiongan": 8600.0,
    "gaugan": 3600.0,
    "controlnet": 140.0,
}
"""GFLOP of one real image in a step of each method, at 512 px and a width of 64, without VGG-19."""
TYPICAL_WORK = 1000.0  # the value for a method without an entry
VGG_WORK = 650.0


def translation_work(config: TranslationConfig) -> float:
    """GFLOP of one real image in a stage 2 step: the method's networks scale with width squared, VGG-19 does not."""
    area = (config.resolution / 512) ** 2
    networks = GENERATOR_WORK.get(config.method, TYPICAL_WORK)
    return area * (networks * (config.generator_width / 64) ** 2 + VGG_WORK * config.perceptual_on)


def stage_work(config: Config, slices: int) -> dict[str, float]:
    """GFLOP of each stage's whole training; slices: real slices to train on."""
    return {
        "masks": sum(phase.images * masks_work(config.masks, phase.resolution) for phase in plan(config.masks)),
        "translation": config.translation.epochs * slices * translation_work(config.translation),
    }


@dataclass(frozen=True)
class Stage:
    """One stage of a run."""

    name: str  # masks or translation
    images: int  # real images of the whole stage
    run: Path
    config: Config
    console: Console
    checkpoints: Checkpoints
    work: float
    work_left: float  # of the stage and all that follows in the command

    @property
    def directory(self) -> Path:
        """masks/ or translation/ of the run."""
        return self.run / self.name

    @property
    def key(self) -> Key:
        """The stage's key, from the experiment's seed."""
        return stream(jax.random.key(self.config.seed), self.name)


StepWithBatch = tuple[CompiledStep[Any, Any], Any]
"""A step, and the shapes of a batch."""


@dataclass(frozen=True)
class TrainingPhase:
    """A part of a stage with one compiled step."""

    step: CompiledStep[Any, Any]
    batches: Callable[[int], Iterator[Any]]  # images seen -> endless batches
    load: Callable[[bool], Any]  # whether to skip the newest checkpoint -> the state to return to
    render: Callable[[Any], NDArray[np.uint8]]  # state -> image [h, w, 3], `samples` times
    samples: int
    span: Span
    labels: Mapping[str, Any]  # fields of every log line and checkpoint


class Note(Hook):
    """Update the stage's manifest."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, info: StepInfo) -> None:
        if info.last:
            rundir.note_progress(self._stage.run, self._stage.name, info.images, info.step, self._stage.images)


def begin(stage: Stage) -> Saved | None:
    """The newest valid checkpoint; truncates the log to it and reports the position."""
    saved = stage.checkpoints.newest()
    if saved is None:
        stage.console.say(f"stage {stage.name}: {stage.images} images, from the start")
    else:
        seen = saved.meta["images_seen"]
        stage.console.say(f"stage {stage.name}: resumed at step {saved.step}, {seen} of {stage.images} images seen")
    if processes.is_first():
        hooks.truncate_log(stage.directory / "log.jsonl", saved.step if saved else 0)
    return saved


def is_finished(stage: Stage) -> bool:
    """Whether the newest valid checkpoint is the stage's last one; reports it."""
    saved = stage.checkpoints.newest()
    if saved is None or saved.meta["images_seen"] < stage.images:
        return False
    if processes.is_first():
        rundir.note_progress(stage.run, stage.name, saved.meta["images_seen"], saved.step, stage.images)
    stage.console.say(f"stage {stage.name}: finished earlier ({saved.step} steps, {saved.meta['images_seen']} images)")
    return True


def train_phase(stage: Stage, part: TrainingPhase, state: Any) -> Any:
    """Train one part to its end, with the hooks of a run directory.

    Raises UserError when the device runs out of memory or training does not recover, Interrupted after a signal.
    """
    settings, say, span = stage.config.run, stage.console.say, part.span
    points = sample_points(span.start, span.end, part.samples)
    chosen: list[Hook] = [
        hooks.JsonlLog(stage.directory / "log.jsonl", part.labels, say),
        ProgressHook(stage.console, span),
        hooks.Samples(
            stage.directory / "samples",
            lambda state: part.render(processes.local(state)),
            points,
            int(state.images_seen),
            say,
        ),
        hooks.Save(stage.checkpoints, settings.save_minutes, {"stage": stage.name, **part.labels}),
        Note(stage),
    ]
    if not processes.is_first():  # all of them write files
        chosen = []
    elif settings.tensorboard:
        chosen.append(hooks.Tensorboard(stage.directory / "tensorboard", int(state.step), say))
    stage.console.update(span.label, span.before / span.stage, "compiling")
    try:
        return run_recovering(
            part.step,
            state,
            lambda images: prefetch(part.batches(images), part.step.mesh),
            chosen,
            stage.checkpoints,
            part.load,
            until_images=span.end,
            log_steps=settings.log_steps,
            say=say,
        )
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        advice = "a larger masks.accumulate (--allow-config-change masks.accumulate), " if stage.name == "masks" else ""
        raise UserError(
            f"{span.label}: the device has not enough memory for a step; training so far is saved. Use {advice}a "
            f"smaller {stage.name}.batch_size (and --allow-config-change {stage.name}.batch_size), or another device"
        ) from error
    finally:
        stage.console.finish()


@contextmanager
def compiled_ahead(later: Sequence[StepWithBatch]) -> Iterator[None]:
    """Compile later steps, in order, in a thread, while the block trains an earlier one.

    Only on a CPU, whose cores small networks leave idle; an accelerator needs its own memory for compiling.  What
    cannot be compiled here is compiled, and fails, where it is used.
    """

    def compile_one(step: CompiledStep[Any, Any], batch: Any) -> None:
        shapes = jax.eval_shape(step.learner.init, jax.random.key(0))
        step.compile(abstract_like(shapes, replicated(step.mesh)), batch)

    pool = ThreadPoolExecutor(1)
    if on_cpu() and cores() > 1 and processes.count() == 1:
        for step, batch in later:
            pool.submit(compile_one, step, batch)
    try:
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def close(stage: Stage, state: Any) -> None:
    """Close a finished stage; UserError if its last state could not be written."""
    stage.checkpoints.wait()
    processes.barrier()
    if int(state.step) not in stage.checkpoints.steps():
        raise UserError(
            f"{stage.directory}: training is done, but its last checkpoint was not written (see above); free space "
            "and run the command again: it continues from the last complete checkpoint"
        )


def initial_state(learner: Learner, key: Key, mesh: Mesh) -> Any:
    """`init` on the mesh; compiled, so that no two leaves share a buffer."""
    return jax.jit(learner.init, out_shardings=replicated(mesh))(key)


def restored(stage: Stage, saved: Saved, learner: Learner, mesh: Mesh) -> Any:
    """The state of a checkpoint, on the mesh."""
    shapes = abstract_like(jax.eval_shape(learner.init, stage.key), replicated(mesh))
    state = place(stage.checkpoints.restore(saved, shapes), mesh)
    return with_frozen(state, learner.init, replicated(mesh))


def newest(stage: Stage, older: bool, fits: Callable[[Mapping[str, Any]], bool]) -> Saved | None:
    """The checkpoint to return to: the newest or, if `older` and one before it fits, that one (the newest is dropped).

    fits: whether a checkpoint's metadata match the current part of training.  Raises UserError if none does.
    """
    steps = stage.checkpoints.steps()
    if older and len(steps) > 1 and fits(stage.checkpoints.meta(steps[-2])):
        stage.checkpoints.drop_after(steps[-2])
    saved = stage.checkpoints.newest()
    if saved is not None and not fits(saved.meta):
        raise UserError(f"{stage.directory}: no checkpoint of this phase to return to; run the command again")
    return saved


def sample_points(start: int, end: int, count: int) -> tuple[int, ...]:
    """`count` points in (start, end], evenly spaced, the last one at the end."""
    return tuple(start + (end - start) * (i + 1) // count for i in range(count))


TILE = 96  # least side of a tile of a sample grid, in pixels; the tiles are GAP pixels of grey apart
GAP, GAP_GREY = 2, 40


def mask_grid(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Masks uint8 [n, h, w] in label colours, as one nearly square RGB image [H, W, 3]."""
    return _grid(PALETTE[masks], columns=int(np.ceil(np.sqrt(len(masks)))))


def pair_grid(masks: NDArray[np.uint8], *ct: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Masks uint8 [n, h, w], each with its slice of every `ct` [n, h, w] in [-1, 1], two in a row; RGB [H, W, 3]."""
    grey = np.stack(ct, axis=1)
    grey = np.round(255 * np.nan_to_num(np.clip((grey + 1) / 2, 0, 1), nan=0.0))  # NaN, of a diverged network, is black
    tiles = np.concatenate([PALETTE[masks][:, None], grey.astype(np.uint8)[..., None].repeat(3, -1)], axis=1)
    return _grid(tiles.reshape(-1, *tiles.shape[2:]), columns=min(2, len(masks)) * tiles.shape[1])


def _grid(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """RGB tiles [n, h, w, 3], enlarged to TILE or more and laid out in rows."""
    factor = -(-TILE // min(tiles.shape[1:3]))
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    shape = -(-len(tiles) // columns), columns
    return montage(tiles, fill=[GAP_GREY] * 3, grid_shape=shape, padding_width=GAP, channel_axis=-1)
