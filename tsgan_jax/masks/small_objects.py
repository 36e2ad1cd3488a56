"""Small objects of real masks, trachea and nodules: how many a mask has, how large, and where they may be.

A stage's manifest keeps them; generated masks are calibrated to them (calibration.py).  Ours, not the paper's (A23).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsgan_jax.components import SMALLEST_NODULE, Component, components
from tsgan_jax.errors import UserError
from tsgan_jax.labels import BODY, LEFT_LUNG, NAMES, RIGHT_LUNG, SMALL
from tsgan_jax.masks.distance import CHANNELS, encode

OUTLIERS = 0.01  # share of real objects, at either end, whose surroundings are no rule
MOST = 4  # objects of a class in a mask
QUANTILES = 33


@dataclass(frozen=True)
class Objects:
    """One class of small objects in real masks; ranges are without the outermost OUTLIERS."""

    present: tuple[float, ...]  # share of masks with at least 1, 2, ... of them
    areas: tuple[float, ...]  # evenly spaced quantiles of an object's area, as a share of the slice
    lowest: tuple[float, ...] = (-1.0, -1.0, -1.0)  # of `_surroundings` at their peaks
    highest: tuple[float, ...] = (1.0, 1.0, 1.0)
    depth: float | None = None  # mean of the nearer lung's channel at their peaks, None: not to be followed
    spread: float = 2.0  # largest distance of a mask's further objects from its largest one, in sides of the slice


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
