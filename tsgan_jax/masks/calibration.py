"""Counts and sizes of small objects, calibrated against real masks.

A generator places nodules and trachea rightly long before it makes their distance maps as high as real ones: a peak
that should be at .6 is at .2, and by sign there would be no object.  So a peak's rank decides instead of its height.
The k-th highest peak of a map that has k - 1 objects is one more if it is among the highest of such maps' k-th peaks,
as many as real masks have a k-th object, and as high as a first one must be; its area is that of the real object of the
same rank.  Place and shape are the network's, count and area are the training set's.

Two more things follow the training set, because a young network gets them wrong.  Nodules are drawn with more certainty
inside a lung than at the pleura, so peaks are ranked by their height less a slope times the nearer lung's channel; the
slope is the one with which objects lie as deep in the lungs as real ones do.  And no object of a class is farther from
the map's first one than real ones are from each other, or main bronchi would stand in the chest wall.
Ours, not the paper's (A23).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from tsgan_jax.components import NEIGHBOURS, SMALLEST_NODULE, Component, components
from tsgan_jax.errors import UserError
from tsgan_jax.labels import BODY, LEFT_LUNG, NAMES, NODULE, RIGHT_LUNG, TRACHEA
from tsgan_jax.masks.distance import CHANNELS, encode, enlarged, organs

SMALL = (TRACHEA, NODULE)
APART = 1 / 32  # least distance of two peaks, as a share of the slice's side
OUTLIERS = 0.01  # share of real objects, at either end, whose surroundings are no rule
MOST = 4  # objects of a class in a mask
ROUNDNESS = 0.1  # by how much heights are lowered at the radius of the disc of an object's area
QUANTILES = 33

STEEPEST = 8.0  # largest slope, either way
NONE = -2.0 - STEEPEST  # rank of a missing peak, below every rank


@dataclass(frozen=True)
class Objects:
    """One class of small objects in real masks; ranges are without the outermost OUTLIERS."""

    present: tuple[float, ...]  # share of masks with at least 1, 2, ... of them
    areas: tuple[float, ...]  # evenly spaced quantiles of an object's area, as a share of the slice
    lowest: tuple[float, ...] = (-1.0, -1.0, -1.0)  # of `_surroundings` at their peaks
    highest: tuple[float, ...] = (1.0, 1.0, 1.0)
    depth: float | None = None  # mean of the nearer lung's channel at their peaks, None: not to be followed
    spread: float = 2.0  # largest distance of a mask's further objects from its largest one, in sides of the slice


@dataclass(frozen=True)
class Calibration:
    """What makes an object of a peak."""

    real: Objects  # that it is made for
    slope: float  # a peak's rank is its height less `slope` times the nearer lung's channel there
    levels: tuple[float, ...]  # least rank of the first, second, ... peak to be an object, if those before it are
    ranks: tuple[float, ...]  # rising, of peaks whose objects have the areas `real.areas`


@dataclass(frozen=True, eq=False)
class _Peaks:
    """Local maxima of a class's channel."""

    heights: np.ndarray  # [k]
    depths: np.ndarray  # [k], the nearer lung's channel there
    places: np.ndarray  # [k, 2], rows and columns

    def ranked(self, slope: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
        """(ranks, the peaks' numbers), the first rank first; none farther than `spread` pixels from the first."""
        ranks = self.heights - slope * self.depths
        order = np.argsort(-ranks, kind="stable")
        apart = np.hypot(*(self.places[order] - self.places[order[:1]]).T)
        order = order[apart <= spread]
        return ranks[order], order


def real_objects(masks: np.ndarray) -> dict[int, Objects]:
    """The small objects of real masks uint8 [n, h, h], by class."""
    found: dict[int, list[list[_Real]]] = {label: [] for label in SMALL}
    for mask in masks:
        one = encode(mask[None])[0]
        for label in SMALL:
            large = (patch for patch in components(mask == label) if patch.pixels >= SMALLEST_NODULE.pixels)
            found[label].append(sorted((_real(one, label, patch) for patch in large), key=lambda each: -each.pixels))
    side = masks.shape[1]
    return {label: _objects(per_mask, side) for label, per_mask in found.items() if any(per_mask)}


@dataclass(frozen=True, eq=False)
class _Real:
    """A real object."""

    pixels: int
    place: tuple[int, int]  # row and column of its peak
    around: np.ndarray  # `_surroundings` of the peak


def _real(one: np.ndarray, label: int, patch: Component) -> _Real:
    """One of the objects of a map [h, w, 5]; its peak is the highest of its pixels."""
    near = one[patch.window]
    height = np.where(patch.inside, near[..., CHANNELS.index(label)], -np.inf)
    row, column = np.unravel_index(height.argmax(), height.shape)
    place = int(row + patch.window[0].start), int(column + patch.window[1].start)
    return _Real(patch.pixels, place, _surroundings(near)[row, column])


def _objects(found: list[list[_Real]], side: int) -> Objects:
    """What is kept of the objects of each mask, the largest first."""
    counts = np.array([len(each) for each in found])
    areas = np.array([real.pixels for each in found for real in each]) / side**2
    around = np.stack([real.around for each in found for real in each])
    apart = [np.hypot(*np.subtract(real.place, each[0].place)) / side for each in found for real in each[1:]]
    present = [float((counts >= k).mean()) for k in range(1, MOST + 1)]
    return Objects(
        present=tuple(share for share in present if share > 0),
        areas=tuple(np.quantile(areas, np.linspace(0, 1, QUANTILES)).tolist()),
        lowest=tuple(np.quantile(around, OUTLIERS, axis=0, method="lower").tolist()),
        highest=tuple(np.quantile(around, 1 - OUTLIERS, axis=0, method="higher").tolist()),
        depth=float(around[:, NEARER].mean()),
        spread=float(np.quantile(apart, 1 - OUTLIERS, method="higher")) if apart else 2.0,
    )


NEARER = 1  # the nearer lung in `_surroundings`


def _surroundings(one: np.ndarray) -> np.ndarray:
    """What a map [h, w, 5] says of body and lungs at each pixel: body, the nearer lung, the farther one; [h, w, 3]."""
    lungs = one[..., [CHANNELS.index(LEFT_LUNG), CHANNELS.index(RIGHT_LUNG)]]
    return np.stack([one[..., CHANNELS.index(BODY)], lungs.max(axis=-1), lungs.min(axis=-1)], axis=-1)


def to_json(objects: Mapping[int, Objects]) -> dict[str, Any]:
    """Objects by their class's name, as a stage's manifest keeps them."""
    return {NAMES[label]: vars(each) for label, each in objects.items()}


def from_json(tree: Any) -> dict[int, Objects]:
    """`to_json` undone; UserError for what it did not make."""
    try:
        plain: dict[str, dict[str, Any]] = {
            label: {key: tuple(v) if isinstance(v, list) else v for key, v in each.items()}
            for label, each in tree.items()
        }
        return {NAMES.index(label): Objects(**each) for label, each in plain.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"small_objects of the manifest of stage masks: {error}; restore the file") from None


def calibrate(maps: np.ndarray, size: int, real: Mapping[int, Objects]) -> dict[int, Calibration]:
    """That with which masks of `size` of generated maps [n, r, r, 5] have as many and as large objects as real ones."""
    maps = np.stack([enlarged(one, size) for one in maps])
    peaks = {label: [_peaks(one, label, objects) for one in maps] for label, objects in real.items()}
    return {
        label: _calibrate(found, real[label], size)
        for label, found in peaks.items()
        if any(len(each.heights) for each in found)
    }


def _calibrate(peaks: Sequence[_Peaks], real: Objects, size: int) -> Calibration:
    """The calibration of one class, from each map's peaks."""
    slope = 0.0
    if real.depth is not None:
        gentle, steep = -STEEPEST, STEEPEST  # the steeper, the less deep
        for _ in range(16):
            slope = (gentle + steep) / 2
            _, _, depths = _chosen(peaks, real, size, slope)
            gentle, steep = (slope, steep) if depths.mean() > real.depth else (gentle, slope)
    levels, ranks, _ = _chosen(peaks, real, size, slope)
    return Calibration(real, slope, levels, tuple(np.quantile(ranks, np.linspace(0, 1, len(real.areas))).tolist()))


def _chosen(
    peaks: Sequence[_Peaks], real: Objects, size: int, slope: float
) -> tuple[tuple[float, ...], np.ndarray, np.ndarray]:
    """(levels, ranks of all objects, the nearer lung's channel at each) with which maps have as many as real masks."""
    ranks = np.full((len(peaks), len(real.present)), NONE)
    depths = np.zeros(ranks.shape)
    for row, each in enumerate(peaks):
        ranked, order = each.ranked(slope, real.spread * size)
        found = len(ranked[: ranks.shape[1]])
        ranks[row, :found], depths[row, :found] = ranked[:found], each.depths[order[:found]]
    levels, chosen = _levels(ranks, real.present)
    return levels, ranks[chosen], depths[chosen]


def _levels(ranks: np.ndarray, present: tuple[float, ...]) -> tuple[tuple[float, ...], np.ndarray]:
    """(levels of the first, second, ... peak with which as many maps as asked for have that many objects; which peaks
    are objects, bool [n, k]).  ranks: [n, k], falling, NONE where a map has no such peak.

    No level is below the first: where a network draws too few further peaks, as of main bronchi, masks have fewer
    further objects than real ones rather than specks at the wrong place.
    """
    levels: list[float] = []
    chosen = np.zeros(ranks.shape, bool)
    having = np.ones(len(ranks), bool)
    for k, (column, share) in enumerate(zip(ranks.T, present, strict=True)):
        asked = min(1.0, share / having.mean()) if having.any() else 0.0
        least = float(np.quantile(column[having], 1 - asked)) if having.any() else np.inf
        levels.append(max([least, *levels[:1]]))
        having &= (column >= levels[-1]) & (column > NONE)
        chosen[:, k] = having
    return tuple(levels), chosen


def decode(maps: np.ndarray, size: int, calibration: Mapping[int, Calibration]) -> np.ndarray:
    """Maps [n, r, r, 5] to masks uint8 [n, size, size], small objects by their peaks."""
    return np.stack([_decode(enlarged(one, size), calibration) for one in maps])


def _decode(one: np.ndarray, calibration: Mapping[int, Calibration]) -> np.ndarray:
    mask = organs(one)
    for label in (label for label in SMALL if label in calibration):  # nodules last: they have precedence
        rule = calibration[label]
        peaks = _peaks(one, label, rule.real)
        ranks, order = peaks.ranked(rule.slope, rule.real.spread * len(mask))
        for level, rank, at in zip(rule.levels, ranks, order, strict=False):
            if rank < level:
                break
            pixels = max(1, round(np.interp(rank, rule.ranks, rule.real.areas) * mask.size))
            row, column = peaks.places[at]
            _draw(mask, one[..., CHANNELS.index(label)], (row, column), pixels, label)
    return mask


def _peaks(one: np.ndarray, label: int, real: Objects) -> _Peaks:
    """The local maxima of a class's channel in a map [h, h, 5], row by row.

    Only where body and lungs are as they are at real objects: a nodule's in a lung or at one, trachea's between both.
    """
    channel, around = one[..., CHANNELS.index(label)], _surroundings(one)
    allowed = ((around >= real.lowest) & (around <= real.highest)).all(axis=-1)
    apart = max(1, round(APART * len(channel)))
    highest = ndimage.maximum_filter(channel, 2 * apart + 1, mode="nearest")
    at = np.nonzero((channel == highest) & (channel > channel.min()) & allowed)
    return _Peaks(channel[at].astype(float), around[at][:, NEARER].astype(float), np.stack(at, axis=1))


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
    mask[rows, columns][chosen & (patches == patches[at])] = label
