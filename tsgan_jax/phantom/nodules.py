"""Pulmonary nodules: sizes as in LUNA16, places in or at the lungs, and their shapes."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.phantom.shapes import Axes, Field, paint

MEDIAN_MM = 6.8
SPREAD = 0.55
"""Deviation of the logarithm of the diameter; LUNA16's annotations have median 6.4 mm and 95th percentile 20 mm."""


@dataclass(frozen=True)
class PhantomNodule:
    """Centre (x, y, z mm), diameter (mm) and kind: solid, part-solid, spiculated or calcified."""

    centre: tuple[float, ...]
    diameter_mm: float
    kind: str


def draw_diameters(rng: np.random.Generator, limits: tuple[float, float]) -> list[float]:
    """Diameters (mm) within `limits` of a patient's one to three nodules, the largest first."""
    count = rng.choice([1, 2, 3], p=[0.6, 0.27, 0.13])
    values: list[float] = []
    while len(values) < count:
        value = float(MEDIAN_MM * np.exp(SPREAD * rng.standard_normal()))
        if limits[0] <= value <= limits[1]:
            values.append(value)
    return sorted(values, reverse=True)


def draw_kind(rng: np.random.Generator, diameter: float) -> str:
    """Small ones may be calcified, large ones spiculated."""
    chance = rng.random()
    if chance < 0.15:
        return "part-solid" if diameter > 6 else "solid"
    if chance < 0.25:
        return "calcified" if diameter < 10 else "spiculated"
    return "spiculated" if chance < 0.45 and diameter > 8 else "solid"


def place(
    rng: np.random.Generator, lungs: np.ndarray, diameter: float, axes: Axes, taken: list[PhantomNodule]
) -> tuple[float, float] | None:
    """x, y (mm) for a nodule in the lungs [h, w] (bool), a quarter of them at the pleura; None where none fits."""
    _, ys, xs = axes
    px = float(xs[1] - xs[0])
    depth = ndimage.distance_transform_edt(lungs) * px
    radius = diameter / 2
    free = np.ones_like(lungs)
    for other in taken:
        gap = np.hypot(xs[None, :] - other.centre[0], ys[:, None] - other.centre[1])
        free &= gap > radius + other.diameter_mm / 2 + 4
    if rng.random() < 0.25:
        good = free & (depth > 0.65 * radius + 0.5 * px) & (depth < 0.9 * radius + 1.5 * px)
    else:
        good = free & (depth > radius + 2)
    if not good.any():
        good = free & (depth > 0.9 * depth.max(where=free, initial=0)) & (depth > 0.5 * radius)
    rows, cols = np.nonzero(good)
    if not len(rows):
        return None
    pick = rng.integers(len(rows))
    jitter = rng.uniform(-0.3, 0.3, 2) * px
    return float(xs[cols[pick]] + jitter[0]), float(ys[rows[pick]] + jitter[1])


def paint_nodule(rng: np.random.Generator, hu: Field, nodule: PhantomNodule, axes: Axes, pleura: Field) -> None:
    """Blend a lobulated, possibly spiculated or part-solid body over the lung; the chest wall stays as it is."""
    zs, ys, xs = axes
    px = float(xs[1] - xs[0])
    radius = nodule.diameter_mm / 2
    reach = 1.9 * radius + 2 * px
    rows = slice(*np.searchsorted(ys, [nodule.centre[1] - reach, nodule.centre[1] + reach]))
    cols = slice(*np.searchsorted(xs, [nodule.centre[0] - reach, nodule.centre[0] + reach]))
    box = (slice(None), rows, cols)
    dx = xs[cols][None, None, :] - nodule.centre[0]
    dy = ys[rows][None, :, None] - nodule.centre[1]
    dz = zs[:, None, None] - nodule.centre[2]
    distance = np.sqrt(dx * dx + dy * dy + dz * dz)
    lobes = _lobes(rng, (dx, dy, dz), distance, 0.05 if nodule.diameter_mm < 6 else rng.uniform(0.05, 0.11))
    edge = distance - radius * lobes
    soft = max(px, 0.8)
    share = np.clip(0.5 - edge / soft, 0, 1)
    if nodule.kind == "spiculated":
        share = np.maximum(share, _spicules(rng, (dx, dy), distance - radius, radius))
    tissue = {"solid": rng.uniform(0, 60), "part-solid": rng.uniform(-20, 30), "calcified": rng.uniform(180, 420)}
    value: Field = np.full(edge.shape, tissue.get(nodule.kind, 35.0), np.float32)
    if nodule.kind == "part-solid":
        core = np.clip(0.5 - (distance - radius * rng.uniform(0.5, 0.65) * lobes) / (soft + 0.12 * radius), 0, 1)
        value = core * value + (1 - core) * np.float32(rng.uniform(-620, -420))
    region = hu[box]
    share = share * np.clip(0.5 + (1 - pleura[box]) / soft, 0, 1) * (value > region)
    paint(region, share.astype(np.float32), value.astype(np.float32))


def _lobes(rng: np.random.Generator, offset: tuple[Field, Field, Field], distance: Field, strength: float) -> Field:
    """A factor about 1 on the radius that varies with direction."""
    factor: Field = np.ones(distance.shape)
    scale = 1 / (distance + 1e-3)
    for _ in range(5):
        way = rng.normal(size=3)
        way *= rng.uniform(2.0, 4.5) / np.linalg.norm(way)
        turn = (offset[0] * way[0] + offset[1] * way[1] + offset[2] * way[2]) * scale
        factor = factor + strength * np.cos(turn + rng.uniform(0, 2 * np.pi)) * 0.63
    return factor / factor.mean()


def _spicules(rng: np.random.Generator, offset: tuple[Field, Field], beyond: Field, radius: float) -> Field:
    """Thin rays that leave the surface and fade within half a radius to one radius."""
    angle = np.arctan2(offset[1], offset[0])
    gap = np.hypot(offset[0], offset[1])
    rays = np.zeros(beyond.shape)
    for turn in rng.uniform(0, 2 * np.pi, rng.integers(7, 13)):
        across = gap * np.sin(np.clip((angle - turn + np.pi) % (2 * np.pi) - np.pi, -1.5, 1.5))
        length = radius * rng.uniform(0.35, 0.85)
        fade = np.clip(1 - beyond / length, 0, 1) * (beyond > -0.3 * radius)
        rays = np.maximum(rays, 0.75 * fade * np.exp(-((across / 0.8) ** 2)))
    return rays
