"""Regions of a slice: the full slice, the lungs with their nodules, or a square around each nodule (A43)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.components import components
from tsgan_jax.labels import LEFT_LUNG, NODULE, RIGHT_LUNG

Region = Literal["full", "lungs", "nodules"]
REGIONS: tuple[Region, ...] = ("full", "lungs", "nodules")
CROP = 64
"""Side of a nodule's square in pixels, at most that of the image."""

Pairs = Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""8-bit CT and class codes of slices, both [h, w]."""


@dataclass(frozen=True)
class View:
    """One region of every slice, as images; each iteration calls `pairs` again."""

    pairs: Callable[[], Pairs]
    region: Region

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for image, mask in self.pairs():
            yield from cut(image, mask, self.region)


def cut(image: NDArray[np.uint8], mask: NDArray[np.uint8], region: Region) -> list[NDArray[np.uint8]]:
    """The images [h, w] of a region of a slice.

    "lungs": one image, black outside of lungs and nodules, or none if there are neither.  "nodules": one per nodule.
    """
    if region == "full":
        return [image]
    if region == "lungs":
        inside = lungs(mask)
        return [np.where(inside, image, np.uint8(0))] if inside.any() else []
    return [image[square] for square in nodule_squares(mask)]


def owners(pairs: Pairs, region: Region, names: Sequence[str]) -> list[str]:
    """For each image of a `View`, the name of its slice; names: one per slice."""
    return [name for (image, mask), name in zip(pairs, names, strict=True) for _ in cut(image, mask, region)]


def lungs(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """[h, w]: left and right lung and the nodules in them."""
    return np.isin(mask, (LEFT_LUNG, RIGHT_LUNG, NODULE))


def nodule_squares(mask: NDArray[np.uint8], side: int = CROP) -> list[tuple[slice, slice]]:
    """Rows and columns of a square around each nodule (8-connected), moved to be inside the image."""
    return [square_around(component.window, mask.shape, side) for component in components(mask == NODULE)]


def square_around(window: tuple[slice, slice], shape: tuple[int, ...], side: int = CROP) -> tuple[slice, slice]:
    """Rows and columns of a square around a window of an image of `shape`, moved to be inside it."""
    spans = []
    for span, size in zip(window, shape, strict=True):
        length = min(side, size)
        start = min(max((span.start + span.stop - length) // 2, 0), size - length)
        spans.append(slice(start, start + length))
    return spans[0], spans[1]
