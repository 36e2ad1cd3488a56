"""A finished set in the forms that other tools read, each in a folder of its name inside the set.

    yolo/    images/, labels/, data.yaml, for `yolo train`
    monai/   dataset.json, MONAI's list for detection, of the PNG in images/
    nifti/   imagesTr/, labelsTr/, dataset.json: CT in HU and class codes, in nnU-Net's tree
    dicom/   secondary captures in HU, marked as synthetic

COCO is in every set.  A format is made from the files of the set alone, and is recorded in its manifest.
"""

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tsgan_jax import images
from tsgan_jax.config.reading import config_hash
from tsgan_jax.errors import UserError
from tsgan_jax.files import UNFINISHED, file_sha256, locked, read_json, write_json
from tsgan_jax.generation import dicom, sheet, yolo
from tsgan_jax.generation.labelled import LabelledImage, LabelledSet, open_set, split
from tsgan_jax.generation.manifest import ANNOTATIONS, HU, INDEX, MASKS, read_manifest, set_hash, write_manifest
from tsgan_jax.labels import NAMES

SLICE_MM = 1.0
"""Thickness of a slice as a volume; a set has no third dimension."""


def convert(directory: Path, names: Iterable[str]) -> list[str]:
    """Write formats of a finished set, and those again that it had before it was extended; returns their names.

    Raises UserError for a set that is unfinished or changed, and for a folder in a format's place that is not of it.
    """
    manifest = read_manifest(directory)
    origin = set_hash(manifest)
    stale = (name for name, record in manifest.get("formats", {}).items() if record["of"] != origin)
    todo = sorted({*names, *stale})
    if not todo:
        return []
    with locked(directory, f"{directory}: another process is writing to this set"):
        made = open_set(directory)
        recorded, pages = made.manifest.setdefault("formats", {}), made.manifest.setdefault("pages", {})
        pages.pop(INDEX, None)  # it is written anew, after the manifest
        for name in todo:
            folder = directory / name
            if folder.exists() and name not in recorded:
                raise UserError(f"{folder}: is not of this set; move it away, its place is that of format {name}")
            part = directory / f"{UNFINISHED}{name}"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            FORMATS[name](made, part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
            recorded[name] = {"of": origin, "files": len(_files(folder)), "sha256": _digest(folder)}
            write_manifest(directory, made.manifest)
        pages[INDEX] = sheet.write_index(directory, made.manifest, read_json(directory / ANNOTATIONS))
        write_manifest(directory, made.manifest)
    return todo


def faults(directory: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """Format to what is wrong with it, of those that a set's manifest names."""
    found = {}
    for name, record in manifest.get("formats", {}).items():
        if record["of"] != set_hash(manifest):
            found[name] = "is of the set as it was before"
        elif _digest(directory / name) != record["sha256"]:
            found[name] = "has missing or changed files"
    return found


def _files(folder: Path) -> list[Path]:
    """Without the caches that training adds."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".cache")


def _digest(folder: Path) -> str:
    return config_hash([[path.relative_to(folder).as_posix(), file_sha256(path)] for path in _files(folder)])


def _monai(made: LabelledSet, folder: Path) -> None:
    """MONAI's list for detection: boxes [xmin, ymin, xmax, ymax] in pixels of images that are read as [x, y].

    Images without a nodule are left out: MONAI makes no boxes [0, 4] of an empty list.
    """
    parts = zip(("training", "validation"), split([p for p in made.pictures if p.boxes]), strict=True)
    lists = {name: [_monai_item(picture) for picture in pictures] for name, pictures in parts}
    about = {"box_mode": "xyxy", "labels": {"0": "nodule"}, "description": made.made_from["kind"]}
    write_json(folder / "dataset.json", {**about, **lists}, indent=1)


def _monai_item(picture: LabelledImage) -> dict[str, Any]:
    boxes = [[x, y, x + width, y + height] for x, y, width, height in picture.boxes]
    return {"image": f"../images/{picture.path.name}", "box": boxes, "label": [0] * len(boxes)}


def _nifti(made: LabelledSet, folder: Path) -> None:
    """Volumes of one slice.  x runs to the patient's left and y to the back, as in the PNG; NIfTI's affine says so."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()

    def write(picture: LabelledImage) -> None:
        import SimpleITK as sitk

        for name, array in (
            (f"imagesTr/{picture.path.stem}_0000", images.read_hu(picture.file(HU))),
            (f"labelsTr/{picture.path.stem}", images.read_mask(picture.file(MASKS))),
        ):
            volume = sitk.GetImageFromArray(array[None])
            volume.SetSpacing((picture.record["pixel_mm"], picture.record["pixel_mm"], SLICE_MM))
            sitk.WriteImage(volume, str(folder / f"{name}.nii.gz"))

    _each(made, write)
    about = {"channel_names": {"0": "CT"}, "labels": {name: code for code, name in enumerate(NAMES)}}
    write_json(folder / "dataset.json", {**about, "numTraining": len(made), "file_ending": ".nii.gz"}, indent=1)


def _dicom(made: LabelledSet, folder: Path) -> None:
    if made.made_from.get("kind") != "synthetic":
        raise UserError(
            f"{made.directory}: its slices are real; DICOM is written of synthetic sets only, since a resampled slice "
            "lacks what its scan's header says"
        )
    origin, (low, high) = set_hash(made.manifest), made.made_from["window"]

    def write(picture: LabelledImage) -> None:
        hu, record = images.read_hu(picture.file(HU)), picture.record
        identity = (origin, record["index"])
        content = dicom.secondary_capture(hu, record["pixel_mm"], (low, high), record["index"] + 1, identity)
        (folder / f"{picture.path.stem}.dcm").write_bytes(content)

    _each(made, write)


def _each(made: LabelledSet, write: Callable[[LabelledImage], None]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, made.pictures))


FORMATS: dict[str, Callable[[LabelledSet, Path], None]] = {
    "yolo": yolo.write,
    "monai": _monai,
    "nifti": _nifti,
    "dicom": _dicom,
}
"""Format to its writer: (set, empty folder)."""
