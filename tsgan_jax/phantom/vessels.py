"""Branching trees from the hila into the lungs, grown in three dimensions and drawn into a few slices.

A tree joins each of many random targets to the node that costs least: distance to it plus a share of its path
from the root.  Radii follow Murray's law: a parent carries the sum of its children's r**MURRAY.
"""

from dataclasses import dataclass

import numpy as np

from tsgan_jax.phantom.shapes import Axes, Field

ROOT_PATH_WEIGHT = 0.6
MURRAY = 2.4
PIECES = 3
"""Straight pieces of the bent line that joins one target to the tree."""


Segments = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Start [m, 3], end [m, 3] (x, y, z mm) and radius [m] of vessel pieces."""


@dataclass(frozen=True)
class VesselTree:
    """Nodes [n, 3] (x, y, z mm), each one's parent (the root's is itself) and vessel radius (mm)."""

    nodes: np.ndarray
    parent: np.ndarray
    radius: np.ndarray

    def segments(self) -> Segments:
        """Start [m, 3], end [m, 3] and radius [m] of each vessel piece."""
        return self.nodes[self.parent[1:]], self.nodes[1:], self.radius[1:]


def grow(rng: np.random.Generator, root: np.ndarray, targets: np.ndarray, twig_mm: float) -> VesselTree:
    """Join `targets` [n, 3] to a tree from `root` [3]; the finest twigs have radius `twig_mm`."""
    order = np.argsort(((targets - root) ** 2).sum(1))
    size = 1 + PIECES * len(targets)
    nodes, parent, path = np.empty((size, 3), np.float32), np.zeros(size, int), np.zeros(size, np.float32)
    nodes[0] = root
    count = 1
    bends = rng.normal(0, 0.05, (len(targets), PIECES - 1, 3)).astype(np.float32)
    for target, bend in zip(targets[order].astype(np.float32), bends, strict=True):
        gap = nodes[:count] - target
        cost = np.sqrt(np.einsum("ij,ij->i", gap, gap)) + ROOT_PATH_WEIGHT * path[:count]
        near = int(cost.argmin())
        start, step = nodes[near].copy(), target - nodes[near]
        length = float(np.sqrt(step @ step))
        for part in range(PIECES):
            end = start + step * ((part + 1) / PIECES)
            if part < PIECES - 1:
                end = end + bend[part] * length
            nodes[count], parent[count] = end, near
            path[count] = path[near] + length / PIECES
            near = count
            count += 1
    return VesselTree(nodes, parent, _radii(parent, twig_mm))


def _radii(parent: np.ndarray, twig_mm: float) -> np.ndarray:
    """Murray's law from the twigs up: each target is fed once, and a child always comes after its parent."""
    fed = [0.0] * len(parent)
    above = parent.tolist()
    for node in range(len(parent) - 1, 0, -1):
        fed[node] += node % PIECES == 0
        fed[above[node]] += fed[node]
    return (twig_mm * np.maximum(fed, 1) ** (1 / MURRAY)).astype(np.float32)


def bronchi(rng: np.random.Generator, tree: VesselTree, smallest_mm: float) -> Segments:
    """Airways next to the arteries wider than `smallest_mm`: start, end, outer radius."""
    start, end, radius = tree.segments()
    shift = rng.normal(0, 1, 3).astype(np.float32)
    offset = (1.9 * shift / np.linalg.norm(shift)).astype(np.float32)
    wide = radius > smallest_mm
    sideways = tree.radius[:, None] * offset
    return ((start + sideways[tree.parent[1:]])[wide], (end + sideways[1:])[wide], radius[wide])


def draw(share: Field, segments: Segments, axes: Axes, pixel_mm: float) -> None:
    """Raise `share` [z, y, x] in place to each pixel's coverage (0..1) by the nearest tube.

    axes: z, y and x coordinates (mm) of the slices, rows and columns.
    """
    zs, ys, xs = axes
    start, end, radius = segments
    reach = radius + np.float32(pixel_mm)
    low, high = np.minimum(start, end) - reach[:, None], np.maximum(start, end) + reach[:, None]
    visible = (high[:, 2] >= zs.min()) & (low[:, 2] <= zs.max())
    first = np.stack([np.searchsorted(xs, low[:, 0]), np.searchsorted(ys, low[:, 1])], 1)
    last = np.stack([np.searchsorted(xs, high[:, 0]), np.searchsorted(ys, high[:, 1])], 1)
    half = np.float32(0.5)
    for i in np.flatnonzero(visible & (last > first).all(1)):
        box = (slice(None), slice(first[i, 1], last[i, 1]), slice(first[i, 0], last[i, 0]))
        (ax, ay, az), (bx, by, bz) = start[i], end[i] - start[i]
        dx, dy, dz = xs[box[2]] - ax, ys[box[1], None] - ay, zs[:, None, None] - az
        along = (dx * bx + dy * by + dz * bz) / (bx * bx + by * by + bz * bz + np.float32(1e-6))
        along = np.minimum(np.maximum(along, 0), 1)  # several times faster than np.clip on arrays this small
        gap = np.sqrt((dx - along * bx) ** 2 + (dy - along * by) ** 2 + (dz - along * bz) ** 2) / np.float32(pixel_mm)
        r = radius[i] / np.float32(pixel_mm)
        inside = np.minimum(np.maximum(half + r - gap, 0), 1)
        if r < half:
            inside -= np.maximum(half - r - gap, 0)
        np.maximum(share[box], inside, out=share[box])
