"""The slices of a DICOM series in a folder, as one image on their own grid.

SimpleITK reads the files, and the geometry is taken from each of them.  What it would let pass is checked here: series
that are mixed in a folder, images that are no CT, and slices that are tilted, missing or there twice.
"""

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.data.metaimage import AXIS_ALIGNED, VolumeError

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
TILT_DEGREES = 0.1
SAME_MM = 0.02
"""Positions of slices that differ by less are one position; DICOM rounds them to fewer digits than it computes with."""

_TAGS = {
    "Modality": "0008|0060",
    "SeriesDescription": "0008|103e",
    "PatientID": "0010|0020",
    "SliceThickness": "0018|0050",
    "GantryDetectorTilt": "0018|1120",
    "SeriesInstanceUID": "0020|000e",
    "ImagePositionPatient": "0020|0032",
    "ImageOrientationPatient": "0020|0037",
    "PixelSpacing": "0028|0030",
}
_NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


@dataclass(frozen=True)
class _Slice:
    """The header of a DICOM file.  Geometry as ITK's: size and spacing (x, y), direction [3, 3], position in mm."""

    path: Path
    tags: dict[str, str]
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    direction: np.ndarray
    position: np.ndarray


def read_series(folder: Path, series: str | None) -> tuple[Any, str, str, tuple[str, ...]]:
    """The CT series `series`, or the only one, of a folder and of the folders in it.

    Returns ITK's image, the SeriesInstanceUID, the PatientID, and the file of each slice, relative to the folder.
    Raises VolumeError for what is no CT series, with the file and the fix.
    """
    import SimpleITK as sitk

    found = defaultdict(list)
    for one in _headers(folder):
        found[one.tags["SeriesInstanceUID"]].append(one)
    if not found:
        raise VolumeError(f"{folder}: holds no DICOM images; give the folder of one series")
    if len(found) > 1 and series is None or series is not None and series not in found:
        kinds = "; ".join(
            f"{uid}: {one[0].tags['Modality']}, {len(one)} files, {one[0].tags['SeriesDescription'] or 'unnamed'}"
            for uid, one in sorted(found.items())
        )
        wrong = f"has no series {series}" if series else f"holds {len(found)} series"
        raise VolumeError(f"{folder}: {wrong}; choose one by --series UID: {kinds}")
    uid = series or next(iter(found))
    slices, direction, step = _stack(folder, found[uid])
    read = sitk.ReadImage
    try:
        planes = [sitk.GetArrayFromImage(read(str(one.path), imageIO="GDCMImageIO"))[0] for one in slices]
    except RuntimeError as error:
        raise VolumeError(f"{folder}: a slice cannot be read ({reason(error)}); export it again") from None
    image = sitk.GetImageFromArray(np.stack(planes))  # each with a slope of its own, so types may differ
    image.SetSpacing((*slices[0].spacing, step))
    image.SetOrigin(slices[0].position.tolist())
    image.SetDirection(direction.ravel().tolist())
    names = tuple(one.path.relative_to(folder).as_posix() for one in slices)
    return image, uid, slices[0].tags["PatientID"], names


def _headers(folder: Path) -> Iterator[_Slice]:
    """The headers of a folder's DICOM images; files of other kinds, such as reports, are passed over."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for path in sorted(Path(at) / name for at, _, names in os.walk(folder) for name in names):
        if not path.is_file():
            continue
        with path.open("rb") as stream:
            start = stream.read(4096)
        if start[128:132] != b"DICM":
            continue
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            kind = re.search(rb"\x02\x00\x02\x00UI..([0-9.]+)", start, re.DOTALL)
            if kind and kind[1].decode() == CT_STORAGE:
                message = f"{path}: a CT slice that cannot be read ({reason(error)}); export it again"
                raise VolumeError(message) from None
            continue
        tags = {name: value(reader, tag) for name, tag in _TAGS.items()}
        size, direction = reader.GetSize(), np.reshape(reader.GetDirection(), (3, 3))
        position = np.array(reader.GetOrigin())
        yield _Slice(path, tags, size, reader.GetSpacing()[:2], direction, position)


def _stack(folder: Path, slices: Sequence[_Slice]) -> tuple[list[_Slice], np.ndarray, float]:
    """The slices in order of position, the direction [3, 3] and the step (mm) of their grid.

    Raises VolumeError for slices that are no CT or do not make one grid.
    """
    for one in slices:
        _check_slice(one)
    alike = Counter(_grid(one) for one in slices)
    usual = alike.most_common(1)[0][0]
    for one in slices:
        if _grid(one) != usual:
            raise VolumeError(
                f"{one.path}: size, spacing and orientation {_grid(one)} differ from the other slices' {usual}; "
                "is it a localizer? move it out of the folder"
            )
    rows, columns = slices[0].direction[:, 0], slices[0].direction[:, 1]
    normal = np.cross(rows, columns)
    ordered = sorted(slices, key=lambda one: float(one.position @ normal))
    along = np.array([one.position @ normal for one in ordered])
    if len(ordered) == 1:
        step = _number(ordered[0], "SliceThickness")
        if not step:
            raise VolumeError(f"{ordered[0].path}: a single slice without SliceThickness; give the whole series")
    else:
        _check_steps(folder, ordered, along)
        # Rounded to more digits than positions have, so that a step of 0.7 is 0.7 and not a difference of floats.
        step = round(float(along[-1] - along[0]) / (len(along) - 1), 9)
    across = np.array([one.position for one in ordered]) - ordered[0].position
    across -= np.outer(across @ normal, normal)
    if np.abs(across).max() > SAME_MM + AXIS_ALIGNED * (along[-1] - along[0]):
        raise VolumeError(
            f"{folder}: slices are shifted against each other by up to {np.abs(across).max():.2f} mm: a tilted gantry; "
            "resample the scan to an axial grid and give it as NIfTI"
        )
    return ordered, np.column_stack([rows, columns, normal]), step


def _check_slice(one: _Slice) -> None:
    tags = one.tags
    if tags["Modality"] != "CT":
        raise VolumeError(f"{one.path}: Modality is {tags['Modality'] or 'missing'}; expected CT")
    if missing := [name for name in _NEEDED if not tags[name]]:
        raise VolumeError(f"{one.path}: has no {missing[0]}, without which no nodule can be placed; export it again")
    if len(one.size) > 2 and one.size[2] > 1:
        raise VolumeError(f"{one.path}: holds {one.size[2]} frames; export the series as one file a slice, or as NIfTI")
    tilt = _number(one, "GantryDetectorTilt")
    if abs(tilt) > TILT_DEGREES:
        raise VolumeError(
            f"{one.path}: GantryDetectorTilt is {tilt:g} degrees; resample the scan to an axial grid, as NIfTI"
        )


def _grid(one: _Slice) -> tuple[object, ...]:
    """What all slices of a grid have in common, rounded: size, spacing and orientation."""
    axes = np.round(one.direction[:, :2], 3) + 0.0  # no -0.0
    return (*one.size[:2], *np.round(one.spacing, 4).tolist(), *axes.T.ravel().tolist())


def _check_steps(folder: Path, ordered: Sequence[_Slice], along: np.ndarray) -> None:
    """Raise VolumeError for slices that are there twice, missing, or unevenly spaced."""
    steps = np.diff(along)
    if twice := [k for k, step in enumerate(steps) if step < SAME_MM]:
        k = twice[0]
        raise VolumeError(
            f"{folder}: {ordered[k].path.name} and {ordered[k + 1].path.name} are at one position, {along[k]:g} mm "
            f"({len(twice)} such in all); keep one of each"
        )
    usual = float(np.median(steps))
    for k, step in enumerate(steps):
        if abs(step - usual) > SAME_MM + 0.01 * usual:
            gone = round(float(step / usual)) - 1
            even = gone > 0 and math.isclose(step, (gone + 1) * usual, abs_tol=SAME_MM * (gone + 1) + 0.01 * usual)
            what = f"{gone} missing" if even else f"a step of {step:g} mm, elsewhere {usual:g} mm"
            raise VolumeError(
                f"{folder}: slices between {ordered[k].path.name} and {ordered[k + 1].path.name}, at {along[k]:g} and "
                f"{along[k + 1]:g} mm: {what}; export the series again"
            )


def value(reader: Any, tag: str) -> str:
    """A value of the header that a reader of ITK has read, "" where it has none."""
    return str(reader.GetMetaData(tag)).strip("\0 ") if reader.HasMetaDataKey(tag) else ""


def _number(one: _Slice, name: str) -> float:
    """The value of a tag, 0 where it has none."""
    try:
        return float(one.tags[name] or 0)
    except ValueError:
        raise VolumeError(f"{one.path}: {name} is {one.tags[name]!r}; expected a number") from None


def reason(error: RuntimeError) -> str:
    """The line of ITK's error that says why."""
    return str(error).strip().splitlines()[-1]
