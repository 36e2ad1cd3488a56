"""Nodules: rows of annotations.csv, their discs in a slice, and their boxes.

LUNA16 gives a centre and a diameter, so a nodule is a sphere and its section a disc (FACTS A25).  A pixel is nodule
when the disc covers a quarter of it.  At training resolutions most nodules are two or three pixels wide, and a
threshold of one half loses them (FACTS 13).
"""

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS
from tsgan_jax.errors import UserError

NODULE_SHARE = 0.25
MAX_DIAMETER_MM = 100.0
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
_SUBPIXELS = 8


@dataclass(frozen=True)
class Nodule:
    """A sphere: centre in world mm (x, y, z), diameter in mm."""

    seriesuid: str
    centre: tuple[float, float, float]
    diameter: float


@dataclass(frozen=True)
class NoduleSection:
    """A nodule's disc in one slice: centre in pixels (x, y; pixel centres are whole numbers), radius in mm."""

    nodule: Nodule
    centre: tuple[float, float]
    radius: float


class Box(NamedTuple):
    """Pixels x .. x+w-1, y .. y+h-1."""

    x: int
    y: int
    w: int
    h: int


def find_annotations(root: Path) -> Path:
    """Path of annotations.csv in the tree or in its CSVFILES folder; UserError when neither exists."""
    for path in (root / "annotations.csv", root / "CSVFILES" / "annotations.csv"):
        if path.is_file():
            return path
    raise UserError(f"{root}/annotations.csv does not exist; put LUNA16's annotations.csv into the tree's root")


def read_annotations(path: Path) -> tuple[dict[str, list[Nodule]], list[str]]:
    """Nodules by seriesuid, and a reason for every dropped row.

    Raises UserError when the file does not have the columns of LUNA16's table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, quoting=csv.QUOTE_NONE)  # else a stray quote would swallow the rows after it
            rows = [(reader.line_num, [re.sub('^"(.*)"$', r"\1", field) for field in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None
    header = rows[0][1] if rows else []
    if missing := [name for name in COLUMNS if name not in header]:
        found = ",".join(header) or "nothing"
        raise UserError(f"{path}: column {missing[0]} is missing; expected {','.join(COLUMNS)}, found {found}")
    nodules: dict[str, list[Nodule]] = {}
    dropped = []
    for line, fields in rows[1:]:
        row = dict(zip(header, fields, strict=False))
        try:
            nodule = _nodule(row, len(fields) - len(header))
            if nodule in nodules.setdefault(nodule.seriesuid, []):
                raise ValueError("repeats an earlier row")
            nodules[nodule.seriesuid].append(nodule)
        except ValueError as error:
            dropped.append(f"{path.name}, line {line} ({row.get('seriesuid', '')}): {error}")
    return nodules, dropped


def _nodule(row: dict[str, str], excess: int) -> Nodule:
    """The nodule of a row, or ValueError with the reason; excess: fields beyond the header's."""
    if any('"' in field for field in row.values()):
        raise ValueError("has a stray quote; remove it")
    if excess > 0:
        raise ValueError("has more fields than the header; write decimals with a point")
    try:
        x, y, z, diameter = (float(row[name]) for name in COLUMNS[1:])
    except (KeyError, ValueError):
        raise ValueError("coordinates or diameter are not numbers") from None
    if not all(map(math.isfinite, (x, y, z, diameter))):
        raise ValueError("coordinates or diameter are not finite")
    if not 0 < diameter <= MAX_DIAMETER_MM:
        raise ValueError(f"diameter {diameter:g} mm, expected above 0 and up to {MAX_DIAMETER_MM:g}")
    return Nodule(row["seriesuid"].strip(), (x, y, z), diameter)


def section_radius(nodule: Nodule, z_mm: float) -> float:
    """sqrt(r^2 - dz^2) in mm, 0 where the plane misses the sphere."""
    r, dz = nodule.diameter / 2, z_mm - nodule.centre[2]
    return math.sqrt(max(r * r - dz * dz, 0.0))


def coverage(
    shape: tuple[int, int], centre: tuple[float, float], radius: float, pixel: tuple[float, float]
) -> np.ndarray:
    """float32 [h, w]: the share of each pixel that a disc covers, sampled at 8 x 8 points a pixel.

    centre: x, y in pixels; radius: mm; pixel: height and width of a pixel in mm.
    """
    share = np.zeros(shape, np.float32)
    points = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    spans, squares = [], []
    for size, middle, step in zip(shape, centre[::-1], pixel, strict=True):
        low = max(0, math.floor(middle - radius / step - 0.5))
        high = min(size, math.ceil(middle + radius / step + 0.5) + 1)
        if low >= high:
            return share
        spans.append(slice(low, high))
        squares.append((((np.arange(low, high)[:, None] + points) - middle) * step) ** 2)
    covered = squares[0][:, :, None, None] + squares[1] <= radius * radius
    share[tuple(spans)] = covered.mean(axis=(1, 3))
    return share


def draw(shape: tuple[int, int], section: NoduleSection, pixel: tuple[float, float]) -> tuple[np.ndarray, float]:
    """bool [h, w], the nodule's pixels, and its area in pixels.

    A nodule that covers no pixel by a quarter keeps the pixel it covers most, or the pixel of its centre.  The result
    is all False only if the disc is outside the image.
    """
    share = coverage(shape, section.centre, section.radius, pixel)
    mask = share >= NODULE_SHARE
    if not mask.any():
        x, y = (round(c) for c in section.centre)
        peak = np.unravel_index(share.argmax(), shape) if share.any() else (y, x)
        if 0 <= peak[0] < shape[0] and 0 <= peak[1] < shape[1]:
            mask[peak] = True
    return mask, float(share.sum())


def boxes(mask: np.ndarray, centres: Iterable[tuple[float, float]]) -> list[Box]:
    """The box of the 8-connected component of `mask` nearest to each centre (x, y in pixels).

    Nodules that touch share a component and a box.  Raises ValueError when the mask is empty.
    """
    numbered, count = ndimage.label(mask, NEIGHBOURS)
    if not count:
        raise ValueError("a mask without nodule pixels has no boxes")
    windows = ndimage.find_objects(numbered)
    ys, xs = np.nonzero(mask)
    result = []
    for x, y in centres:
        nearest = ((xs - x) ** 2 + (ys - y) ** 2).argmin()
        rows, columns = windows[numbered[ys[nearest], xs[nearest]] - 1]
        result.append(Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start))
    return result
