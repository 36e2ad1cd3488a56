"""A generated slice as DICOM: Secondary Capture Image Storage (PS3.3 A.8.1), in HU, marked as synthetic.

It is not CT Image Storage, so that no reader of scanners' images takes it for one; `SyntheticData` and
`ConversionType` SYN say what it is to programs, the names of patient and series to people.  Explicit VR, little endian
(PS3.5 7.1.2).  Equal slices of equal sets give equal bytes.
"""

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from tsgan_jax import __version__
from tsgan_jax.images import HU_MAX, HU_MIN, HU_OFFSET, Window

STORAGE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
NOTICE = "SYNTHETIC, NOT FOR DIAGNOSIS"

Element = tuple[int, str, str | int | bytes]
"""Tag, value representation, value."""


def secondary_capture(
    hu: NDArray[np.int16], pixel_mm: float, window: Window, number: int, identity: tuple[object, ...]
) -> bytes:
    """The content of a .dcm file.

    hu: int16 [h, w], rows from front to back, columns from the patient's right to left.  pixel_mm: side of a pixel.
    window: HU that viewers show at first.  number: of the instance in its series.  identity: first what identifies the
    series, then what identifies the image in it.
    """
    stored = (np.clip(hu, HU_MIN, HU_MAX) + HU_OFFSET).astype("<u2")
    instance = uid("instance", *identity)
    low, high = window
    meta: list[Element] = [
        (0x00020001, "OB", b"\0\1"),
        (0x00020002, "UI", STORAGE),
        (0x00020003, "UI", instance),
        (0x00020010, "UI", EXPLICIT_LITTLE_ENDIAN),
        (0x00020012, "UI", uid("tsgan_jax")),
        (0x00020013, "SH", f"TSGAN_JAX {__version__}"[:16]),
    ]
    elements: list[Element] = [
        (0x00080008, "CS", "DERIVED\\SECONDARY"),
        (0x00080016, "UI", STORAGE),
        (0x00080018, "UI", instance),
        (0x0008001C, "CS", "YES"),  # Synthetic Data
        (0x00080020, "DA", ""),
        (0x00080030, "TM", ""),
        (0x00080050, "SH", ""),
        (0x00080060, "CS", "CT"),
        (0x00080064, "CS", "SYN"),  # Conversion Type
        (0x00080090, "PN", ""),
        (0x0008103E, "LO", NOTICE),
        (0x00082111, "ST", f"{NOTICE}. Made by a generative network (tsgan_jax {__version__})."),
        (0x00100010, "PN", "SYNTHETIC^CT"),
        (0x00100020, "LO", "SYNTHETIC"),
        (0x00100030, "DA", ""),
        (0x00100040, "CS", ""),
        (0x00181016, "LO", "tsgan_jax"),
        (0x00181019, "LO", __version__),
        (0x00182010, "DS", f"{pixel_mm:.6g}\\{pixel_mm:.6g}"),
        (0x0020000D, "UI", uid("study", identity[0])),
        (0x0020000E, "UI", uid("series", identity[0])),
        (0x00200010, "SH", "1"),
        (0x00200011, "IS", "1"),
        (0x00200013, "IS", str(number)),
        (0x00200020, "CS", "L\\P"),
        (0x00200060, "CS", ""),
        (0x00204000, "LT", NOTICE),
        (0x00280002, "US", 1),
        (0x00280004, "CS", "MONOCHROME2"),
        (0x00280010, "US", hu.shape[0]),
        (0x00280011, "US", hu.shape[1]),
        (0x00280030, "DS", f"{pixel_mm:.6g}\\{pixel_mm:.6g}"),
        (0x00280100, "US", 16),
        (0x00280101, "US", 12),
        (0x00280102, "US", 11),
        (0x00280103, "US", 0),
        (0x00280301, "CS", "NO"),  # Burned In Annotation
        (0x00281050, "DS", f"{(low + high) / 2:g}"),
        (0x00281051, "DS", f"{high - low:g}"),
        (0x00281052, "DS", str(-HU_OFFSET)),
        (0x00281053, "DS", "1"),
        (0x00281054, "LO", "HU"),
        (0x7FE00010, "OW", stored.tobytes()),
    ]
    head = b"".join(map(_encoded, meta))
    length = _encoded((0x00020000, "UL", len(head)))
    return b"\0" * 128 + b"DICM" + length + head + b"".join(map(_encoded, elements))


def uid(*identity: object) -> str:
    """A UID under 2.25, the public root for 128-bit numbers, from a hash."""
    return f"2.25.{int.from_bytes(hashlib.sha256(repr(identity).encode()).digest()[:16], 'big')}"


def _encoded(element: Element) -> bytes:
    tag, kind, value = element
    if isinstance(value, int):
        content = struct.pack("<H" if kind == "US" else "<I", value)
    elif isinstance(value, str):
        content = value.encode("ascii")
        content += (b"\0" if kind == "UI" else b" ") * (len(content) % 2)
    else:
        content = value
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind.encode())
    long = kind in ("OB", "OW")
    return start + (struct.pack("<HI", 0, len(content)) if long else struct.pack("<H", len(content))) + content
