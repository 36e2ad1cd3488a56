"""Outlines of components along the edges of their pixels: COCO's polygons.

Pixel (x, y) is the square from (x, y) to (x + 1, y + 1), as pycocotools fills polygons, so that a filled outline is the
component, pixel for pixel.
"""

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.components import Component

Point = tuple[int, int]


def outline(component: Component) -> list[int]:
    """x0, y0, x1, y1, ... of one closed polygon, in pixels of the image; its area is the component's.

    Pixels that touch at a corner stay in one outline.  A hole is joined to what is above it by a cut of no width.
    """
    whole, *holes = sorted(_loops(component.inside), key=_top)
    for hole in holes:  # from the top down, so that what lies above a hole is joined already
        x, top = start = min(hole, key=lambda point: (point[1], point[0]))
        around = hole[hole.index(start) :] + hole[: hole.index(start)] + [start]
        known = {point: place for place, point in enumerate(whole)}
        y = next(y for y in range(top, -1, -1) if (x, y) in known)
        place = known[x, y]
        whole[place : place + 1] = around if y == top else [(x, y), *around, (x, y)]
    rows, columns = component.window
    return [value for x, y in _corners(whole) for value in (x + columns.start, y + rows.start)]


def _top(loop: list[Point]) -> tuple[int, int]:
    return min((y, x) for x, y in loop)


def _loops(inside: NDArray[np.bool_]) -> list[list[Point]]:
    """The closed ways along the edges of the pixels [h, w], a unit a step, with the pixels on the right hand."""
    padded = np.pad(inside, 1)
    ends: dict[Point, list[Point]] = {}
    # A pixel's edges by its neighbour: (row, column) of the neighbour, (x, y) of the edge's start and end.
    for (down, right), (x0, y0), (x1, y1) in (
        ((-1, 0), (0, 0), (1, 0)),
        ((0, 1), (1, 0), (1, 1)),
        ((1, 0), (1, 1), (0, 1)),
        ((0, -1), (0, 1), (0, 0)),
    ):
        neighbour = padded[1 + down : len(padded) - 1 + down, 1 + right : padded.shape[1] - 1 + right]
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            ends.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    loops = []
    while ends:
        loop = [min(ends, key=lambda point: (point[1], point[0]))]
        step = (0, 0)
        while loop[-1] in ends:
            (x, y), ways = loop[-1], ends[loop[-1]]
            left = (x + step[1], y - step[0])  # where two pixels touch at a corner, the left way leads to the other
            way = left if left in ways else ways[0]
            ways.remove(way)
            if not ways:
                del ends[x, y]
            step = (way[0] - x, way[1] - y)
            loop.append(way)
        loops.append(loop[:-1])
    return loops


def _corners(loop: list[Point]) -> list[Point]:
    """The points at which a way turns."""
    before, after = [loop[-1], *loop[:-1]], [*loop[1:], loop[0]]
    return [
        point
        for last, point, following in zip(before, loop, after, strict=True)
        if _direction(last, point) != _direction(point, following)
    ]


def _direction(start: Point, end: Point) -> Point:
    return int(np.sign(end[0] - start[0])), int(np.sign(end[1] - start[1]))
