"""HU windows, and CT slices and masks as PNG.

A window maps HU to the networks' [-1, 1] and back, and to 8-bit grey (FACTS A30).  A slice has four PNGs: 8 bits in
the HU window (for detectors), 16 bits with the HU values, and the mask as grey class codes, which every reader gives
as they are, and in the colours `labels.PALETTE`, for the eye.  All writers are atomic.
"""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from tsgan_jax.errors import UserError
from tsgan_jax.files import write_bytes
from tsgan_jax.labels import NUM_CLASSES, PALETTE

Window = tuple[float, float]


def to_unit(hu: np.ndarray, window: Window) -> np.ndarray:
    """float32 in [-1, 1]: the window's lower edge is -1, its upper edge 1, values outside it are clipped."""
    low, high = window
    return np.clip((np.asarray(hu, np.float32) - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0).astype(np.float32)


def to_hu(unit: np.ndarray, window: Window) -> np.ndarray:
    """float32 HU: the inverse of `to_unit` inside the window."""
    low, high = window
    return ((np.asarray(unit, np.float32) + 1.0) * ((high - low) / 2.0) + low).astype(np.float32)


def to_uint8(hu: np.ndarray, window: Window) -> np.ndarray:
    """uint8: the window's lower edge is 0, its upper edge 255, values outside it are clipped."""
    return np.rint((to_unit(hu, window) + 1.0) * 127.5).astype(np.uint8)


HU_OFFSET = 1024
"""Added to HU in 16-bit PNG, so that air is near 0 and no value is negative."""

HU_MIN, HU_MAX = -1024, 3071
"""The 12 bits of CT (A30, A31); values outside are clipped on export."""

MAX_SIDE = 8192
_COMPRESSION = 3  # zlib level: a third of the time of Pillow's default on noise-like CT, 2 % larger


def write_png(path: Path, image: NDArray[np.uint8], sync: bool = True) -> bytes:
    """8-bit PNG of grey [h, w] or RGB [h, w, 3]; returns the file's content.  sync: as `files.replacing`."""
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"expected uint8 [h, w] or [h, w, 3], got {image.dtype} {image.shape}")
    return _write(path, Image.fromarray(image), sync)


def read_png(path: Path) -> NDArray[np.uint8]:
    """Grey [h, w] or RGB [h, w, 3], uint8."""
    return _read(path, {"L", "RGB"}).astype(np.uint8)


def write_hu(path: Path, hu: NDArray[np.integer], sync: bool = True) -> bytes:
    """16-bit PNG of HU [h, w], stored as HU + 1024, clipped to 0..4095; returns and `sync` as `write_png`."""
    if not np.issubdtype(hu.dtype, np.integer) or hu.ndim != 2:
        raise ValueError(f"expected whole HU [h, w], got {hu.dtype} {hu.shape}")
    stored = np.clip(hu.astype(np.int32), HU_MIN, HU_MAX) + HU_OFFSET
    return _write(path, Image.fromarray(stored.astype(np.uint16)), sync)


def read_hu(path: Path) -> NDArray[np.int16]:
    """HU [h, w] of a PNG that `write_hu` made."""
    return _hu_of(path, _read(path, {"I;16", "I"}))


def _hu_of(path: Path, pixels: np.ndarray) -> NDArray[np.int16]:
    stored = pixels.astype(np.int32)
    if stored.max() > HU_MAX + HU_OFFSET:
        raise UserError(f"{path}: value {stored.max()} is above 4095; expected a 16-bit PNG of HU + 1024")
    return (stored - HU_OFFSET).astype(np.int16)


def read_shown(path: Path, window: Window) -> NDArray[np.uint8]:
    """8-bit CT in the window, [h, w], of a grey PNG that is such, or that has HU + 1024 in 16 bits."""
    pixels = _read(path, {"L", "I;16", "I"})
    return pixels if pixels.dtype == np.uint8 else to_uint8(_hu_of(path, pixels), window)


def write_mask(path: Path, mask: NDArray[np.uint8], sync: bool = True) -> bytes:
    """8-bit grey PNG of class codes [h, w]; returns and `sync` as `write_png`."""
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.max() >= NUM_CLASSES:
        raise ValueError(f"expected uint8 class codes [h, w] below {NUM_CLASSES}, got {mask.dtype} {mask.shape}")
    return write_png(path, mask, sync)


def write_colours(path: Path, mask: NDArray[np.uint8], sync: bool = True) -> bytes:
    """Class codes [h, w] in the label colours, as an indexed PNG; returns and `sync` as `write_png`."""
    image = Image.fromarray(mask)
    image.putpalette(PALETTE.tobytes())
    return _write(path, image, sync)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Class codes [h, w] of a grey PNG, or of an indexed one, which masks of earlier sets are.

    Raises UserError for a code that is not one of the six.
    """
    return mask_of_png(path, str(path))


def mask_of_png(file: Path | BinaryIO, source: str) -> NDArray[np.uint8]:
    """As `read_mask`, of an open file too; source: its name in messages."""
    return check_mask(_read(file, {"L", "P"}, source), source).astype(np.uint8)


def resized_mask(mask: NDArray[np.uint8], side: int, source: str) -> NDArray[np.uint8]:
    """Square masks [..., s, s] as [..., side, side], by nearest neighbour; UserError that names `source` for others."""
    height, width = mask.shape[-2:]
    if height != width:
        raise UserError(f"{source}: {width} x {height} pixels; masks must be square")
    nearest = ((np.arange(side) + 0.5) * height / side).astype(int)
    return mask[..., nearest[:, None], nearest]


def check_mask(mask: ArrayLike, source: str) -> NDArray[np.integer]:
    """The mask, or masks; UserError, which names `source`, where they hold anything but the six class codes."""
    codes = np.asarray(mask)
    if not np.issubdtype(codes.dtype, np.integer):
        raise UserError(f"{source}: a mask of {codes.dtype}; expected whole class codes, 0 to {NUM_CLASSES - 1}")
    unknown = np.argwhere((codes < 0) | (codes >= NUM_CLASSES))
    if len(unknown):
        first = tuple(unknown[0].tolist())
        names = ("slice", "row", "column")[-len(first) :]
        place = ", ".join(f"{name} {at}" for name, at in zip(names, first, strict=False))
        raise UserError(
            f"{source}: class code {codes[first]} at {place} is unknown, as in {len(unknown)} pixels in all; "
            f"codes are 0 to {NUM_CLASSES - 1}"
        )
    return codes


def _write(path: Path, image: Image.Image, sync: bool) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=_COMPRESSION)
    content = encoded.getvalue()
    write_bytes(path, content, sync)
    return content


def _read(file: Path | BinaryIO, modes: set[str], source: str = "") -> np.ndarray:
    source = source or str(file)
    try:
        with Image.open(file, formats=["PNG"]) as image:
            if max(image.size) > MAX_SIDE:
                raise UserError(f"{source}: {image.size[0]}x{image.size[1]} pixels; {MAX_SIDE} a side is the limit")
            if image.mode not in modes:
                raise UserError(f"{source}: a PNG of mode {image.mode}, expected {' or '.join(sorted(modes))}")
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{source}: cannot be read as PNG: {error}") from None
