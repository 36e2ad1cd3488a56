"""The plan of a config before preparation and training: `bin/train --dry-run`."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tsgan_jax.config import Config, TranslationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import rundir, start
from tsgan_jax.experiment.stage import stage_work
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.train.checkpoint import size
from tsgan_jax.train.devices import peak_bytes
from tsgan_jax.train.learner import Learner, without_frozen
from tsgan_jax.translation.registry import translator
from tsgan_jax.types import MaskBatch, PairBatch

LUNA16_TRAINING_SLICES = 949  # four fifths of LUNA16's 1,186 nodules (section 4.1)


def describe(config: Config, run: Path, stages: Sequence[str] = rundir.STAGES) -> tuple[str, str | None]:
    """The plan in lines: phases, steps, images, parameters, memory, disk; and the fault because of which training would
    fail, or None.

    A setting that the file leaves to its user, such as data.root, is no fault: the plan's last line names it.
    Memory and the work (in PFLOP) are estimates.
    """
    lines = [f"run directory   {run}{' (exists: resumed)' if (run / rundir.CONFIG).is_file() else ''}"]
    text, problem = _data(config)
    lines, checkpoints = lines + text, 0
    for stage in stages:
        try:
            text, one = _masks(config) if stage == "masks" else _translation(config)
            lines, checkpoints = lines + text + _start(config, run, stage), checkpoints + one
        except UserError as error:
            problem = problem or str(error)
            method = f"  {config.translation.method}" if stage == "translation" else ""
            lines += ["", f"stage {stage}{method}: cannot be trained with this config"]
    if tuple(stages) == config.stages and config.generation.count:
        masks = {
            "stylegan": f"truncation {config.generation.truncation:g}",
            "deform": "on deformed masks of training slices",
            "real": "on masks of training slices",
        }[config.generation.masks]
        lines.append(f"generated set   {config.generation.count} images, {masks}")
    lines += _disk(config, run, checkpoints, tuple(stages) == config.stages)
    open_settings = _open_settings(config, stages)
    if open_settings:
        lines.append(f"to be given     {'; '.join(open_settings)}")
    return "\n".join(lines), problem


def _start(config: Config, run: Path, stage: str) -> list[str]:
    """The line of a stage that begins with the weights of other networks."""
    name = getattr(config, stage).start_from
    if name is None or rundir.is_begun(run, stage):
        return []
    start.check(config, stage, lambda line: None)
    phase = f", in phase {start.first_phase(config) + 1}" if stage == "masks" else ""
    return [f"                begins with the weights of {name}{phase}"]


def _open_settings(config: Config, stages: Sequence[str]) -> list[str]:
    """What training needs and the config does not have yet, with what it is."""
    needed = []
    if config.data.root is None and config.data.phantom is None:
        needed.append("data.root, the folder that holds subset0 .. subset9")
    if "translation" in stages and _lacks_vgg(config.translation):
        needed.append("translation.vgg_weights, VGG-19's weights, or translation.perceptual=off")
    return needed


def _lacks_vgg(config: TranslationConfig) -> bool:
    return config.perceptual_on and getattr(config, "vgg_weights", None) is None


def training_slices(config: Config) -> tuple[int, str | None]:
    """(training slices, None) if they are prepared, else (an estimate, its basis)."""
    splits = _prepared_splits(config)
    if splits is None:
        if config.data.root is None and config.data.phantom is not None:
            return config.data.phantom.patients * config.data.phantom.slices * 4 // 5, "not prepared yet"
        return LUNA16_TRAINING_SLICES, "of the whole LUNA16, not prepared yet"
    from tsgan_jax.data.slices import other_folds

    folds = [f"fold_{fold}" for fold in other_folds(config.data.test_folds)]
    return sum(splits[fold].num_examples for fold in folds if fold in splits), None


def _prepared_splits(config: Config) -> Any:
    """The splits of the prepared slices, or None; TensorFlow, slow to import, only where something is prepared."""
    if not config.data.prepared.is_dir():
        return None
    from tsgan_jax.data.luna16 import open_prepared

    try:
        return open_prepared(config.data).info.splits
    except UserError:
        return None


def _data(config: Config) -> tuple[list[str], str | None]:
    """Lines, and the problem with the data or None."""
    data, problem = config.data, None
    if data.root is not None:
        source = f"LUNA16 tree {data.root}"
        if not data.root.is_dir():
            problem = f"data.root: {data.root} is not a folder; give the folder that holds subset0 .. subset9"
    elif data.phantom is not None:
        source = f"chest phantom, {data.phantom.patients} patients"
    else:
        source = "a LUNA16 tree"
    count, estimate = training_slices(config)
    known = f"about {count} slices to train on ({estimate})" if estimate else f"{count} slices to train on"
    tested = f"test fold{'s' * (len(data.test_folds) > 1)} {', '.join(map(str, data.test_folds))}"
    lines = [f"data            {source}; {data.resolution} px, {tested}", f"                {known}"]
    return lines, problem


def _masks(config: Config) -> tuple[list[str], int]:
    """Lines, and the bytes of a checkpoint."""
    phases, work = plan(config.masks), stage_work(config, 0)["masks"]
    widest = max(phases, key=lambda phase: (phase.resolution**2 * phase.batch_size, phase.fade))  # fades need more
    shape = (widest.batch_size, widest.resolution, widest.resolution, representation_of(config.masks).channels)
    learner, batch = stylegan(config.masks, widest), jax.eval_shape(lambda: MaskBatch(jnp.zeros(shape)))
    state = _state(learner)
    memory = peak_bytes(learner.step, state, batch)
    if widest != phases[-1]:
        state = _state(stylegan(config.masks, phases[-1]))
    steps = sum(phase.images // phase.batch_size for phase in phases)
    lines = [
        "",
        f"stage masks     {len(phases)} phases, {steps:,} steps, {phases[-1].end:,} images, "
        f"about {work / 1e6:.3g} PFLOP",
        f"                {_millions(state.gen.params)} generator, {_millions(state.critic.params)} critic parameters",
        f"                memory at least {_gigabytes(memory)} in the widest phase",
        "                  px         batch      steps       images",
    ]
    lines += [
        f"                {phase.resolution:4d} {'fade  ' if phase.fade else 'stable'} {phase.batch_size:8d} "
        f"{phase.images // phase.batch_size:10,d} {phase.images:12,d}"
        for phase in phases
    ]
    return lines, size(state)


def _translation(config: Config) -> tuple[list[str], int]:
    """Lines, and the bytes of a checkpoint."""
    chosen = config.translation
    count, _ = training_slices(config)
    lacks_vgg = _lacks_vgg(chosen)
    method = translator(chosen.model_copy(update={"perceptual": False}) if lacks_vgg else chosen, count)
    learner = Learner(method.init, method.step)
    state = _state(learner)
    images, side = chosen.epochs * count, chosen.resolution
    shape = (chosen.batch_size, side, side)
    batch = jax.eval_shape(lambda: PairBatch(mask=jnp.zeros(shape, jnp.uint8), ct=jnp.zeros((*shape, 1))))
    work = stage_work(config, count)["translation"]
    without = ", without VGG-19's" if lacks_vgg else ""
    lines = [
        "",
        f"stage translation  {chosen.method}, {chosen.epochs} epochs, {-(-images // chosen.batch_size):,} steps, "
        f"{images:,} images, about {work / 1e6:.3g} PFLOP",
        f"                {_millions(state)} numbers in the state (networks, optimisers, frozen features)",
        f"                memory at least {_gigabytes(peak_bytes(learner.step, state, batch))}{without}",
    ]
    lines += [f"                {name}: {value}" for name, value in method.about.items()]
    return lines, size(without_frozen(state))


def _disk(config: Config, run: Path, checkpoints: int, generates: bool) -> list[str]:
    """Space for the checkpoints, one more during writing, and the set with three PNGs per image."""
    needed = checkpoints * (config.run.keep + 1)
    if generates:
        needed += int(config.generation.count * config.data.resolution**2 * 2.5)
    existing = next(path for path in (run.absolute(), *run.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    warning = "" if free > needed else "  NOT ENOUGH"
    devices = jax.devices()
    return [
        "",
        f"disk            about {_gigabytes(needed)} for the run, {_gigabytes(free)} free{warning}",
        f"devices         {len(devices)} x {devices[0].device_kind}",
    ]


def _state(learner: Learner) -> Any:
    return jax.eval_shape(learner.init, jax.random.key(0))


def _millions(tree: Any) -> str:
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,}"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
