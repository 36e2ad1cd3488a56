"""One experiment: data, stage 1 (masks), stage 2 (translation), a generated set, its evaluation.

A second run resumes unfinished parts and skips finished ones.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tsgan_jax.config import Config
from tsgan_jax.data.luna16 import prepare
from tsgan_jax.data.pipeline import SliceSet, load, training_folds
from tsgan_jax.data.verify import ScanVerdict
from tsgan_jax.detection import installed_meanwhile, run_detection
from tsgan_jax.evaluation.evaluate import evaluate
from tsgan_jax.experiment import rundir, start
from tsgan_jax.experiment.masks import train_masks
from tsgan_jax.experiment.stage import Stage, is_finished, stage_work
from tsgan_jax.experiment.translation import step_of, train_translation
from tsgan_jax.files import locked_run
from tsgan_jax.generation.generate import generate_run
from tsgan_jax.generation.runs import fingerprint
from tsgan_jax.masks import small_objects
from tsgan_jax.masks.growth import plan
from tsgan_jax.train import processes
from tsgan_jax.train.checkpoint import Checkpoints
from tsgan_jax.train.devices import data_mesh, keep_compiled
from tsgan_jax.train.hooks import Console
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.registry import translator as translator_of

Chosen = Literal["masks", "translation", "all"]


class _Silent(Console):
    """The console of a process that is not the first: nothing is said twice."""

    def say(self, line: str) -> None:
        """Nothing."""
        return

    def update(self, label: str, done: float, line: str) -> None:
        """Nothing."""
        return

    def finish(self) -> None:
        """Nothing."""
        return


def train(
    config: Config, run: Path, console: Console, chosen: Chosen = "all", allow_changes: Sequence[str] = ()
) -> None:
    """Train the unfinished stages of a run; if both stages are chosen, also generate its set.

    If `run.evaluate` is on, the run is then evaluated and its report written.
    allow_changes: config keys or sections that may differ from a stage's earlier training.
    Raises UserError for invalid input, train.loop.Interrupted after SIGTERM or SIGINT with all saved.
    """
    keep_compiled()
    if not processes.is_first():
        console = _Silent()
    with locked_run(run) if processes.is_first() else nullcontext(), _detector(config, chosen):
        differences = rundir.compare(run, config, allow_changes)
        slices, test_slices = _slices(config, console)
        wanted = config.stages if chosen == "all" else (chosen,)
        # Made before stage 1 is trained, because it refuses invalid configs and missing weight files.
        translator = translator_of(config.translation, len(slices)) if "translation" in wanted else None
        second = step_of(config.translation, translator) if translator is not None else None
        images = {"masks": plan(config.masks)[-1].end, "translation": config.translation.epochs * len(slices)}
        work = stage_work(config, len(slices))
        facts = {name: _facts(config, name, slices, translator) for name in wanted}
        for name in wanted:
            rundir.check_facts(run, name, facts[name], allow_changes)
            if not rundir.is_begun(run, name):
                start.check(config, name, console.say)
        rundir.check_loads(run, config, differences, len(slices))
        _check_batches(config, wanted)
        processes.barrier()
        if processes.is_first():
            rundir.accept(run, config, differences)
        for place, name in enumerate(wanted):
            checkpoints = Checkpoints(run / name / "checkpoints", config.run.keep, console.say)
            left = sum(work[later] for later in wanted[place:])
            stage = Stage(name, images[name], run, config, console, checkpoints, work[name], left)
            if processes.is_first():
                rundir.begin_stage(run, config, name, stage.images, facts[name], console.say)
            processes.barrier()
            if is_finished(stage):
                continue
            if translator is not None and second is not None and name == "translation":
                train_translation(stage, translator, slices, test_slices, second[0])
            else:
                train_masks(stage, slices, [second] if second is not None else [])
        if processes.count() > 1:
            console.say("several processes train and do no more: bin/generate makes the set, bin/evaluate the report")
        elif chosen == "all" and config.generation.count:
            _generate(run, console)
            if config.run.evaluate:
                evaluate(run, config, say=console.say, detect=run_detection)


def _detector(config: Config, chosen: Chosen) -> AbstractContextManager[None]:
    """The installation of the detector's packages, where the command ends with a comparison."""
    compares = chosen == "all" and config.generation.count and config.run.evaluate and processes.count() == 1
    return installed_meanwhile(config.detection.python) if compares and config.detection else nullcontext()


def _slices(config: Config, console: Console) -> tuple[SliceSet, SliceSet]:
    """(training slices, test slices), prepared first if needed."""

    def progress(done: int, total: int, verdict: ScanVerdict) -> None:
        console.update("data", done / total, f"{done}/{total} scans read")

    if config.data.root is None and config.data.phantom is not None:
        console.say("data: no data.root given, so the chest phantom is used instead of LUNA16")
    prepared = processes.in_turn(lambda: prepare(config.data, progress=progress))
    console.finish()
    made = prepared.summary
    console.say(
        f"data: {made.slices} slices of {made.resolution} px with {made.nodules} nodules from "
        f"{made.scans - made.refused} scans, {made.refused} scans refused"
        f"{'' if prepared.fresh else ' (prepared earlier)'}; {prepared.directory}"
    )
    return load(config.data, training_folds(config.data)), load(config.data, config.data.test_folds)


def _facts(config: Config, stage: str, slices: SliceSet, translator: Translator | None) -> dict[str, Any]:
    """What a stage's manifest says of its data; compared on a resume."""
    facts: dict[str, Any] = {
        "slices": len(slices),
        "slices_sha256": fingerprint((slices.ct, slices.mask)),
        "pixel_mm": float(np.median(slices.pixel_mm)),
    }
    if stage == "masks" and config.masks.calibrate:
        facts["small_objects"] = small_objects.to_json(small_objects.real_objects(slices.mask))
    if stage == "translation" and translator is not None:
        facts |= translator.about
    return facts


def _check_batches(config: Config, wanted: Sequence[str]) -> None:
    """Raise UserError for a batch, of any phase to come, that several processes cannot share."""
    sizes = [phase.batch_size for phase in plan(config.masks)] if "masks" in wanted else []
    for size in (*sizes, *([config.translation.batch_size] if "translation" in wanted else [])):
        data_mesh(size)


def _generate(run: Path, console: Console) -> None:
    """Generate the set of the config's section `generation`; finished images are kept."""

    def progress(accepted: int, rejected: int, count: int) -> None:
        done = accepted + rejected
        console.update("generated set", done / count, f"{done}/{count} images, {rejected} rejected")

    summary = generate_run(run, None, run / "sets" / "synthetic", progress=progress, say=console.say)
    console.finish()
    console.say(
        f"set: {summary.accepted} of {summary.count} images accepted from {summary.drawn} masks drawn, "
        f"{summary.objects} nodule boxes; {summary.out}"
    )
    if not summary.accepted:
        console.say("set: every mask was refused, so the set is empty; stage masks needs more training")
