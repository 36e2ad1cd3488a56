"""Trained networks, read from a run directory that may still be in training, or from packed ones (packed.py), and what
identifies them: hashes of arrays, settings, versions of software.

Reading changes no file: incomplete checkpoints are skipped, and damaged ones are reported and left for the trainer to
move away.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL

import tsgan_jax
from tsgan_jax.config import Config
from tsgan_jax.config.reading import config_hash, run_config
from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256, read_json, read_object
from tsgan_jax.generation import packed
from tsgan_jax.masks import small_objects
from tsgan_jax.masks.growth import MaskGanState, Phase, plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.sample import MaskGenerator, generator_of
from tsgan_jax.train.checkpoint import MANIFEST, META, abstract_like, differs, read_state, unsound
from tsgan_jax.train.devices import data_mesh, replicated
from tsgan_jax.train.learner import without_optimizers
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.registry import translator

Say = Callable[[str], None]


def fingerprint(tree: Any) -> str:
    """SHA-256 (first 32 hex digits) of a pytree of arrays: paths, types, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape};".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()[:32]


def versions() -> dict[str, str]:
    """Versions of software and the device; a change may alter the last bits of a network's output."""
    return {
        "tsgan_jax": tsgan_jax.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "device": jax.devices()[0].device_kind,
    }


@dataclass(frozen=True)
class TrainedRun:
    """The networks of a run with the settings for their use."""

    config: Config
    generator: MaskGenerator | None  # of stage 1, None if the run's sets use masks of real slices
    translator: Translator
    translator_state: Any
    pixel_mm: float  # side of a pixel of the masks
    source: dict[str, Any]  # what identifies the networks
    unfinished: tuple[str, ...]  # stages that are not fully trained


def restore(run: Path, say: Say = print) -> TrainedRun:
    """The networks of a run directory, from their newest valid checkpoints, or of packed ones.

    Raises UserError for a stage without one, or if stage 1 has not reached the translator's resolution.
    """
    if packed.is_packed(run):
        return _unpacked(run)
    config = run_config(run)
    generator, parents = None, {}
    if "masks" in config.stages:
        generator, parents["masks"] = restore_masks(run, config, say)
        grown, last = generator.synthesis.resolution, config.masks.resolutions[-1]
        if grown != last:
            raise UserError(f"{run}: stage masks has grown to {grown} of {last} px; finish it with bin/train first")
    method, state, parents["translation"] = restore_translation(run, config, say)
    source = _source(config, parents)
    unfinished = tuple(stage for stage in config.stages if not _manifest(run, stage).get("finished"))
    return TrainedRun(config, generator, method, state, pixel_mm(run, config), source, unfinished)


def _unpacked(folder: Path) -> TrainedRun:
    """The networks of a packed folder."""
    config, manifest = run_config(folder), packed.manifest_of(folder)
    phase = plan(config.masks)[-1]
    state = _unpacked_masks(folder, config, phase)
    objects = small_objects.from_json(manifest.get("small_objects")) if config.masks.calibrate else None
    method = _method(config)
    return TrainedRun(
        config,
        generator_of(state, config.masks, phase, objects),
        method,
        packed.read(folder, "translation", _read_by(method)),
        float(manifest["pixel_mm"]),
        {**_source(config, manifest["parents"]), "packed": manifest["sha256"]},
        unfinished=(),
    )


def _unpacked_masks(folder: Path, config: Config, phase: Phase) -> MaskGanState:
    """Stage 1's state with the running means alone, counted to the end of the phase."""
    shapes = jax.eval_shape(stylegan(config.masks, phase).init, jax.random.key(0))
    found = packed.read(folder, "masks", {"params": shapes.ema, "w_avg": shapes.w_avg})
    state: MaskGanState = shapes.replace(
        gen=None, critic=None, ema=found["params"], w_avg=found["w_avg"], images_seen=phase.end
    )
    return state


def _read_by(method: Translator) -> Any:
    """The shapes of what `translate` reads of the state."""
    return without_optimizers(jax.eval_shape(method.init, jax.random.key(0)))


def trained_masks(folder: Path, config: Config, say: Say = print) -> tuple[MaskGanState, Phase, dict[str, Any]]:
    """Stage 1's newest state without optimisers, its phase, its parent; packed networks have no `gen` and `critic`."""
    if packed.is_packed(folder):
        phase = plan(config.masks)[-1]
        return _unpacked_masks(folder, config, phase), phase, _packed_parent(folder, "masks")
    newest, parent, meta = _newest(folder, "masks", say)
    phase = plan(config.masks)[meta["phase"]]
    shapes = jax.eval_shape(stylegan(config.masks, phase).init, jax.random.key(0))
    return _read(newest, without_optimizers(shapes)), phase, parent


def trained_translation(folder: Path, config: Config, say: Say = print) -> tuple[Any, dict[str, Any]]:
    """Stage 2's newest state without optimisers, and its parent."""
    if packed.is_packed(folder):
        return packed.read(folder, "translation", _read_by(_method(config))), _packed_parent(folder, "translation")
    return restore_translation(folder, config, say)[1:]


def _packed_parent(folder: Path, stage: str) -> dict[str, Any]:
    return {"sha256": file_sha256(folder / f"{stage}.npz")}


def pack(run: Path, out: Path, say: Say = print) -> None:
    """Pack the newest networks of a run.  Raises UserError for a run whose masks stage 1 does not draw."""
    trained = restore(run, say)
    generator = trained.generator
    if generator is None:
        raise UserError(f"{run}: its masks are of real slices; only a run with a stage 1 can be packed")
    for stage in trained.unfinished:
        say(f"stage {stage} of {run} is not fully trained; its newest checkpoint is packed")
    masks = {"params": generator.params, "w_avg": generator.w_avg}
    facts = {"pixel_mm": trained.pixel_mm, "parents": trained.source["parents"]}
    if generator.objects is not None:
        facts["small_objects"] = small_objects.to_json(generator.objects)
    packed.write(out, trained.config, {"masks": masks, "translation": trained.translator_state}, facts)


def _source(config: Config, parents: dict[str, Any]) -> dict[str, Any]:
    """What identifies the networks: deciding settings, and the checkpoints by stage."""
    decisive = config.decisive_settings()
    if "masks" not in config.stages:  # then its settings do not identify the set
        decisive.pop("masks")
    return {"config": decisive, "config_sha256": config_hash(decisive), "parents": parents}


def restore_masks(run: Path, config: Config, say: Say = print) -> tuple[MaskGenerator, dict[str, Any]]:
    """Stage 1's generator, the running mean of its weights at the resolution that training has reached; its parent.

    A parent is the checkpoint that a network is from: step, images seen, and the SHA-256 of its manifest, which has the
    hash of each of its files.
    """
    folder, parent, meta = _newest(run, "masks", say)
    phase = plan(config.masks)[meta["phase"]]
    shapes = jax.eval_shape(stylegan(config.masks, phase).init, jax.random.key(0))
    state = _read(folder, shapes.replace(gen=None, critic=None))  # masks are drawn from the running mean alone
    objects = small_objects.from_json(_manifest(run, "masks").get("small_objects")) if config.masks.calibrate else None
    return generator_of(state, config.masks, phase, objects), parent


def restore_translation(run: Path, config: Config, say: Say = print) -> tuple[Translator, Any, dict[str, Any]]:
    """Stage 2's translator without its perceptual loss, the part of its state that `translate` reads, its parent."""
    folder, parent, _ = _newest(run, "translation", say)
    method = _method(config)
    return method, _read(folder, _read_by(method)), parent


def _method(config: Config) -> Translator:
    """The translator, without the perceptual loss of its training."""
    without_vgg = {"perceptual": False} if config.translation.perceptual_on else {}
    return translator(config.translation.model_copy(update=without_vgg))


def pixel_mm(run: Path, config: Config) -> float:
    """Side of a pixel of the run's masks: the median of its training slices."""
    return float(read_object(run / config.stages[0] / MANIFEST, pixel_mm=float)["pixel_mm"])


def _manifest(run: Path, stage: str) -> dict[str, Any]:
    return read_object(run / stage / MANIFEST)


def _newest(run: Path, stage: str, say: Say) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """(folder, parent, meta) of the newest valid checkpoint."""
    complete = [path.parent for path in (run / stage / "checkpoints").glob(f"*/{MANIFEST}")]
    for folder in sorted((one for one in complete if one.name.isdecimal()), key=lambda one: -int(one.name)):
        if reason := unsound(folder):
            say(f"{folder}: not usable ({reason}); trying the one before it")
            continue
        meta = read_json(folder / META)
        parent = {
            "step": int(folder.name),
            "images_seen": int(meta["images_seen"]),
            "sha256": file_sha256(folder / MANIFEST),
        }
        return folder, parent, meta
    raise UserError(f"{run}: stage {stage} has no usable checkpoint; train it with bin/train first")


def _read(folder: Path, shapes: Any) -> Any:
    """The part of a checkpoint's state that `shapes` names, on one device; UserError if it lacks an array of it or has
    one of another shape.
    """
    wanted = abstract_like(shapes, replicated(data_mesh(1)))
    if reason := differs(folder, wanted, whole=False):
        raise UserError(f"{folder}: holds a network other than the run's config.yaml describes\n({reason})")
    return read_state(folder, wanted)
