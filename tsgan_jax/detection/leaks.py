"""Checks for leaks from test to training images, before any training.

Three kinds of leaks are refused (A26, A27): a scan on both sides of a split, a generator trained on the test fold, and
a real test slice among the synthetic ones.  The checks use manifests and pixels.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax import images
from tsgan_jax.data.slices import scan_of
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_object
from tsgan_jax.generation.labelled import LabelledSet
from tsgan_jax.generation.manifest import HU, MASKS, manifest_path
from tsgan_jax.labels import MIRROR

OF_SLICES = ("real", "deform")
"""Kinds of masks from training slices instead of stage 1."""


def refuse_shared_scans(folds: Mapping[int, LabelledSet]) -> None:
    """Raise UserError if a scan or an image is in two folds.

    folds: real sets by fold.  The error names the scan, or the two images with the same pixels.
    """
    homes: dict[str, int] = {}
    seen: dict[str, tuple[int, str]] = {}
    for fold, slices in folds.items():
        for picture in slices.pictures:
            uid, name = picture.record.get("seriesuid"), picture.path.name
            if not isinstance(uid, str):
                raise UserError(f"{slices.directory}: {name} does not say to which scan it belongs")
            home = homes.setdefault(scan_of(uid), fold)
            if home != fold:
                raise UserError(
                    f"leak: scan {scan_of(uid)} is in fold {home} and in fold {fold}; "
                    "detectors would be tested on a patient they were trained on.  Prepare the data again"
                )
            other, same = seen.setdefault(_digest(images.read_hu(picture.file(HU))), (fold, name))
            if other != fold:
                raise UserError(
                    f"leak: {same} of fold {other} and {name} of fold {fold} are the same image under two "
                    "names; remove one of the two scans from data.root"
                )


def refuse_trained_on(fold: int, run: Path, synthetic: LabelledSet, data: Mapping[str, Any], slices: str) -> None:
    """Raise UserError unless the generators of a synthetic set were trained without the test fold.

    data: the run's data settings (Config.decisive_settings).  slices: fingerprint of the generators' training
    slices.  A manifest of the set or of a stage without this information is also an error.
    """
    made = synthetic.made_from
    where = str(manifest_path(synthetic.directory))
    if made.get("kind") != "synthetic" or not isinstance(made.get("config"), dict):
        raise UserError(f"{where}: does not say which run made the set; make it with bin/generate --run {run}")
    theirs = dict(made["config"].get("data", {}))
    _refuse_seen(where, "the set's generators were trained with", theirs.pop("test_fold", None), fold)
    ours = {key: value for key, value in data.items() if key != "test_fold"}
    for key in ours.keys() & theirs.keys():
        if ours[key] != theirs[key]:
            raise UserError(
                f"{where}: made from data with {key} {theirs[key]!r}, the run has {ours[key]!r}: their folds may "
                f"differ; make the set with bin/generate --run {run}"
            )
    masks = made.get("masks", {})
    if masks.get("kind") in OF_SLICES and masks.get("slices") != slices:
        raise UserError(
            f"leak: {where}: its masks come from other slices ({masks.get('slices')}) than the training folds hold "
            f"now ({slices}), so they may be of fold {fold}; make the set again"
        )
    for stage in ("translation",) if masks.get("kind") in OF_SLICES else ("masks", "translation"):
        _refuse_stage(run / stage / "manifest.json", stage, fold, slices)


def refuse_real_among(synthetic: LabelledSet, tests: Mapping[int, LabelledSet]) -> None:
    """Raise UserError if a synthetic image or mask equals a real test slice, also rotated or mirrored.

    tests: real sets by test fold.  Masks without a nodule are not compared.  The error names both.
    """
    real: dict[str, str] = {}
    for fold, slices in tests.items():
        for picture in slices.pictures:
            name = f"{picture.path.name} of test fold {fold}"
            mask = images.read_mask(picture.file(MASKS))
            parts: list[NDArray[Any]] = [images.read_png(picture.path), images.read_hu(picture.file(HU))]
            parts += [mask, MIRROR[mask]] if picture.boxes else []
            real |= {_digest(turned): name for part in parts for turned in _turned(part)}
    for picture in synthetic.pictures:
        shown: dict[str, NDArray[Any]] = {
            "image": images.read_png(picture.path),
            "CT": images.read_hu(picture.file(HU)),
            "mask": images.read_mask(picture.file(MASKS)),
        }
        for kind, image in shown.items():
            found = real.get(_digest(image))
            if found is not None:
                raise UserError(
                    f"leak: the {kind} of synthetic {picture.path.name} in {synthetic.directory} is that of the real "
                    f"{found}; detectors would be tested on a training image.  Make the set again"
                )


def _refuse_seen(where: str, what: str, tested: Any, fold: int) -> None:
    """Raise UserError unless `tested`, a manifest's data.test_fold, includes the fold."""
    folds = tested if isinstance(tested, list) else [tested]
    if not folds or any(not isinstance(one, int) for one in folds):
        raise UserError(f"{where}: does not say which fold was the test fold (data.test_fold: {tested!r})")
    if fold not in folds:
        raise UserError(
            f"leak: {where}: {what} data.test_fold {tested}, so they have seen fold {fold}, which the detectors are "
            f"tested on; test on fold {' or '.join(map(str, folds))}, or train generators without fold {fold}"
        )


def _refuse_stage(path: Path, stage: str, fold: int, slices: str) -> None:
    manifest = read_object(path, settings={}, changes=[])
    settings = manifest["settings"]
    _refuse_seen(str(path), f"stage {stage} was trained with", settings.get("data.test_fold"), fold)
    for change in manifest["changes"]:
        if change.get("key") == "data.test_fold":
            for side in ("from", "to"):
                _refuse_seen(str(path), f"stage {stage} was temporarily trained with", change.get(side), fold)
    trained = manifest.get("slices_sha256")
    if trained != slices:
        raise UserError(
            f"leak: {path}: stage {stage} was trained on other slices (slices_sha256 {trained}) than the training "
            f"folds hold now ({slices}), so they may be of fold {fold}; train it again on the data as they are"
        )


def _turned(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """All eight rotations and mirrored rotations of a square image."""
    for side in (image, image[:, ::-1]):
        for quarters in range(4):
            yield np.rot90(side, quarters)


def _digest(image: NDArray[Any]) -> str:
    head = f"{image.dtype} {image.shape};".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()
