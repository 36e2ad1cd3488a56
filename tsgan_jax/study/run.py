"""A study from its file to its page: each system trained and evaluated in a run directory of its own.

    <study>/study.yaml                     the section `study` as it was run
    <study>/systems/<name>/                a run directory as bin/train leaves it, with its own report
    <study>/tables/, figure4.png, figure5.png, report.html

Running it again trains and evaluates what is missing or has changed, and draws everything anew.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tsgan_jax.config import Config
from tsgan_jax.config.reading import config_hash, dump_config, with_absolute_paths
from tsgan_jax.detection import run_detection
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import networks
from tsgan_jax.evaluation.evaluate import evaluate
from tsgan_jax.evaluation.subject import FOLDER
from tsgan_jax.experiment.train import train
from tsgan_jax.files import locked_run, read_json, write_bytes, write_json
from tsgan_jax.study import page, sharing
from tsgan_jax.study.settings import Study
from tsgan_jax.train.progress import Console
from tsgan_jax.translation.registry import translator

SYSTEMS = "systems"
JUDGED = "judged.json"


@dataclass(frozen=True)
class StudyOutcome:
    """left_out: name of a system to why; notes: figures that cannot be had, and why."""

    report: Path
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def run_of(directory: Path, name: str) -> Path:
    """The run directory of a system."""
    return directory / SYSTEMS / name


def run_study(study: Study, directory: Path, console: Console) -> StudyOutcome:
    """Train, evaluate and compare what a study names.

    A system that cannot be trained is left out, with the reason, on the page as well; the others are compared.
    Raises UserError where none is left, train.loop.Interrupted after SIGTERM or SIGINT with all saved.
    """
    with locked_run(directory):
        write_bytes(directory / "study.yaml", dump_config(study.settings).encode())
        left_out = {name: reason for name, config in study.systems.items() if (reason := untrainable(config))}
        notes = unavailable(study)
        for line in (*(f"{name}: left out: {reason}" for name, reason in left_out.items()), *notes):
            console.say(f"study: {line}")
        for name, config in study.systems.items():
            if name in left_out:
                continue
            console.say(f"study: {name} ...")
            try:
                _one(study, name, config, directory, console)
            except UserError as error:
                left_out[name] = str(error)
                console.say(f"study: {name}: left out: {error}")
        judged = {name: run_of(directory, name) for name in study.systems if name not in left_out}
        if not judged:
            raise UserError(f"{study.path}: no system could be trained: " + "; ".join(left_out.values()))
        return StudyOutcome(page.write(study, directory, judged, left_out, notes), left_out, notes)


def untrainable(config: Config) -> str | None:
    """Why a system cannot be trained as it stands (its settings do not fit, a weight file is missing), or None."""
    try:
        translator(config.translation)
    except UserError as error:
        return str(error)
    return None


def unavailable(study: Study) -> tuple[str, ...]:
    """What the study cannot say, before anything is trained: weights that are not given."""
    notes: dict[str, list[str]] = {}
    for name, config in study.systems.items():
        if "images" not in study.settings.parts:
            continue
        try:
            networks.load(config.evaluation, config.vgg_weights, lambda line: None)
        except UserError as error:
            notes.setdefault(f"no feature distances, precision, recall or Figure 5: {error}", []).append(name)
    sections = {name: config.translation for name, config in study.systems.items()}
    without = [name for name, one in sections.items() if type(one)().perceptual_on and not one.perceptual_on]
    lines = [f"{reason} ({', '.join(names)})" for reason, names in notes.items()]
    if without:
        lines.append(f"without their method's perceptual loss, as the file says: {', '.join(without)}")
    return tuple(lines)


def _one(study: Study, name: str, config: Config, directory: Path, console: Console) -> None:
    """One system: what it shares is taken over, the rest trained; then it is judged."""
    run = run_of(directory, name)
    runs = sorted(path for path in (directory / SYSTEMS).glob("*") if path.is_dir() and path != run)
    for stage in config.stages:
        donor = sharing.donor_of(stage, run, config, runs)
        if donor is not None:
            sharing.take_over(stage, run, donor)
            console.say(f"stage {stage}: that of {donor.name}, trained under the same settings")
    quiet = config.run.model_copy(update={"evaluate": False})
    train(config.model_copy(update={"run": quiet}), run, console)
    key = _judgement(study, run, config)
    marker = run / FOLDER / JUDGED
    if marker.is_file() and read_json(marker).get("sha256") == key:
        console.say(f"{name}: judged earlier")
        return
    if "detection" in study.settings.parts and (taken := sharing.take_over_detectors(run, runs)):
        console.say(f"detection: {taken} trainings on real images alone taken over")
    made = evaluate(run, config, (*study.settings.parts, "report"), say=console.say, detect=run_detection)
    console.finish()
    if all(record.value is not None for record in made if record.kind == "detection"):
        write_json(marker, {"sha256": key})


def _judgement(study: Study, run: Path, config: Config) -> str:
    """Hash of all that decides the figures: the set, which names its networks, and how they are judged."""
    made = hashlib.sha256((run / "sets" / "synthetic" / "manifest.json").read_bytes()).hexdigest()
    parts = sorted(study.settings.parts)
    config = with_absolute_paths(config)
    return config_hash(made, parts, config.evaluation, config.detection or {}, config.data, config.seed)
