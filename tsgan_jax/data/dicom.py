"""The slices of a DICOM series in a folder, as one image on their own grid.

SimpleITK reads the files, and the geometry is taken from each of them.  What it would let pass is checked here: series
that are mixed in a folder, images that are no CT, and slices that are tilted, missing or there twice.
"""

import math
import mmap
import os
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.data.metaimage import AXIS_ALIGNED, MAX_SIDE, VolumeError

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
IMPLICIT, DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
"""Transfer syntaxes; in all others elements say their kind, and are little-endian."""
LONG = {*b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()}
"""Kinds of elements whose length has four bytes, after two that are not used."""
SHORT = {*b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()}
"""Kinds of elements whose length has two bytes."""
UNDEFINED = 0xFFFFFFFF
SYNTAX, PIXELS = (0x0002, 0x0010), (0x7FE0, 0x0010)
ITEM, ENDS = (0xFFFE, 0xE000), {(0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)}
MAX_DEPTH = 32

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
            _check_lengths(path)
            reader.ReadImageInformation()
        except (RuntimeError, ValueError, struct.error) as error:
            kind = re.search(rb"\x02\x00\x02\x00UI..([0-9.]+)", start, re.DOTALL)
            if kind and kind[1].decode() == CT_STORAGE:
                message = f"{path}: a CT slice that cannot be read ({reason(error)}); export it again"
                raise VolumeError(message) from None
            continue
        tags = {name: value(reader, tag) for name, tag in _TAGS.items()}
        size, direction = reader.GetSize(), np.reshape(reader.GetDirection(), (3, 3))
        position = np.array(reader.GetOrigin())
        yield _Slice(path, tags, size, reader.GetSpacing()[:2], direction, position)


def _check_lengths(path: Path) -> None:
    """Raise ValueError or struct.error unless every element of a DICOM file ends within the file.

    ITK's reader takes as much memory as a damaged length says, and keeps it.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, syntax = 132, ""
        while data[at : at + 2] == b"\x02\x00":  # the file's own header
            tag, _, start, length = _element(data, at, "<", explicit=True)
            at = start + length
            if tag == SYNTAX:
                syntax = data[start:at].strip(b"\0 ").decode("ascii", "replace")
        if syntax == DEFLATED:
            raise ValueError("it is compressed as a whole")
        _walk(data, at, len(data), ">" if syntax == BIG_ENDIAN else "<", explicit=syntax != IMPLICIT)


def _element(data: mmap.mmap, at: int, order: str, explicit: bool) -> tuple[tuple[int, int], bytes, int, int]:
    """Tag, kind (b"" if it is not told), start of the value and its length of the element at a byte.

    Raises ValueError if it does not end within the file, unless its length is undefined.
    """
    group, number = struct.unpack_from(f"{order}HH", data, at)
    kind, form, start = b"", "I", at + 8
    if explicit and group != ITEM[0]:
        kind = data[at + 4 : at + 6]
        if kind not in LONG and kind not in SHORT:
            raise ValueError(f"its element at byte {at} has the kind {kind!r}, which there is not")
        form, start = ("I", at + 12) if kind in LONG else ("H", at + 8)
    (length,) = struct.unpack_from(order + form, data, start - struct.calcsize(form))
    if length != UNDEFINED and start + length > len(data):
        raise ValueError(f"its element at byte {at} has {length} bytes, the file ends after {len(data) - start}")
    return (group, number), kind, start, length


def _walk(data: mmap.mmap, at: int, end: int, order: str, explicit: bool, depth: int = 0, raw: bool = False) -> int:
    """Check the elements of a data set, of a sequence or of an item, and those in them; returns the place after them.

    raw: items hold compressed pixels.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"it has more than {MAX_DEPTH} sequences in each other")
    while at + 8 <= end and data[at : at + 8] != bytes(8):  # zeros fill up a file
        tag, kind, start, length = _element(data, at, order, explicit)
        if tag in ENDS:
            return start
        if length == UNDEFINED:  # of an unknown kind: a sequence in the implicit form
            at = _walk(data, start, end, order, explicit and kind != b"UN", depth + 1, raw=tag == PIXELS)
            continue
        if (kind == b"SQ" or tag == ITEM) and not raw:
            _walk(data, start, start + length, order, explicit, depth + 1)
        at = start + length
    return at


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
    if max(one.size[:2]) > MAX_SIDE:
        raise VolumeError(f"{one.path}: {one.size[0]} x {one.size[1]} pixels; {MAX_SIDE} a side is the limit")
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


def reason(error: Exception) -> str:
    """The line of ITK's error that says why."""
    return str(error).strip().splitlines()[-1]
