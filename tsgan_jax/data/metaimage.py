"""Reading of MetaImage files that are checked first.

SimpleITK accepts a NaN origin as 0, takes a negative spacing for a flipped axis, follows an ElementDataFile out
of the tree and returns wrong voxels for a damaged .zraw without an exception.  So the header's text and the bytes on
disk are checked here: .raw files must have the size of DimSize x type; .zraw files must decompress in full, with the
right checksum and length.  SimpleITK then reads the image.
"""

import math
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.errors import UserError

BYTES = dict(MET_CHAR=1, MET_UCHAR=1, MET_SHORT=2, MET_USHORT=2, MET_INT=4, MET_UINT=4, MET_FLOAT=4, MET_DOUBLE=8)
"""Bytes of a voxel by ElementType."""
SPACING_MM = (0.2, 10.0)
ORIGIN_MM = 10_000.0
MAX_HEADER_BYTES = 64 * 1024
MAX_SIDE = 8192
MAX_NAME_BYTES = 255
_ORIGIN = ("Offset", "Position", "Origin")
_DIRECTION = ("TransformMatrix", "Rotation", "Orientation")
_BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
AXIS_ALIGNED = 1e-3

Fields = Mapping[str, str]
Triple = tuple[float, float, float]


class VolumeError(UserError):
    """A scan that cannot be used: the message names the file, the value found and the fix."""


def read_image(path: Path, root: Path) -> tuple[np.ndarray, Triple, Triple]:
    """`path`, a .mhd file of the tree `root`, in world axes: voxels [z, y, x], spacing (z, y, x) and origin (x, y, z).

    Raises VolumeError as `load` and `axial` do.
    """
    return axial(load(path, root), path)


def load(path: Path, root: Path) -> Any:
    """ITK's image of a .mhd file of the tree `root`, on the file's own grid.

    Raises VolumeError for a header that a LUNA16 volume does not have, a file outside the tree, and missing, extra or
    damaged bytes.
    """
    import SimpleITK as sitk

    path = inside(path, root, path)
    fields = _fields(path)
    _check_header(path, fields)
    voxels = math.prod(map(int, fields["DimSize"].split()))
    _check_voxels(path, _data_file(path, root, fields), fields, voxels * BYTES[fields["ElementType"]])
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return sitk.ReadImage(str(path), imageIO="MetaImageIO")
    except RuntimeError as error:
        raise VolumeError(f"{path}: ITK cannot read it ({str(error).strip().splitlines()[-1]})") from None


def axial(image: Any, path: Path) -> tuple[np.ndarray, Triple, Triple]:
    """An image of ITK in world axes: voxels [z, y, x], spacing (z, y, x) and origin (x, y, z).

    Raises VolumeError, which names `path`, for oblique axes.
    """
    import SimpleITK as sitk

    direction = np.reshape(image.GetDirection(), (3, 3))
    if np.abs(direction - np.rint(direction)).max() > AXIS_ALIGNED:
        raise VolumeError(
            f"{path}: direction {np.round(direction, 4).tolist()} is oblique; "
            "expected axes along the patient's: resample the scan to an axial grid"
        )
    image = sitk.DICOMOrient(image, "LPS")
    return sitk.GetArrayFromImage(image), image.GetSpacing()[::-1], image.GetOrigin()


def inside(path: Path, root: Path, named_by: Path) -> Path:
    """`path` with links resolved; VolumeError unless it is a regular file inside `root`."""
    real, base = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if not real.is_relative_to(base):
        raise VolumeError(f"{named_by}: {path.name} leads to {real}, outside the tree {base}; copy it into the tree")
    if not real.is_file():
        raise VolumeError(f"{named_by}: {path.name} does not exist in {path.parent}; fetch it or remove the scan")
    return real


def _fields(path: Path) -> dict[str, str]:
    """The header's lines `Key = value`."""
    with path.open("rb") as stream:
        raw = stream.read(MAX_HEADER_BYTES + 1)
    if len(raw) > MAX_HEADER_BYTES:
        raise VolumeError(f"{path}: longer than {MAX_HEADER_BYTES} bytes; expected a text header next to its data file")
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise VolumeError(f"{path}: header is not text; expected a .mhd file") from None
    fields: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"\s*(\w+)\s*=\s*(.*?)\s*", line)
        if not found:
            raise VolumeError(f"{path}, line {number}: {line.strip()[:60]!r} is not 'Key = value'")
        if found[1] in fields:
            raise VolumeError(f"{path}, line {number}: {found[1]} is given twice; remove one")
        fields[found[1]] = found[2]
    return fields


def _check_header(path: Path, fields: Fields) -> None:
    """Raise VolumeError for any value that a LUNA16 volume does not have."""
    for names, least in ((_ORIGIN, 1), (_DIRECTION, 0), (_BYTE_ORDER, 0)):
        given = [name for name in names if name in fields]
        if not least <= len(given) <= 1:
            found = " and ".join(given) or f"no {names[0]}"
            raise VolumeError(f"{path}: {found} given; expected one of {', '.join(names)}")
    for name, (valid, expected) in _VALID.items():
        if name in _REQUIRED and name not in fields:
            raise VolumeError(f"{path}: {name} is missing; expected {expected}")
        if name in fields and not valid(fields[name]):
            raise VolumeError(f"{path}: {name} = {fields[name]}; expected {expected}")


def _matches(pattern: str) -> Callable[[str], object]:
    return lambda value: re.fullmatch(pattern, value, re.IGNORECASE)


def _numbers(text: str) -> list[float]:
    """The numbers of a value; none if one of them is not finite."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def _three(low: float, high: float) -> Callable[[str], object]:
    return lambda value: len(_numbers(value)) == 3 and all(low <= number <= high for number in _numbers(value))


def _is_rotation(value: str) -> bool:
    axes = np.array(_numbers(value))
    if axes.size != 9 or np.abs(axes).max() > 1 + AXIS_ALIGNED:
        return False
    axes = axes.reshape(3, 3)
    return np.allclose(axes @ axes.T, np.eye(3), rtol=0, atol=AXIS_ALIGNED)


_REQUIRED = ("NDims", "DimSize", "ElementType", "ElementSpacing")
_VALID: dict[str, tuple[Callable[[str], object], str]] = {
    "BinaryData": (_matches("true"), "True: write the volume as binary"),
    "NDims": (_matches("3"), "3"),
    "ElementNumberOfChannels": (_matches("1"), "1, because CT has one channel"),
    "HeaderSize": (_matches("0"), "0: voxels must be all of the data file"),
    "DimSize": (
        lambda value: _matches(r"[\d\s]+")(value) and _three(1, MAX_SIDE)(value),
        f"three sizes of 1 to {MAX_SIDE}",
    ),
    "ElementType": (BYTES.__contains__, f"one of {', '.join(BYTES)}"),
    "CompressedData": (_matches("true|false"), "True or False"),
    "CompressedDataSize": (_matches(r"\d{1,15}"), "a number of bytes"),
    "ElementSpacing": (
        _three(*SPACING_MM),
        f"3 values from {SPACING_MM[0]} to {SPACING_MM[1]} mm; without them no nodule can be placed",
    ),
    **dict.fromkeys(_ORIGIN, (_three(-ORIGIN_MM, ORIGIN_MM), f"3 values within {ORIGIN_MM:g} mm of 0")),
    **dict.fromkeys(_DIRECTION, (_is_rotation, "three orthonormal axes")),
    **dict.fromkeys(_BYTE_ORDER, (_matches("true|false"), "True or False")),
}
"""What the value of each field must be, and how a message says it."""


def _data_file(path: Path, root: Path, fields: Fields) -> Path:
    name = fields.get("ElementDataFile", "")
    if not name or name.split()[0].upper() in ("LIST", "LOCAL") or "%" in name:
        raise VolumeError(f"{path}: ElementDataFile = {name or 'missing'}; expected a .raw or .zraw file next to it")
    odd = "\\" in name or ":" in name or not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES
    if Path(name).is_absolute() or ".." in Path(name).parts or odd:
        raise VolumeError(
            f"{path}: ElementDataFile = {name!r:.200} leads out of the tree; expected a file next to the header"
        )
    if list(fields)[-1] != "ElementDataFile":
        raise VolumeError(f"{path}: {list(fields)[-1]} follows ElementDataFile, which must be the last line")
    return inside(path.parent / name, root, path)


def _check_voxels(path: Path, data: Path, fields: Fields, needed: int) -> None:
    """Raise VolumeError unless the data file has `needed` bytes of voxels, compressed or not; no more are unpacked."""
    expected = f"but DimSize {fields['DimSize']} of {fields['ElementType']} needs {needed}"
    on_disk, again = data.stat().st_size, "the copy is incomplete: fetch it again"
    if fields.get("CompressedData", "False").lower() == "false":
        if on_disk != needed:
            raise VolumeError(
                f"{data}: {on_disk} bytes, {expected}; the header of {path.name} is of another file or {again}"
            )
        return
    stated = fields.get("CompressedDataSize", "")
    if stated and int(stated) != on_disk:
        raise VolumeError(f"{data}: {on_disk} bytes, but CompressedDataSize = {stated}; {again}")
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip; checks its checksum
    try:
        found = len(stream.decompress(data.read_bytes(), needed + 1))
    except zlib.error as error:
        raise VolumeError(f"{data}: compressed voxels are damaged ({error}); fetch the file again") from None
    if found > needed or (stream.eof and found < needed):
        amount = f"more than {needed}" if found > needed else str(found)
        raise VolumeError(f"{data}: holds {amount} bytes, {expected}; the header is of another file")
    if not stream.eof:
        raise VolumeError(f"{data}: compressed voxels end early; {again}")
    if stream.unused_data:
        raise VolumeError(f"{data}: {len(stream.unused_data)} bytes follow the voxels; fetch the file again")
