"""Inside the lungs: aerated tissue, fissures, vessel trees and their bronchi.

Trees branch from the hila into the lungs in three dimensions and are drawn into a few slices.  A tree joins each of
many random targets to the node that costs least: distance to it plus a share of its path from the root.  Radii follow
Murray's law: a parent carries the sum of its children's r**MURRAY.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.phantom.shapes import Axes, Canvas, Field, cover, filtered_noise, paint, slow_field
from tsgan_jax.phantom.wall import Wall

LABEL_LEFT, LABEL_RIGHT, LABEL_TRACHEA = 3, 4, 5
"""Codes of LUNA16's seg-lungs-LUNA16 masks."""

TREE_DEPTH_MM = 28.0
"""Vessel trees fill the lungs this far above and below the slices' middle."""

ROOT_PATH_WEIGHT = 0.6
MURRAY = 2.4
PIECES = 3
"""Straight pieces of the bent line that joins one target to the tree."""

Segments = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Start [m, 3], end [m, 3] (x, y, z mm) and radius [m] of vessel pieces."""


def side_labels(inside: Field, x: Field) -> np.ndarray:
    """LUNA16's codes of the lungs, uint8 [z, y, x].

    A connected region is one lung, even if it crosses the midline.  A region that holds both lungs is divided at the
    midline.
    """
    labels = np.zeros(inside.shape, np.uint8)
    for plane, out, across in zip(inside, labels, x, strict=True):
        parts, count = ndimage.label(plane < 0)
        share = np.concatenate([[0], ndimage.mean(across > 0, parts, range(1, count + 1))])[parts]
        is_left = np.where(np.abs(share - 0.5) < 0.3, across > 0, share > 0.5)
        out[parts > 0] = np.where(is_left, LABEL_LEFT, LABEL_RIGHT)[parts > 0]
    return labels


def paint_tissue(rng: np.random.Generator, canvas: Canvas, lung: Field, half_depth: float) -> None:
    """Aerated lung: gravity gradient, texture; in some patients emphysema or dependent density."""
    shape, px = canvas.hu.shape, canvas.px
    depth = canvas.y / half_depth
    tissue = rng.uniform(-890, -835) + rng.uniform(12, 40) * depth
    tissue += rng.uniform(9, 17) * _parenchyma(rng, shape, px)
    if rng.random() < 0.3:
        holes = slow_field(rng, shape[1:], shape[1] * px, rng.uniform(7, 12))
        tissue -= rng.uniform(40, 90) * np.clip(holes - 0.9, 0, 1)
    if rng.random() < 0.45:
        patchy = slow_field(rng, shape[1:], shape[1] * px, 12) * 0.5 + 1
        band = np.exp(-((lung / rng.uniform(4, 9)) ** 2)) * np.clip((depth - 0.45) * 3, 0, 1)
        tissue += rng.uniform(80, 240) * band * np.clip(patchy, 0, 2)
    canvas.fill(lung, tissue, 1.2)


def _parenchyma(rng: np.random.Generator, shape: tuple[int, ...], px: float) -> Field:
    """Texture of unit deviation on several scales (power law, 2 to 40 mm), correlated between slices."""

    def gain(f: np.ndarray) -> np.ndarray:
        return (f + 1 / 40) ** -1.3 * np.exp(-((f * 2.0) ** 2)) * (f > 0)

    shared = filtered_noise(rng, (1, *shape[1:]), px, gain)
    return 0.85 * shared + 0.53 * filtered_noise(rng, shape, px, gain)


def paint_fissures(rng: np.random.Generator, canvas: Canvas, lung: Field, z: Field, wall: Wall) -> None:
    """The oblique fissure of each lung: a faint, thin, curved line that moves forward on the way down."""
    inside = cover(lung + 1, 2.0)
    for side in (-1, 1):
        out = side * canvas.x - 0.55 * wall.half_width
        middle = rng.uniform(-0.25, 0.45) * wall.half_depth
        bend = rng.normal(0, 0.004)
        slope = rng.normal(-0.25, 0.22)
        line = canvas.y - middle - slope * out - bend * out * out + z
        width = rng.uniform(0.7, 1.3)
        faint = rng.uniform(30, 110) * np.exp(-((line / width) ** 2))
        canvas.hu[...] += inside * (side * canvas.x > 12) * faint


def _targets(rng: np.random.Generator, where: np.ndarray, count: int, axes: Axes) -> np.ndarray:
    """Random places (x, y, z mm) in the region [h, w]: float32 [count, 3]."""
    rows, cols = np.nonzero(where)
    pick = rng.integers(0, len(rows), count)
    zs, ys, xs = axes
    step = xs[1] - xs[0]
    jitter = rng.uniform(-0.5, 0.5, (2, count)) * step
    depth = zs.mean() + rng.uniform(-TREE_DEPTH_MM, TREE_DEPTH_MM, count)
    return np.stack([xs[cols[pick]] + jitter[0], ys[rows[pick]] + jitter[1], depth], 1).astype(np.float32)


def paint_trees(
    rng: np.random.Generator,
    canvas: Canvas,
    lung: Field,
    labels: np.ndarray,
    hila: tuple[np.ndarray, np.ndarray],
    axes: Axes,
    blood: float,
) -> None:
    """Arteries with their bronchi, and veins, from each hilum (x, y, z mm; right, left) into its lung."""
    hu, px = canvas.hu, canvas.px
    middle = len(labels) // 2
    vessel, wall, lumen = (np.zeros_like(hu) for _ in range(3))
    for label, hilum in zip((LABEL_RIGHT, LABEL_LEFT), hila, strict=True):
        region = (labels[middle] == label) & (lung[middle] < -3)
        if region.sum() < 20:
            continue
        area = float(region.sum()) * px * px
        for system in ("artery", "vein"):
            root = hilum + np.array([0, 0, 0 if system == "artery" else -6], np.float32)
            count = int(rng.uniform(0.015, 0.021) * area * min(1.0, 2.5 / px))  # coarse pixels hide twigs
            tree = grow(rng, root, _targets(rng, region, count, axes), rng.uniform(0.40, 0.50))
            draw(vessel, tree.segments(), axes, px)
            if system == "artery":
                start, end, radius = _bronchi(rng, tree, 1.25)
                draw(wall, (start, end, radius), axes, px)
                draw(lumen, (start, end, radius * 0.68), axes, px)
    inside = cover(lung - 4, 6.0)
    airy = cover(lung + 1, 3.0)
    paint(hu, wall * airy, -150)
    paint(hu, lumen * airy, -960)
    paint(hu, vessel * inside, blood)


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


def _bronchi(rng: np.random.Generator, tree: VesselTree, smallest_mm: float) -> Segments:
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
    reach = radius + pixel_mm
    low, high = np.minimum(start, end) - reach[:, None], np.maximum(start, end) + reach[:, None]
    visible = (high[:, 2] >= zs.min()) & (low[:, 2] <= zs.max())
    first = np.stack([np.searchsorted(xs, low[:, 0]), np.searchsorted(ys, low[:, 1])], 1)
    last = np.stack([np.searchsorted(xs, high[:, 0]), np.searchsorted(ys, high[:, 1])], 1)
    for i in np.flatnonzero(visible & (last > first).all(1)):
        box = (slice(None), slice(first[i, 1], last[i, 1]), slice(first[i, 0], last[i, 0]))
        (ax, ay, az), (bx, by, bz) = start[i], end[i] - start[i]
        dx, dy, dz = xs[box[2]] - ax, ys[box[1], None] - ay, zs[:, None, None] - az
        along = (dx * bx + dy * by + dz * bz) / (bx * bx + by * by + bz * bz + 1e-6)
        along = np.minimum(np.maximum(along, 0), 1)  # several times faster than np.clip on arrays this small
        gap = np.sqrt((dx - along * bx) ** 2 + (dy - along * by) ** 2 + (dz - along * bz) ** 2) / pixel_mm
        r = radius[i] / pixel_mm
        inside = np.minimum(np.maximum(0.5 + r - gap, 0), 1)
        if r < 0.5:
            inside -= np.maximum(0.5 - r - gap, 0)
        np.maximum(share[box], inside, out=share[box])
