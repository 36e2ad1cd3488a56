"""Connected components of a region, and the smallest component that counts as a nodule.

This is the definition for data, masks, export and evaluation.  Pixels that touch at a side or at a corner are connected
(8-connectivity), so that a nodule with a diagonal step is one component.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

NEIGHBOURS = np.ones((3, 3), bool)
"""Structuring element of 8-connectivity."""

Window = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True, eq=False)
class Component:
    """A connected component of a region [h, w].

    window: its bounding box, as rows and columns of the region; inside: bool, its pixels in the window.
    """

    window: Window
    inside: NDArray[np.bool_]

    @cached_property
    def pixels(self) -> int:
        """Its area."""
        return int(self.inside.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) in pixels; width = largest x - smallest x + 1."""
        rows, columns = self.window
        return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start

    def diameter_mm(self, pixel_mm: float) -> float:
        """Diameter of the disc of equal area; pixel_mm: side of a pixel."""
        return 2.0 * sqrt(self.pixels / pi) * pixel_mm

    def widened(self, margin: int, shape: tuple[int, ...]) -> tuple[Window, NDArray[np.bool_]]:
        """The window with `margin` more pixels on each side, clipped to `shape`, and the component's pixels in it."""
        rows, columns = (
            slice(max(0, part.start - margin), min(size, part.stop + margin))
            for part, size in zip(self.window, shape, strict=True)
        )
        wide = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        top, left = self.window[0].start - rows.start, self.window[1].start - columns.start
        wide[top : top + self.inside.shape[0], left : left + self.inside.shape[1]] = self.inside
        return (rows, columns), wide

    def drawn(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Its pixels in a region of `shape`."""
        whole = np.zeros(shape, bool)
        whole[self.window] = self.inside
        return whole


@dataclass(frozen=True)
class Smallest:
    """Minimum size of a component: pixels, and diameter (mm) of the disc of equal area."""

    pixels: int
    diameter_mm: float

    def admits(self, component: Component, pixel_mm: float) -> bool:
        """Whether a component is large enough; pixel_mm: side of a pixel."""
        return component.pixels >= self.pixels and component.diameter_mm(pixel_mm) >= self.diameter_mm


SMALLEST_NODULE = Smallest(pixels=3, diameter_mm=3.0)
"""Smaller components of nodule pixels in a generated mask are specks, not nodules (A28)."""


def components(region: NDArray[np.bool_]) -> Iterator[Component]:
    """The components of a region bool [h, w], in the order of their first pixels, row by row."""
    numbered, count = ndimage.label(region, NEIGHBOURS)
    for number, window in enumerate(ndimage.find_objects(numbered, count), start=1):
        yield Component(window, numbered[window] == number)
