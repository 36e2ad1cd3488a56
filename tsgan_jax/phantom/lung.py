"""Inside the lungs: aerated tissue, fissures, vessel trees and their bronchi."""

import numpy as np
from scipy import ndimage

from tsgan_jax.phantom import vessels
from tsgan_jax.phantom.shapes import Axes, Canvas, Field, cover, paint, parenchyma, slow_field

LABEL_LEFT, LABEL_RIGHT, LABEL_TRACHEA = 3, 4, 5
"""Codes of LUNA16's seg-lungs-LUNA16 masks."""

TREE_DEPTH_MM = 28.0
"""Vessel trees fill the lungs this far above and below the slices' middle."""


def side_labels(inside: Field, x: Field) -> np.ndarray:
    """LUNA16's codes of the lungs, uint8 [z, y, x].

    A connected region is one lung, even if it crosses the midline.  A region that holds both lungs is divided at the
    midline.
    """
    labels = np.zeros(inside.shape, np.uint8)
    for plane, out, across in zip(inside, labels, x, strict=True):
        parts, _ = ndimage.label(plane < 0)
        left = np.bincount(parts.ravel(), weights=(across > 0).ravel()) / np.maximum(np.bincount(parts.ravel()), 1)
        share = left[parts]
        is_left = np.where(np.abs(share - 0.5) < 0.3, across > 0, share > 0.5)
        out[parts > 0] = np.where(is_left, LABEL_LEFT, LABEL_RIGHT)[parts > 0]
    return labels


def paint_tissue(rng: np.random.Generator, canvas: Canvas, lung: Field, half_depth: float) -> None:
    """Aerated lung: gravity gradient, texture; in some patients emphysema or dependent density."""
    shape, px = canvas.hu.shape, canvas.px
    depth = canvas.y / np.float32(half_depth)
    tissue = np.float32(rng.uniform(-890, -835)) + np.float32(rng.uniform(12, 40)) * depth
    tissue += np.float32(rng.uniform(9, 17)) * parenchyma(rng, shape, px)
    if rng.random() < 0.3:
        holes = slow_field(rng, shape[1:], shape[1] * px, rng.uniform(7, 12))
        tissue -= np.float32(rng.uniform(40, 90)) * np.clip(holes - np.float32(0.9), 0, 1)
    if rng.random() < 0.45:
        patchy = slow_field(rng, shape[1:], shape[1] * px, 12) * np.float32(0.5) + 1
        band = np.exp(-((lung / np.float32(rng.uniform(4, 9))) ** 2)) * np.clip((depth - np.float32(0.45)) * 3, 0, 1)
        tissue += np.float32(rng.uniform(80, 240)) * band * np.clip(patchy, 0, 2)
    canvas.fill(lung, tissue, 1.2)


def paint_fissures(rng: np.random.Generator, canvas: Canvas, lung: Field, z: Field, half: tuple[float, float]) -> None:
    """The oblique fissure of each lung: a faint, thin, curved line that moves forward on the way down."""
    half_width, half_depth = half
    inside = cover(lung + 1, 2.0)
    for side in (-1, 1):
        out = side * canvas.x - np.float32(0.55 * half_width)
        middle = rng.uniform(-0.25, 0.45) * half_depth
        bend = rng.normal(0, 0.004)
        line = (
            canvas.y - np.float32(middle) - np.float32(rng.normal(-0.25, 0.22)) * out - np.float32(bend) * out * out + z
        )
        width = rng.uniform(0.7, 1.3)
        faint = np.float32(rng.uniform(30, 110)) * np.exp(-((line / np.float32(width)) ** 2))
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
            tree = vessels.grow(rng, root, _targets(rng, region, count, axes), rng.uniform(0.40, 0.50))
            vessels.draw(vessel, tree.segments(), axes, px)
            if system == "artery":
                start, end, radius = vessels.bronchi(rng, tree, 1.25)
                vessels.draw(wall, (start, end, radius), axes, px)
                vessels.draw(lumen, (start, end, radius * np.float32(0.68)), axes, px)
    inside = cover(lung - 4, 6.0)
    airy = cover(lung + 1, 3.0)
    paint(hu, wall * airy, -150)
    paint(hu, lumen * airy, -960)
    paint(hu, vessel * inside, blood)
