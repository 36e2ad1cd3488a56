"""Nodules as requested against nodules as obtained, measured on the CT.

A nodule is segmented again: lung HU is the median of the lung around it, nodule HU the mean in its middle, and the
nodule is what is brighter than half way between both, connected with its middle, within the lungs and at most RING_MM
beyond the requested radius.  This is done on bilinear subpixels, since a nodule has few pixels.  An opening with a disc
of a pixel cuts off the rim of a lung, whose pixels are partly pleura.  It touches the outline of its lung if it is
within half a pixel of it.  Of the mask it uses the nodule's centre and the outline of the lungs, not its pixels.

Of discs of 5 to 12 mm on pixels of 2.8 mm, sharp or blurred by a Gaussian of .6 pixels, the diameters are found within
1 mm on average (tests/evaluation/test_obtained.py); more blur makes small ones larger, by up to 2 mm with 1 pixel.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.sources import GeneratedSet
from tsgan_jax.evaluation.table import NONE, Table
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.requests import SIZE_MM
from tsgan_jax.masks.distance import distance_at, with_nodules
from tsgan_jax.masks.places import PLACES, SIDES, Located, place_of
from tsgan_jax.masks.requested import ANY

FINE_MM = 0.5
"""Largest side of a subpixel."""

RING_MM = 5.0
"""Width of the lung around a nodule that its HU are compared with."""

RING_PIXELS = 5
"""Least area of that lung, in pixels."""

FAINT = 100.0
"""A nodule with fewer HU above the lung is not found."""

CLOSE_MM = 1.5
"""A diameter is met within this."""


@dataclass(frozen=True)
class Obtained(Located):
    """A nodule as it is on the CT.  hu: its mean; lung_hu: of the lung around it."""

    hu: float
    lung_hu: float


@dataclass(frozen=True)
class Compared:
    """requested, in_mask: as in the set's manifest; obtained: None if the nodule is not found on the CT."""

    requested: dict[str, Any]
    in_mask: dict[str, Any]
    obtained: Obtained | None
    pixel_mm: float

    @property
    def apart_mm(self) -> float | None:
        """Distance of the centre on the CT from that in the mask."""
        if self.obtained is None:
            return None
        return float(np.hypot(*np.subtract(self.obtained.centre, self.in_mask["centre"]))) * self.pixel_mm


def obtained(
    hu: NDArray[np.number], mask: NDArray[np.uint8], pixel_mm: float, centre: tuple[float, float], diameter_mm: float
) -> Obtained | None:
    """The nodule at a centre (x, y in pixels), requested with a diameter, on a mask's CT [h, w]; None: not found."""
    lungs = {side: with_nodules(mask, code) for side, code in SIDES.items()}
    reach = math.ceil((diameter_mm / 2 + RING_MM) / pixel_mm) + 1
    window = tuple(
        slice(max(0, round(at) - reach), min(size, round(at) + reach + 1))
        for at, size in zip(centre[::-1], mask.shape, strict=True)
    )
    factor = math.ceil(pixel_mm / FINE_MM)
    fine = ndimage.zoom(hu[window].astype(np.float32), factor, order=1, mode="nearest", grid_mode=True)
    rows, columns = ((np.arange(size) + 0.5) / factor - 0.5 for size in fine.shape)
    y, x = np.meshgrid(rows + window[0].start, columns + window[1].start, indexing="ij")
    away = np.hypot(x - centre[0], y - centre[1]) * pixel_mm

    def subpixels(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return region[window].repeat(factor, 0).repeat(factor, 1)

    ring = subpixels(np.isin(mask, tuple(SIDES.values()))) & (away <= diameter_mm / 2 + RING_MM)
    ring &= away > diameter_mm / 2 + pixel_mm
    middle = away <= diameter_mm / 4
    if ring.sum() < RING_PIXELS * factor**2:
        return None
    lung_hu, middle_hu = float(np.median(fine[ring])), float(fine[middle].mean())
    if middle_hu - lung_hu < FAINT:
        return None
    inside = {side: subpixels(lung) for side, lung in lungs.items()}
    near = (away <= diameter_mm / 2 + RING_MM) & (inside["left"] | inside["right"])
    bright = near & (fine > (lung_hu + middle_hu) / 2)
    half_pixel = np.hypot(*np.indices((2 * (factor // 2) + 1,) * 2) - factor // 2) <= factor / 2
    numbered, _ = ndimage.label(ndimage.binary_opening(bright, half_pixel), NEIGHBOURS)
    at_middle = np.bincount(numbered[middle])
    at_middle[0] = 0
    if not at_middle.any():
        return None
    nodule = numbered == at_middle.argmax()
    side = max(inside, key=lambda one: int((nodule & inside[one]).sum()))
    at = float(x[nodule].mean()), float(y[nodule].mean())
    depth = distance_at(lungs[side], round(at[1]), round(at[0])) * pixel_mm
    touches = bool((ndimage.binary_dilation(nodule, half_pixel) & ~inside[side]).any())
    size = 2 * math.sqrt(nodule.sum() / math.pi) * pixel_mm / factor
    return Obtained(size, at, side, place_of(touches, depth), depth, float(fine[nodule].mean()), lung_hu)


def compare(made: GeneratedSet) -> list[Compared]:
    """All nodules of a set made on request.  Raises UserError for a set that was made without one."""
    if "request" not in made.manifest["made_from"]:
        raise UserError(
            f"{made.path}: made without a request (bin/generate --diameter-mm ...), so none can be compared"
        )
    found = []
    for pair, record in zip(made, made.records, strict=True):
        for one in record["nodules"]:
            wanted, drawn = one["requested"], one["in_mask"]
            got = obtained(pair.hu, pair.mask, pair.pixel_mm, tuple(drawn["centre"]), wanted["diameter_mm"])
            found.append(Compared(wanted, drawn, got, pair.pixel_mm))
    return found


def has_request(path: Path) -> bool:
    """Whether a set was made on request."""
    return "request" in read_manifest(path)["made_from"]


def table(found: list[Compared]) -> Table:
    """A row for each bin of requested size, side and place, and one of all."""
    ordered = sorted(found, key=_bin)
    groups = [(name, list(some)) for name, some in groupby(ordered, key=_bin)]
    rows = [(*_named(name), *_figures(some)) for name, some in groups]
    notes = [
        "mm: mean diameter; on the CT, of the nodules found there. mask within, CT within: share of all nodules whose "
        f"diameter in the mask, on the CT is within {CLOSE_MM} mm of the requested one.",
        "side, place: share of all nodules whose side, whose place on the CT is the requested one (any: always met).",
        "centre: median distance (mm) between the centres in the mask and on the CT. HU: mean on the CT; above lung: "
        "less the lung around it.",
    ]
    rows.append(("all", "", "", *_figures(found)))
    return Table("requests", "Nodules as requested and as obtained on the CT", COLUMNS, rows, notes)


COLUMNS = (
    *("size", "side", "place", "n", "found", "mm requested", "mm in mask", "mm on CT", "mask within", "CT within"),
    *("side right", "place right", "centre", "HU", "above lung"),
)


def _bin(one: Compared) -> tuple[int, str, int]:
    side, place = one.requested["side"], one.requested["place"]
    return int(np.digitize(one.requested["diameter_mm"], SIZE_MM)), side, [*PLACES, ANY].index(place)


def _named(name: tuple[int, str, int]) -> Iterator[str]:
    edges = ["", *(f"{mm:g}" for mm in SIZE_MM), ""]
    low, high = edges[name[0]], edges[name[0] + 1]
    yield f"{low}-{high} mm" if low and high else f"below {high} mm" if high else f"from {low} mm"
    yield name[1]
    yield [*PLACES, ANY][name[2]]


def _figures(some: list[Compared]) -> Iterator[str]:
    seen = [(one, one.obtained) for one in some if one.obtained is not None]

    def share(met: list[bool]) -> str:
        return f"{sum(met) / len(some):.0%}"

    def mean(values: list[float], form: str = ".1f") -> str:
        return f"{np.mean(values):{form}}" if values else NONE

    wanted = [one.requested["diameter_mm"] for one in some]
    drawn = [one.in_mask["diameter_mm"] for one in some]
    yield str(len(some))
    yield share([one.obtained is not None for one in some])
    yield mean(wanted)
    yield mean(drawn)
    yield mean([got.diameter_mm for _, got in seen])
    yield share([abs(mask - mm) <= CLOSE_MM for mask, mm in zip(drawn, wanted, strict=True)])
    yield share([abs(got.diameter_mm - one.requested["diameter_mm"]) <= CLOSE_MM for one, got in seen])
    yield share([one.requested["side"] in (ANY, got.side) for one, got in seen])
    yield share([one.requested["place"] in (ANY, got.place) for one, got in seen])
    apart = [one.apart_mm for one, _ in seen if one.apart_mm is not None]
    yield f"{np.median(apart):.1f}" if apart else NONE
    yield mean([got.hu for _, got in seen], ".0f")
    yield mean([got.hu - got.lung_hu for _, got in seen], ".0f")
