"""Counts and sizes of small objects, calibrated against real masks.

A generator places nodules and trachea rightly long before it makes their distance maps as high as real ones: a peak
that should be at .6 is at .2, and by sign there would be no object.  So a peak's rank decides instead of its height.
The k-th highest peak of a map that has k - 1 objects is one more if it is among the highest of such maps' k-th peaks,
as many as real masks have a k-th object; its area is that of the real object of the same rank.  Place and shape are the
network's, count and area are the training set's.  Ours, not the paper's (A23).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, SMALLEST_NODULE, components
from tsgan_jax.labels import BODY, LEFT_LUNG, NAMES, NODULE, RIGHT_LUNG, TRACHEA
from tsgan_jax.masks.distance import CHANNELS, SCALE, enlarged, organs

SMALL = (TRACHEA, NODULE)
LUNGS = [CHANNELS.index(LEFT_LUNG), CHANNELS.index(RIGHT_LUNG)]

APART = 1 / 32
"""Least distance of two peaks, as a share of the slice's side."""

NEAR = 1 / 80
"""How far outside a lung's outline a nodule's peak may be: the radius of a nodule of 8.5 mm, of 340."""

MOST = 4
"""Objects of a class in a mask."""

ROUNDNESS = 0.1
"""By how much heights are lowered at the radius of the disc of an object's area."""

QUANTILES = 33
NONE = -9.0
"""Height that stands for a missing peak, below every height of a map."""


@dataclass(frozen=True)
class Objects:
    """One class of small objects in real masks.

    present: share of masks with at least 1, 2, ... of them; areas: quantiles, evenly spaced from 0 to 1, of an
    object's area as a share of the slice.
    """

    present: tuple[float, ...]
    areas: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """What makes an object of a peak.

    levels: least height of the first, second, ... peak of a map to be an object, if those before it are; heights
    (rising), areas: the area, as a share of the slice, of an object whose peak is that high.
    """

    levels: tuple[float, ...]
    heights: tuple[float, ...]
    areas: tuple[float, ...]


def real_objects(masks: np.ndarray) -> dict[int, Objects]:
    """The small objects of real masks uint8 [n, h, h], by class."""
    found = {}
    for label in SMALL:
        areas = [_areas(mask == label) for mask in masks]
        counts = np.array([len(each) for each in areas])
        present = [float((counts >= k).mean()) for k in range(1, MOST + 1)]
        every = np.concatenate(areas)
        if len(every):
            quantiles = np.quantile(every, np.linspace(0, 1, QUANTILES)) / masks[0].size
            found[label] = Objects(tuple(p for p in present if p > 0), tuple(quantiles.tolist()))
    return found


def to_json(objects: Mapping[int, Objects]) -> dict[str, Any]:
    """Objects by their class's name, as a stage's manifest keeps them."""
    return {
        NAMES[label]: {"present": list(each.present), "areas": list(each.areas)} for label, each in objects.items()
    }


def from_json(tree: Mapping[str, Any]) -> dict[int, Objects]:
    """`to_json` undone."""
    return {
        NAMES.index(name): Objects(tuple(each["present"]), tuple(each["areas"])) for name, each in tree.items()
    }


def _areas(region: np.ndarray) -> np.ndarray:
    areas = np.array([patch.pixels for patch in components(region)], int)
    return areas[areas >= SMALLEST_NODULE.pixels]


def calibrate(maps: np.ndarray, size: int, real: Mapping[int, Objects]) -> dict[int, Calibration]:
    """The calibration with which masks of generated maps [n, r, r, 5] have as many and as large objects as real ones.

    size: of the masks that will be decoded with it.
    """
    maps = np.stack([enlarged(one, size) for one in maps])
    out = {}
    for label, objects in real.items():
        heights = np.full((len(maps), len(objects.present)), NONE)
        for row, one in zip(heights, maps, strict=True):
            found = [height for height, _ in _peaks(one, label)][: len(row)]
            row[: len(found)] = found
        levels, chosen = _levels(heights, objects.present)
        if len(chosen):
            quantiles = np.quantile(chosen, np.linspace(0, 1, len(objects.areas)))
            out[label] = Calibration(levels, tuple(quantiles.tolist()), objects.areas)
    return out


def _levels(heights: np.ndarray, present: tuple[float, ...]) -> tuple[tuple[float, ...], np.ndarray]:
    """Levels of the first, second, ... peak, with which as many maps as asked for have that many objects.

    heights: [n, k], falling, NONE where a map has no such peak.  Also returns the heights of all objects.
    """
    levels, chosen = [], []
    having = np.ones(len(heights), bool)
    for column, share in zip(heights.T, present, strict=True):
        asked = min(1.0, share / having.mean()) if having.any() else 0.0
        levels.append(float(np.quantile(column[having], 1 - asked)) if having.any() else 1.0)
        having &= (column >= levels[-1]) & (column > NONE)
        chosen.append(column[having])
    return tuple(levels), np.concatenate(chosen)


def decode(maps: np.ndarray, size: int, calibration: Mapping[int, Calibration]) -> np.ndarray:
    """Maps [n, r, r, 5] to masks uint8 [n, size, size], small objects by their peaks."""
    return np.stack([_decode(enlarged(one, size), calibration) for one in maps])


def _decode(one: np.ndarray, calibration: Mapping[int, Calibration]) -> np.ndarray:
    mask = organs(one)
    for label in SMALL:  # nodules last: they have precedence
        if label not in calibration:
            continue
        rule = calibration[label]
        for level, (height, place) in zip(rule.levels, _peaks(one, label), strict=False):
            if height < level:
                break
            pixels = np.interp(height, rule.heights, rule.areas) * mask.size
            _draw(mask, one[..., CHANNELS.index(label)], place, max(1, round(pixels)), label)
    return mask


def _peaks(one: np.ndarray, label: int) -> Iterator[tuple[float, tuple[int, int]]]:
    """Height and place (row, column) of the local maxima of a class's channel in a map [h, h, 5], the highest first.

    Only where the other channels allow the class: a nodule's in a lung or near one, trachea's in the body elsewhere.
    """
    channel = one[..., CHANNELS.index(label)]
    at_lung = one[..., LUNGS].max(axis=-1) > np.tanh(-NEAR / SCALE[LEFT_LUNG])
    allowed = at_lung if label == NODULE else (one[..., CHANNELS.index(BODY)] > 0) & ~at_lung
    apart = max(1, round(APART * len(channel)))
    highest = ndimage.maximum_filter(channel, 2 * apart + 1, mode="nearest")
    rows, columns = np.nonzero((channel == highest) & (channel > channel.min()) & allowed)
    for at in np.argsort(-channel[rows, columns], kind="stable"):
        yield float(channel[rows[at], columns[at]]), (int(rows[at]), int(columns[at]))


def _draw(mask: np.ndarray, channel: np.ndarray, place: tuple[int, int], pixels: int, label: int) -> None:
    """Give the `pixels` highest pixels round a peak, those that are connected with it, to a class.

    Heights fall by ROUNDNESS towards the radius of the disc of that area, so that a flat peak gives a disc.
    """
    radius = np.sqrt(pixels / np.pi)
    reach = int(np.ceil(1.5 * radius)) + 1
    rows, columns = (slice(max(0, at - reach), at + reach + 1) for at in place)
    near = channel[rows, columns]
    at = place[0] - rows.start, place[1] - columns.start
    y, x = np.ogrid[: near.shape[0], : near.shape[1]]
    heights = near - ROUNDNESS * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / radius**2
    chosen = np.zeros(near.shape, bool)
    chosen.flat[np.argsort(-heights, axis=None, kind="stable")[:pixels]] = True
    patches, _ = ndimage.label(chosen, NEIGHBOURS)
    mask[rows, columns][patches == patches[at]] = label
