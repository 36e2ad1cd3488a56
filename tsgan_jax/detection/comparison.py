"""The comparison of section 4.5: each detector on each training set, tested on each test fold of whole scans.

    detection/real/fold_<k>/            real folds as sets
    detection/fold_<k>/images, labels   input of YOLO; <k> is the test fold
    detection/fold_<k>/<model>/<training set>/seed_<s>/   job.json, result.json, detector.pt, worker.log
    detection/fold_<k>/<model>/found_synthetic/seed_<s>/   the detector of `real` on the synthetic set

The run's generators are not trained on test folds; detectors are trained on the real images of all other folds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tsgan_jax.config import Config, DetectionConfig
from tsgan_jax.data.pipeline import load, training_folds
from tsgan_jax.data.slices import NUM_FOLDS, scan_of
from tsgan_jax.detection import datasets, detectability, leaks, results, training
from tsgan_jax.detection.datasets import REAL, TrainingSet, training_sets
from tsgan_jax.detection.results import Cell, Trained
from tsgan_jax.detection.scores import match
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.records import Record
from tsgan_jax.files import locked_run
from tsgan_jax.generation.generate import export_fold
from tsgan_jax.generation.labelled import LabelledSet, open_set
from tsgan_jax.generation.runs import fingerprint
from tsgan_jax.generation.yolo import Part, write_part

Say = Callable[[str], None]
Synthetic = LabelledSet | str
"""The synthetic set, or the reason why there is none."""


@dataclass(frozen=True)
class Fold:
    """A test fold in YOLO's form.  train: the real images of the other folds; added: of `synthetic`."""

    number: int
    folder: Path
    test: Part
    train: Part
    synthetic: Synthetic
    added: Part


def run_detection(run: Path, config: Config, say: Say = print, synthetic: Path | None = None) -> list[Record]:
    """Train and test the detectors of `config.detection`; finished trainings are reused.

    run: a trained run directory; its data must be prepared.  synthetic: the set that is added to the real images;
    None: the run's sets/synthetic.  Returns a record for each figure of each detector, training set and test fold
    (records.py; `details` has the trainings' settings, pycocotools' figures and cautions), and for each training set
    its difference from `real`.  A failed training has a record with the reason.
    Raises UserError for any leak, and if no detector can be run.
    """
    chosen = config.detection
    if chosen is None:
        raise UserError("detection: not in the config, so no detector is trained; add a section `detection`")
    folder = run / "detection"
    with locked_run(folder):
        sets, missing = _real_sets(folder, config, say)
        made = _open_synthetic(synthetic or run / "sets" / "synthetic", chosen, say)
        _refuse_leaks(run, config, sets, made)
        python = training.interpreter(chosen.python)
        records: list[Record] = []
        for number in config.data.test_folds:
            if number in missing:
                say(f"detection: fold {number}: {missing[number]}")
                cells = _cells(chosen, config.system)
                records += [r for cell in cells for r in results.without(cell, number, missing[number])]
            else:
                records += _compare_fold(_lay_out(folder, number, sets, made), config, chosen, python, say)
        return records


def _cells(chosen: DetectionConfig, system: str) -> list[Cell]:
    """Pairs of detector and training set, in the order of training."""
    return [
        Cell(model, one, system if one.synthetic else "real")
        for model in chosen.models
        for one in training_sets(chosen)
    ]


def _real_sets(folder: Path, config: Config, say: Say) -> tuple[dict[int, LabelledSet], dict[int, str]]:
    """Every real fold as a set, and the test folds that cannot be used, with the reason."""
    data = {key: value for key, value in config.decisive_settings()["data"].items() if key != "test_fold"}
    sets: dict[int, LabelledSet] = {}
    missing: dict[int, str] = {}
    for number in range(NUM_FOLDS):
        out = folder / "real" / f"fold_{number}"
        try:
            export_fold(load(config.data, [number]), config.data.hu_window, out, {"fold": number, "data": data})
            sets[number] = open_set(out)
        except UserError as error:
            missing[number] = str(error)
            continue
        if not datasets.objects(sets[number].pictures):
            missing[number] = f"fold {number} has {len(sets[number])} slices without a nodule: nothing to detect"
            if number not in config.data.test_folds:
                say(f"detection: {missing[number]}; its slices train detectors as background")
    return sets, missing


def _open_synthetic(directory: Path, chosen: DetectionConfig, say: Say) -> Synthetic:
    if not any(chosen.schedule):
        return "the schedule has no synthetic images"
    try:
        made = open_set(directory)
        if not len(made):
            raise UserError(f"{directory}: the set is empty; stage masks needs more training")
    except UserError as error:
        say(f"detection: no synthetic images: {error}")
        return str(error)
    return made


def _refuse_leaks(run: Path, config: Config, sets: dict[int, LabelledSet], synthetic: Synthetic) -> None:
    leaks.refuse_shared_scans(sets)
    if isinstance(synthetic, str):
        return
    data = config.decisive_settings()["data"]
    trained_on = load(config.data, training_folds(config.data))
    slices = fingerprint((trained_on.ct, trained_on.mask))
    for number in config.data.test_folds:
        leaks.refuse_trained_on(number, run, synthetic, data, slices)
    leaks.refuse_real_among(synthetic, {number: sets[number] for number in config.data.test_folds if number in sets})


def _lay_out(folder: Path, number: int, sets: dict[int, LabelledSet], synthetic: Synthetic) -> Fold:
    place = folder / f"fold_{number}"
    train = [picture for other in sorted(sets) if other != number for picture in sets[other].pictures]
    return Fold(
        number,
        place,
        write_part(place, "test", sets[number].pictures),
        write_part(place, "real", train),
        synthetic,
        write_part(place, "synthetic", () if isinstance(synthetic, str) else synthetic.pictures),
    )


def _compare_fold(fold: Fold, config: Config, chosen: DetectionConfig, python: Path, say: Say) -> list[Record]:
    truth = datasets.ground_truth(fold.test.pictures)
    scans = [scan_of(picture.record["seriesuid"]) for picture in fold.test.pictures]
    cautions = _cautions(fold, chosen)
    for caution in cautions.values():
        say(f"detection: fold {fold.number}: {caution}")
    records: list[Record] = []
    real: dict[str, Trained] = {}
    for cell in _cells(chosen, config.system):
        outcome = _train(fold, cell, chosen, config.seed, python, say)
        if isinstance(outcome, str):
            say(f"detection: {cell.label}, fold {fold.number}: {outcome}")
            records += results.without(cell, fold.number, outcome)
            continue
        about = {
            "real_images": len(fold.train.pictures),
            "synthetic_images": cell.trained_on.synthetic,
            "test_images": len(fold.test.pictures),
            "median_object_px": round(datasets.median_object_px(fold.test.pictures, chosen.image_size), 2),
            "epochs": chosen.epochs,
            "batch_size": chosen.batch_size,
            "image_size": chosen.image_size,
            **cautions,
        }
        made_from = _made_from(fold, cell.trained_on)
        trained = Trained(cell, fold.number, tuple(outcome), truth, scans, made_from, about)
        records += trained.records()
        if cell.trained_on.name == REAL:
            real[cell.model] = trained
            records += _search_synthetic(fold, trained, config, python, say)
        else:
            records += trained.differences(real.get(cell.model), chosen.bootstrap, config.seed)
        say(f"detection: {trained.line()}")
    return records


def _search_synthetic(fold: Fold, trained: Trained, config: Config, python: Path, say: Say) -> list[Record]:
    """How well the first detector trained on real images finds nodules of the synthetic set; none without a set."""
    chosen = config.detection
    if chosen is None or isinstance(fold.synthetic, str):
        return []
    model, files = trained.cell.model, fold.added.files[: detectability.MOST]
    pictures = fold.added.pictures[: len(files)]
    folder, seed = fold.folder / model, f"seed_{config.seed}"
    job = training.Job(
        folder=folder / "found_synthetic" / seed,
        model=model,
        data=datasets.write_lists(fold.folder, "found_synthetic", files, files),
        images=len(files),
        epochs=0,
        batch_size=chosen.batch_size,
        image_size=chosen.image_size,
        learning_rate=chosen.learning_rate,
        seed=config.seed,
        augmented=False,
        weights=folder / REAL / seed / training.DETECTOR,
        device=chosen.device,
        made_from={"synthetic": datasets.digest(pictures)},
    )
    record = partial(
        Record,
        "detectability",
        datasets.shown(model),
        metric="sensitivity",
        fold=fold.number,
        made_from={**trained.made_from, **job.made_from, "system": config.system},
    )
    outcome = training.run(job, python, fold.folder.parent / "settings", chosen.timeout_minutes, say)
    if isinstance(outcome, str):
        say(f"detection: {datasets.shown(model)} on synthetic images, fold {fold.number}: {outcome}")
        return [record("all", value=None, n=0, reason=outcome)]
    made = match(datasets.ground_truth(pictures), outcome["predictions"])
    return detectability.of_detector(record, (fold.test.pictures, trained.matched[0]), (pictures, made))


def _train(
    fold: Fold, cell: Cell, chosen: DetectionConfig, seed: int, python: Path, say: Say
) -> list[training.Result] | str:
    """The workers' results for a cell, one per seed, or the reason why there are none."""
    files = _training_files(fold, cell.trained_on)
    if isinstance(files, str):
        return files
    name = cell.trained_on.name.replace(", ", "_").replace("+", "_plus_")
    data = datasets.write_lists(fold.folder, name, files, fold.test.files)
    found = []
    for one in range(seed, seed + chosen.seeds):
        job = training.Job(
            folder=fold.folder / cell.model / name / f"seed_{one}",
            model=cell.model,
            data=data,
            images=len(files),
            epochs=chosen.epochs,
            batch_size=chosen.batch_size,
            image_size=chosen.image_size,
            learning_rate=chosen.learning_rate,
            seed=one,
            augmented=cell.trained_on.augmented,
            weights=chosen.weights.get(cell.model),
            device=chosen.device,
            made_from=_made_from(fold, cell.trained_on),
        )
        settings = fold.folder.parent / "settings"
        outcome = training.run(job, python, settings, chosen.timeout_minutes, say)
        if isinstance(outcome, str):
            return outcome
        found.append(outcome)
    return found


def _training_files(fold: Fold, trained_on: TrainingSet) -> list[Path] | str:
    """The training list, or the reason why there is none."""
    if not datasets.objects(fold.train.pictures):
        return "the other folds have no nodule to train on"
    files = list(fold.train.files)
    files += [files[place % len(files)] for place in range(trained_on.repeated)]
    if trained_on.synthetic:
        if isinstance(fold.synthetic, str):
            return fold.synthetic
        if len(fold.synthetic) < trained_on.synthetic:
            return (
                f"{fold.synthetic.directory} has {len(fold.synthetic)} of the {trained_on.synthetic} synthetic images "
                "requested; extend it with bin/generate --count"
            )
    return files + list(fold.added.files[: trained_on.synthetic])


def _made_from(fold: Fold, trained_on: TrainingSet) -> dict[str, Any]:
    """Hashes of the images of a training, with the number of synthetic ones that it uses."""
    hashes: dict[str, Any] = {
        "real": datasets.digest(fold.train.pictures),
        "test": datasets.digest(fold.test.pictures),
        "repeated": trained_on.repeated,
    }
    if trained_on.synthetic:
        hashes["synthetic"] = datasets.digest(fold.added.pictures[: trained_on.synthetic])
    return hashes


def _cautions(fold: Fold, chosen: DetectionConfig) -> dict[str, str]:
    """Warnings about the figures of a fold: "too_small", "too_few"."""
    found = {}
    median = datasets.median_object_px(fold.test.pictures, chosen.image_size)
    if median < datasets.SMALLEST_PX:
        larger = "" if chosen.image_size >= fold.test.pictures[0].width else " and raise detection.image_size"
        found["too_small"] = (
            f"objects are too small for a comparison of detectors: half of them are below {median:.1f} px a side "
            f"({datasets.SMALLEST_PX:g} px is the minimum); prepare the data at a higher data.resolution{larger}"
        )
    if len(fold.train.pictures) <= chosen.batch_size:
        found["too_few"] = (
            f"{len(fold.train.pictures)} training images are no more than a batch of {chosen.batch_size}: detectors "
            "learn little from one step per epoch"
        )
    return found
