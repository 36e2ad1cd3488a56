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

from tsgan_jax.components import NEIGHBOURS, SMALLEST_NODULE, Component, components
from tsgan_jax.labels import BODY, LEFT_LUNG, NAMES, NODULE, RIGHT_LUNG, TRACHEA
from tsgan_jax.masks.distance import CHANNELS, encode, enlarged, organs

SMALL = (TRACHEA, NODULE)
APART = 1 / 32
"""Least distance of two peaks, as a share of the slice's side."""

OUTLIERS = 0.005
"""Share of real objects, at either end, whose surroundings are no rule."""

MOST = 4
"""Objects of a class in a mask."""

ROUNDNESS = 0.1
"""By how much heights are lowered at the radius of the disc of an object's area."""

QUANTILES = 33
NONE = -2.0
"""Height that stands for a missing peak, below every height of a map."""


@dataclass(frozen=True)
class Objects:
    """One class of small objects in real masks.

    present: share of masks with at least 1, 2, ... of them; areas: quantiles, evenly spaced from 0 to 1, of an
    object's area as a share of the slice.
    lowest, highest: the range of `_surroundings` at their peaks, without the outermost OUTLIERS.
    """

    present: tuple[float, ...]
    areas: tuple[float, ...]
    lowest: tuple[float, ...] = (-1.0, -1.0, -1.0)
    highest: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Calibration:
    """What makes an object of a peak.

    levels: least height of the first, second, ... peak of a map to be an object, if those before it are; heights
    (rising), areas: the area, as a share of the slice, of an object whose peak is that high.
    real: the objects that it was made for.
    """

    levels: tuple[float, ...]
    heights: tuple[float, ...]
    areas: tuple[float, ...]
    real: Objects


def real_objects(masks: np.ndarray) -> dict[int, Objects]:
    """The small objects of real masks uint8 [n, h, h], by class."""
    counts: dict[int, list[int]] = {label: [] for label in SMALL}
    areas: dict[int, list[int]] = {label: [] for label in SMALL}
    around: dict[int, list[np.ndarray]] = {label: [] for label in SMALL}
    for mask in masks:
        one = encode(mask[None])[0]
        for label in SMALL:
            found = [patch for patch in components(mask == label) if patch.pixels >= SMALLEST_NODULE.pixels]
            counts[label].append(len(found))
            areas[label] += [patch.pixels for patch in found]
            around[label] += [_at_peak(one, label, patch) for patch in found]
    return {
        label: _objects(np.array(counts[label]), np.array(areas[label]) / masks[0].size, np.stack(around[label]))
        for label in SMALL
        if areas[label]
    }


def _objects(counts: np.ndarray, areas: np.ndarray, around: np.ndarray) -> Objects:
    present = [float((counts >= k).mean()) for k in range(1, MOST + 1)]
    return Objects(
        present=tuple(share for share in present if share > 0),
        areas=tuple(np.quantile(areas, np.linspace(0, 1, QUANTILES)).tolist()),
        lowest=tuple(np.quantile(around, OUTLIERS, axis=0, method="lower").tolist()),
        highest=tuple(np.quantile(around, 1 - OUTLIERS, axis=0, method="higher").tolist()),
    )


def _at_peak(one: np.ndarray, label: int, patch: Component) -> np.ndarray:
    """`_surroundings` of a map at the highest pixel of one of its objects."""
    height = np.where(patch.inside, one[patch.window][..., CHANNELS.index(label)], -np.inf)
    return _surroundings(one[patch.window])[np.unravel_index(height.argmax(), height.shape)]


def _surroundings(one: np.ndarray) -> np.ndarray:
    """What a map [h, w, 5] says of body and lungs at each pixel: body, the nearer lung, the farther one; [h, w, 3]."""
    lungs = one[..., [CHANNELS.index(LEFT_LUNG), CHANNELS.index(RIGHT_LUNG)]]
    return np.stack([one[..., CHANNELS.index(BODY)], lungs.max(axis=-1), lungs.min(axis=-1)], axis=-1)


def to_json(objects: Mapping[int, Objects]) -> dict[str, Any]:
    """Objects by their class's name, as a stage's manifest keeps them."""
    return {NAMES[label]: {name: list(value) for name, value in vars(each).items()} for label, each in objects.items()}


def from_json(tree: Mapping[str, Any]) -> dict[int, Objects]:
    """`to_json` undone."""
    return {
        NAMES.index(label): Objects(**{name: tuple(value) for name, value in each.items()})
        for label, each in tree.items()
    }


def calibrate(maps: np.ndarray, size: int, real: Mapping[int, Objects]) -> dict[int, Calibration]:
    """The calibration with which masks of generated maps [n, r, r, 5] have as many and as large objects as real ones.

    size: of the masks that will be decoded with it.
    """
    maps = np.stack([enlarged(one, size) for one in maps])
    out = {}
    for label, objects in real.items():
        heights = np.full((len(maps), len(objects.present)), NONE)
        for row, one in zip(heights, maps, strict=True):
            found = [height for height, _ in _peaks(one, label, objects)][: len(row)]
            row[: len(found)] = found
        levels, chosen = _levels(heights, objects.present)
        if len(chosen):
            quantiles = np.quantile(chosen, np.linspace(0, 1, len(objects.areas)))
            out[label] = Calibration(levels, tuple(quantiles.tolist()), objects.areas, objects)
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
        for level, (height, place) in zip(rule.levels, _peaks(one, label, rule.real), strict=False):
            if height < level:
                break
            pixels = np.interp(height, rule.heights, rule.areas) * mask.size
            _draw(mask, one[..., CHANNELS.index(label)], place, max(1, round(pixels)), label)
    return mask


def _peaks(one: np.ndarray, label: int, real: Objects) -> Iterator[tuple[float, tuple[int, int]]]:
    """Height and place (row, column) of the local maxima of a class's channel in a map [h, h, 5], the highest first.

    Only where body and lungs are as they are at real objects: a nodule's in a lung or at one, trachea's between both.
    """
    channel, around = one[..., CHANNELS.index(label)], _surroundings(one)
    allowed = ((around >= real.lowest) & (around <= real.highest)).all(axis=-1)
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
