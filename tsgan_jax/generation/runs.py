"""Trained networks, read from a run directory that may still be in training.

Reading changes no file: incomplete checkpoints are skipped, and damaged ones are reported and left for the trainer to
move away.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from tsgan_jax.config import Config
from tsgan_jax.config.reading import config_hash, load_config
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_json
from tsgan_jax.generation.provenance import decisive_settings
from tsgan_jax.masks import calibration
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.sample import MaskGenerator, generator_of
from tsgan_jax.train.checkpoint import MANIFEST, META, abstract_like, differs, read_state, unsound
from tsgan_jax.train.devices import data_mesh, replicated
from tsgan_jax.train.learner import without_optimizers
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.registry import translator

Say = Callable[[str], None]


@dataclass(frozen=True)
class Parent:
    """The checkpoint that a network came from.

    sha256: of the checkpoint's manifest, which has the hash of each of its files.
    """

    step: int
    images_seen: int
    sha256: str


@dataclass(frozen=True)
class TrainedRun:
    """The networks of a run with the settings for their use.

    generator: of stage 1, None if the run's sets use masks of real slices.  pixel_mm: side of a pixel of the
    masks.  unfinished: stages that are not fully trained.
    """

    config: Config
    generator: MaskGenerator | None
    translator: Translator
    translator_state: Any
    pixel_mm: float
    source: dict[str, Any]
    unfinished: tuple[str, ...]


def read_config(run: Path) -> Config:
    """The config of a run; UserError if `run` is not a run directory."""
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: not a run directory (it has no config.yaml); bin/train makes one")
    return load_config(run / "config.yaml")


def restore(run: Path, say: Say = print) -> TrainedRun:
    """The networks for the run's sets, from their newest valid checkpoints.

    Raises UserError for a stage without one, or if stage 1 has not reached the translator's resolution.
    """
    config = read_config(run)
    generator, parents = None, {}
    if "masks" in config.stages:
        generator, parents["masks"] = restore_masks(run, config, say)
        grown, last = generator.synthesis.resolution, config.masks.resolutions[-1]
        if grown != last:
            raise UserError(f"{run}: stage masks has grown to {grown} of {last} px; finish it with bin/train first")
    method, state, parents["translation"] = restore_translation(run, config, say)
    decisive = decisive_settings(config)
    if generator is None:  # stage 1 is not used, so its settings do not identify the set
        decisive.pop("masks")
    source = {
        "config": decisive,
        "config_sha256": config_hash(decisive),
        "parents": {stage: asdict(parent) for stage, parent in parents.items()},
    }
    unfinished = tuple(stage for stage in config.stages if not _manifest(run, stage).get("finished"))
    return TrainedRun(config, generator, method, state, pixel_mm(run, config), source, unfinished)


def restore_masks(run: Path, config: Config, say: Say = print) -> tuple[MaskGenerator, Parent]:
    """Stage 1's generator: the running mean of its weights, at the resolution that training has reached."""
    folder, parent, meta = _newest(run, "masks", say)
    phase = plan(config.masks)[meta["phase"]]
    shapes = jax.eval_shape(stylegan(config.masks, phase).init, jax.random.key(0))
    state = _read(folder, shapes.replace(gen=None, critic=None))  # masks are drawn from the running mean alone
    objects = calibration.from_json(_manifest(run, "masks")["small_objects"]) if config.masks.calibrate else None
    return generator_of(state, config.masks, phase, objects), parent


def restore_translation(run: Path, config: Config, say: Say = print) -> tuple[Translator, Any, Parent]:
    """Stage 2's translator and the part of its state that `translate` reads.

    Making CT needs no optimiser state and no perceptual loss, so no VGG-19 file either.
    """
    folder, parent, _ = _newest(run, "translation", say)
    without_vgg = {"perceptual": False} if config.translation.perceptual_on else {}
    method = translator(config.translation.model_copy(update=without_vgg))
    return method, _read(folder, without_optimizers(jax.eval_shape(method.init, jax.random.key(0)))), parent


def pixel_mm(run: Path, config: Config) -> float:
    """Side of a pixel of the run's masks: the median of its training slices."""
    return float(_manifest(run, config.stages[0])["pixel_mm"])


def _manifest(run: Path, stage: str) -> dict[str, Any]:
    return read_json(run / stage / MANIFEST)


def _newest(run: Path, stage: str, say: Say) -> tuple[Path, Parent, dict[str, Any]]:
    """(folder, parent, meta) of the newest valid checkpoint."""
    for folder in _finished_checkpoints(run / stage / "checkpoints"):
        reason = unsound(folder)
        if reason is not None:
            say(f"{folder}: not usable ({reason}); trying the one before it")
            continue
        meta = read_json(folder / META)
        digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        return folder, Parent(int(folder.name), int(meta["images_seen"]), digest), meta
    raise UserError(f"{run}: stage {stage} has no usable checkpoint; train it with bin/train first")


def _finished_checkpoints(folder: Path) -> Iterator[Path]:
    """Complete checkpoints (those with a manifest), newest first."""
    found = [path.parent for path in folder.glob(f"*/{MANIFEST}") if path.parent.name.isdecimal()]
    yield from sorted(found, key=lambda path: -int(path.name))


def _read(folder: Path, shapes: Any) -> Any:
    """The part of a checkpoint's state that `shapes` names, on one device.

    Raises UserError if the checkpoint lacks an array of it or holds one of another shape.
    """
    wanted = abstract_like(shapes, replicated(data_mesh(1)))
    if reason := differs(folder, wanted, whole=False):
        raise UserError(f"{folder}: holds a network other than the run's config.yaml describes\n({reason})")
    return read_state(folder, wanted)
