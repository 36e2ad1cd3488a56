"""The trained networks of a run, and a set made with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgan_jax.config import Config
from tsgan_jax.configio import load_config
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import masks, rundir, translation
from tsgan_jax.experiment.stage import open_stage
from tsgan_jax.export.atomic import read_json
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.sample import MaskGenerator, generator_of
from tsgan_jax.synthesis import Progress, Summary, generate
from tsgan_jax.train.progress import Console, Silent
from tsgan_jax.translators.api import Translator
from tsgan_jax.translators.registry import translator as translator_of


@dataclass(frozen=True)
class Trained:
    """What a run has learnt.

    pixel_mm: side of a pixel of its masks, mm; source: which checkpoints, for a set's manifest.
    """

    config: Config
    generator: MaskGenerator
    translator: Translator
    translator_state: Any
    pixel_mm: float
    source: dict[str, Any]


def load_trained(run: Path, console: Console | None = None) -> Trained:
    """The newest sound checkpoint of both stages.

    A stage that is not finished serves too, and is said to be unfinished.  Raises UserError for a run without
    both stages.
    """
    console = console or Silent()
    if not (run / rundir.CONFIG).is_file():
        raise UserError(f"{run}: not a run directory, it has no {rundir.CONFIG}; make one with bin/train")
    config = load_config(run / rundir.CONFIG)
    phases = plan(config.masks)
    manifest = {name: _manifest(run, name) for name in rundir.STAGES}
    source: dict[str, Any] = {}
    states = {}
    translator = translator_of(config.translation, manifest["translation"]["slices"])
    for name in rundir.STAGES:
        stage = open_stage(name, manifest[name]["images_total"], run, config, console)
        saved = stage.checkpoints.newest()
        if saved is None:
            raise UserError(f"{run}: stage {name} has no checkpoint; run bin/train --stage {name}")
        seen = saved.meta["images_seen"]
        if seen < stage.images:
            console.say(
                f"stage {name} is not finished: {seen} of {stage.images} images seen; its networks serve as they are"
            )
        if name == "masks":
            states[name] = masks.state_at(stage, phases, saved.meta["phase"], saved)
            generator = generator_of(states[name], config.masks, phases[saved.meta["phase"]])
        else:
            states[name] = translation.state_at(stage, translator, saved)
        stage.checkpoints.close()
        source[name] = {"step": saved.step, "images_seen": seen, "config_sha256": manifest[name]["config_sha256"]}
    if generator.resolution != config.translation.resolution:
        raise UserError(
            f"{run}: stage masks has grown to {generator.resolution} px only, translation needs "
            f"{config.translation.resolution}; train it on with bin/train --stage masks"
        )
    return Trained(config, generator, translator, states["translation"], manifest["masks"]["pixel_mm"], source)


def generate_set(run: Path, config: Config, out: Path, console: Console) -> Summary:
    """The set that the config's section `generation` asks for."""
    trained, settings = load_trained(run, console), config.generation

    def progress(now: Progress) -> None:
        done = now.accepted + now.rejected
        console.update("generated set", done / now.count, f"{done}/{now.count} images, {now.rejected} given up")

    summary = generate(
        trained.generator,
        trained.translator,
        trained.translator_state,
        window=config.data.hu_window,
        pixel_mm=trained.pixel_mm,
        count=settings.count,
        seed=settings.seed,
        out=out,
        truncation=settings.truncation,
        attempts=settings.attempts,
        batch_size=settings.batch_size,
        source=trained.source,
        progress=progress,
    )
    console.finish()
    console.say(
        f"set: {summary.accepted} of {summary.count} images accepted ({summary.drawn} masks drawn), "
        f"{summary.objects} nodule boxes; {summary.out}"
    )
    return summary


def _manifest(run: Path, stage: str) -> dict[str, Any]:
    path = run / stage / rundir.MANIFEST
    if not path.is_file():
        raise UserError(f"{run}: stage {stage} has not been trained; run bin/train --stage {stage}")
    return read_json(path)
