"""Reading of MetaImage files whose headers are validated first.

SimpleITK accepts a NaN origin as 0, takes a negative spacing for a flipped axis, follows an ElementDataFile out
of the tree and returns wrong voxels for a damaged .zraw without an exception.  So the text is validated here,
SimpleITK interprets the geometry of the valid header, and the voxels are read here: .raw files must have the size of
DimSize x type; .zraw files must decompress in full, with the right checksum and length.
"""

import math
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsgan_jax.errors import UserError

ELEMENT_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
SPACING_MM = (0.2, 10.0)
ORIGIN_MM = 10_000.0
MAX_HEADER_BYTES = 64 * 1024
MAX_SIDE = 8192
_ORIGIN_KEYS = ("Offset", "Position", "Origin")
_DIRECTION_KEYS = ("TransformMatrix", "Rotation", "Orientation")
_ORTHONORMAL = 1e-3


class VolumeError(UserError):
    """A scan that cannot be used: the message names the file, the value found and the fix."""


@dataclass(frozen=True)
class Header:
    """A validated MetaImage header.

    size: voxels along the file's i, j, k axes; spacing: mm along the same axes.
    origin: world mm (LPS) of voxel (0, 0, 0); direction: 3 x 3, column a is the world direction of file axis a.
    data: the file that holds the voxels, inside the tree.
    """

    path: Path
    data: Path
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray
    dtype: np.dtype
    compressed: bool
    compressed_size: int | None

    @property
    def num_bytes(self) -> int:
        """Bytes of the uncompressed voxels."""
        return math.prod(self.size) * self.dtype.itemsize


def parse_header(path: Path, root: Path) -> Header:
    """Read and validate `path`, a .mhd file of the tree `root`.

    Raises VolumeError for anything that a LUNA16 volume does not contain.
    """
    path = inside(path, root, path)
    fields = _fields(path)
    if _bool(path, fields, "BinaryData", default=True) is False:
        raise VolumeError(f"{path}: BinaryData = False; text voxels are not read, write the volume as binary")
    if fields.get("NDims") != "3":
        raise VolumeError(f"{path}: NDims = {fields.get('NDims', 'missing')}; a CT volume needs NDims = 3")
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise VolumeError(f"{path}: ElementNumberOfChannels = {fields['ElementNumberOfChannels']}; CT has one channel")
    if fields.get("HeaderSize", "0") != "0":
        raise VolumeError(f"{path}: HeaderSize = {fields['HeaderSize']}; voxels must be all of the data file")
    size = _size(path, fields)
    spacing = _spacing(path, fields)
    _origin(path, fields)
    _direction(path, fields)
    compressed = _bool(path, fields, "CompressedData", default=False)
    header = Header(
        path=path,
        data=_data_file(path, root, fields),
        size=size,
        spacing=spacing,
        origin=(0.0, 0.0, 0.0),
        direction=np.eye(3),
        dtype=_dtype(path, fields),
        compressed=compressed,
        compressed_size=_compressed_size(path, fields) if compressed else None,
    )
    return _with_itk_geometry(header)


def read_voxels(header: Header) -> np.ndarray:
    """The voxels [k, j, i] in the header's type and native byte order; VolumeError for missing or extra bytes."""
    try:
        on_disk = header.data.stat().st_size
        data = header.data.read_bytes() if header.compressed else None
    except OSError as error:
        raise VolumeError(f"{header.path}: data file {header.data.name} cannot be read ({error.strerror})") from None
    if header.compressed:
        voxels = np.frombuffer(_decompressed(header, data or b""), header.dtype)
    else:
        if on_disk != header.num_bytes:
            raise VolumeError(
                f"{header.data}: {on_disk} bytes, but DimSize {_text(header.size)} of {header.dtype.name} needs "
                f"{header.num_bytes}; the copy is incomplete or the header is of another file: fetch it again"
            )
        voxels = np.fromfile(header.data, header.dtype)
    return voxels.reshape(header.size[::-1]).astype(header.dtype.newbyteorder("="), copy=False)


def inside(path: Path, root: Path, named_by: Path) -> Path:
    """`path` with links resolved; VolumeError unless it is a regular file inside `root`."""
    real, base = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if not real.is_relative_to(base):
        raise VolumeError(f"{named_by}: {path.name} leads to {real}, outside the tree {base}; copy it into the tree")
    if not real.is_file():
        raise VolumeError(f"{named_by}: {path.name} does not exist in {path.parent}; fetch it or remove the scan")
    return real


def _decompressed(header: Header, data: bytes) -> bytes:
    """The decompressed zlib or gzip stream; checksum and length are verified, and no more than num_bytes is read."""
    if header.compressed_size is not None and header.compressed_size != len(data):
        raise VolumeError(
            f"{header.data}: {len(data)} bytes, but CompressedDataSize = {header.compressed_size}; "
            "the copy is incomplete: fetch it again"
        )
    stream = zlib.decompressobj(wbits=47)
    try:
        voxels = stream.decompress(data, header.num_bytes + 1)
    except zlib.error as error:
        raise VolumeError(f"{header.data}: compressed voxels are damaged ({error}); fetch the file again") from None
    if len(voxels) > header.num_bytes or (stream.eof and len(voxels) < header.num_bytes):
        found = f"more than {header.num_bytes}" if len(voxels) > header.num_bytes else str(len(voxels))
        raise VolumeError(
            f"{header.data}: holds {found} bytes, but DimSize {_text(header.size)} of {header.dtype.name} needs "
            f"{header.num_bytes}; the header is of another file"
        )
    if not stream.eof:
        raise VolumeError(f"{header.data}: compressed voxels end early; the copy is incomplete: fetch it again")
    if stream.unused_data:
        raise VolumeError(f"{header.data}: {len(stream.unused_data)} bytes follow the voxels; fetch the file again")
    return voxels


def _with_itk_geometry(header: Header) -> Header:
    """The header with origin and direction as ITK reads them."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(header.path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise VolumeError(f"{header.path}: ITK cannot read the header ({reason}); write it again") from None
    if reader.GetSize() != header.size or not np.allclose(reader.GetSpacing(), header.spacing, rtol=1e-6):
        raise VolumeError(
            f"{header.path}: ITK reads size {reader.GetSize()} and spacing {reader.GetSpacing()}, "
            f"the text says {header.size} and {header.spacing}; write the header again"
        )
    direction = np.array(reader.GetDirection()).reshape(3, 3)
    return Header(**{**vars(header), "origin": reader.GetOrigin(), "direction": direction})


def _fields(path: Path) -> dict[str, str]:
    with path.open("rb") as stream:
        raw = stream.read(MAX_HEADER_BYTES + 1)
    if len(raw) > MAX_HEADER_BYTES:
        raise VolumeError(f"{path}: longer than {MAX_HEADER_BYTES} bytes; expected a text header next to its data file")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise VolumeError(f"{path}: header is not text; expected a .mhd file") from None
    fields: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not re.fullmatch(r"\w+", key):
            raise VolumeError(f"{path}, line {number}: {line.strip()[:60]!r} is not 'Key = value'")
        if key in fields:
            raise VolumeError(f"{path}, line {number}: {key} is given twice; remove one")
        fields[key] = value
    return fields


def _numbers(path: Path, fields: dict[str, str], key: str, count: int) -> tuple[float, ...]:
    words = fields[key].split()
    try:
        values = tuple(float(word) for word in words)
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise VolumeError(f"{path}: {key} = {fields[key]}; expected {count} finite numbers")
    return values


def _bool(path: Path, fields: dict[str, str], key: str, default: bool) -> bool:
    value = fields.get(key, str(default)).lower()
    if value not in ("true", "false"):
        raise VolumeError(f"{path}: {key} = {fields[key]}; expected True or False")
    return value == "true"


def _size(path: Path, fields: dict[str, str]) -> tuple[int, int, int]:
    words = fields.get("DimSize", "").split()
    if len(words) != 3 or not all(re.fullmatch(r"\d{1,5}", w) and 0 < int(w) <= MAX_SIDE for w in words):
        raise VolumeError(f"{path}: DimSize = {' '.join(words) or 'missing'}; expected three sizes of 1 to {MAX_SIDE}")
    return int(words[0]), int(words[1]), int(words[2])


def _spacing(path: Path, fields: dict[str, str]) -> tuple[float, float, float]:
    if "ElementSpacing" not in fields:
        raise VolumeError(f"{path}: ElementSpacing is missing; without it no nodule can be placed")
    low, high = SPACING_MM
    x, y, z = _numbers(path, fields, "ElementSpacing", 3)
    if not all(low <= s <= high for s in (x, y, z)):
        raise VolumeError(f"{path}: ElementSpacing = {fields['ElementSpacing']}; expected {low} to {high} mm each")
    return x, y, z


def _origin(path: Path, fields: dict[str, str]) -> None:
    keys = [key for key in _ORIGIN_KEYS if key in fields]
    if len(keys) != 1:
        raise VolumeError(f"{path}: {' and '.join(keys) or 'no Offset'} given; expected exactly one of {_ORIGIN_KEYS}")
    if max(map(abs, _numbers(path, fields, keys[0], 3))) > ORIGIN_MM:
        raise VolumeError(f"{path}: {keys[0]} = {fields[keys[0]]}; expected values within {ORIGIN_MM:g} mm of 0")


def _direction(path: Path, fields: dict[str, str]) -> None:
    keys = [key for key in _DIRECTION_KEYS if key in fields]
    if len(keys) > 1:
        raise VolumeError(f"{path}: {' and '.join(keys)} given; expected one of them")
    for key in keys:
        matrix = np.reshape(_numbers(path, fields, key, 9), (3, 3))
        if np.abs(matrix @ matrix.T - np.eye(3)).max() > _ORTHONORMAL:
            raise VolumeError(f"{path}: {key} = {fields[key]} is not orthonormal; expected three unit axes")


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype:
    name = fields.get("ElementType", "missing")
    if name not in ELEMENT_TYPES:
        raise VolumeError(f"{path}: ElementType = {name}; expected one of {', '.join(ELEMENT_TYPES)}")
    keys = [key for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB") if key in fields]
    orders = {_bool(path, fields, key, default=False) for key in keys}
    if len(orders) > 1:
        raise VolumeError(f"{path}: BinaryDataByteOrderMSB and ElementByteOrderMSB contradict each other")
    return np.dtype((">" if orders == {True} else "<") + ELEMENT_TYPES[name])


def _compressed_size(path: Path, fields: dict[str, str]) -> int | None:
    value = fields.get("CompressedDataSize")
    if value is not None and not re.fullmatch(r"\d{1,15}", value):
        raise VolumeError(f"{path}: CompressedDataSize = {value}; expected a number of bytes")
    return None if value is None else int(value)


def _data_file(path: Path, root: Path, fields: dict[str, str]) -> Path:
    name = fields.get("ElementDataFile", "")
    if not name or name.split()[0].upper() in ("LIST", "LOCAL") or "%" in name:
        raise VolumeError(f"{path}: ElementDataFile = {name or 'missing'}; expected a .raw or .zraw file next to it")
    if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name or ":" in name:
        raise VolumeError(f"{path}: ElementDataFile = {name} leads out of the tree; expected a file next to the header")
    if list(fields)[-1] != "ElementDataFile":
        raise VolumeError(f"{path}: {list(fields)[-1]} follows ElementDataFile, which must be the last line")
    return inside(path.parent / name, root, path)


def _text(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
