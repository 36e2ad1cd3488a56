"""A study: each system is trained and evaluated in its own run directory, then all are compared.

    <study>/study.yaml                     the section `study` as it was run
    <study>/systems/<name>/                a run directory of bin/train, with its report
    <study>/tables/, figure4.png, figure5.png, report.html

A second run trains and evaluates missing or changed parts, and makes tables, figures and the page again.
"""

from pathlib import Path

from tsgan_jax.config import Config
from tsgan_jax.config.reading import config_hash, dump_config, with_absolute_paths
from tsgan_jax.data.luna16 import prepare
from tsgan_jax.detection import run_detection
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import networks
from tsgan_jax.evaluation.evaluate import evaluate
from tsgan_jax.evaluation.records import FOLDER, RETRY
from tsgan_jax.experiment.train import train
from tsgan_jax.files import file_sha256, locked_run, read_object, write_bytes, write_json
from tsgan_jax.generation.manifest import read_manifest, set_hash
from tsgan_jax.study import page, sharing
from tsgan_jax.study.settings import Study
from tsgan_jax.train.hooks import Console
from tsgan_jax.translation.registry import translator

SYSTEMS = "systems"
EVALUATED = "evaluated.json"


def run_of(directory: Path, name: str) -> Path:
    """The run directory of a system."""
    return directory / SYSTEMS / name


def run_study(study: Study, directory: Path, console: Console) -> tuple[Path, dict[str, str]]:
    """Train, evaluate and compare the systems of a study; returns the page, and the systems left out with the reason.

    Raises UserError if none is left, train.loop.Interrupted after SIGTERM or SIGINT with all saved.
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
        runs = {name: run_of(directory, name) for name in study.systems if name not in left_out}
        if not runs:
            raise UserError(f"{study.path}: no system could be trained: " + "; ".join(left_out.values()))
        return page.write(study, directory, runs, left_out, notes), left_out


def untrainable(config: Config) -> str | None:
    """Why a system cannot be trained (invalid settings, a missing file of weights), or None."""
    try:
        translator(config.translation)
    except UserError as error:
        return str(error)
    return None


def unavailable(study: Study) -> tuple[str, ...]:
    """Notes on figures that will be missing because no weights are given."""
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
        lines.append(f"without their method's perceptual loss, as configured: {', '.join(without)}")
    return tuple(lines)


def _one(study: Study, name: str, config: Config, directory: Path, console: Console) -> None:
    """Train one system, reusing shared stages, and evaluate it."""
    run = run_of(directory, name)
    runs = sorted(path for path in (directory / SYSTEMS).glob("*") if path.is_dir() and path != run)
    for stage in config.stages:
        donor = sharing.donor_of(stage, run, config, runs)
        if donor is not None:
            sharing.take_over(stage, run, donor)
            console.say(f"stage {stage}: reused from {donor.name}, trained with the same settings")
    quiet = config.run.model_copy(update={"evaluate": False})
    train(config.model_copy(update={"run": quiet}), run, console)
    key = _evaluation_key(study, run, config)
    marker = run / FOLDER / EVALUATED
    if marker.is_file() and read_object(marker).get("sha256") == key:
        console.say(f"{name}: evaluated earlier")
        return
    marker.unlink(missing_ok=True)
    if "detection" in study.settings.parts and (taken := sharing.take_over_detectors(run, runs)):
        console.say(f"detection: {taken} trainings on only real images reused")
    made = evaluate(run, config, (*study.settings.parts, "report"), say=console.say, detect=run_detection)
    console.finish()
    detected = all(record.value is not None for record in made if record.kind == "detection")
    if detected and not any(RETRY in record.details for record in made):
        write_json(marker, {"sha256": key})


def _evaluation_key(study: Study, run: Path, config: Config) -> str:
    """Hash of all that decides the figures: the set with its networks, the slices, files of weights, settings.

    A file of weights that is missing counts too, so that figures that failed for want of it are made once it is there.
    """
    made = set_hash(read_manifest(run / "sets" / "synthetic"))
    detectors = config.detection.weights.values() if config.detection else ()
    files = (config.evaluation.inception_weights, config.vgg_weights, *detectors)
    weights = [file_sha256(path) if path and path.is_file() else None for path in files]
    slices = prepare(config.data).directory.name  # it holds the hash of the scans
    parts = sorted(study.settings.parts)
    config = with_absolute_paths(config)
    return config_hash(
        made, slices, weights, parts, config.evaluation, config.detection or {}, config.data, config.seed
    )
