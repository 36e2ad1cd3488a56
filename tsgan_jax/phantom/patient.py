"""One patient: a plan drawn from a seed, painted slice by slice in Hounsfield units."""

from dataclasses import dataclass, replace

import numpy as np

from tsgan_jax.config import PhantomConfig
from tsgan_jax.phantom import lung, mediastinum, nodules, scanner, wall
from tsgan_jax.phantom.nodules import PhantomNodule
from tsgan_jax.phantom.shapes import Axes, Canvas, slow_field

THICKEST_MM = 2.5
SPACINGS_Z = (2.5, 2.0, 1.5, 1.25, 1.0, 0.8, 0.625, 0.5)
"""Slice spacings (mm) of LUNA16's scans; a small first nodule takes a finer one, so that every slice crosses it."""


@dataclass(frozen=True)
class Patient:
    """A chest CT slab with its ground truth, arrays in LPS: x to the patient's left, y to the back, z to the head.

    hu: int16 [z, y, x], -2000 outside some round fields of view.
    lungs: uint8 [z, y, x] as LUNA16 codes them: 3 left, 4 right, 5 trachea and main bronchi.
    spacing: (z, y, x) mm.  origin: world (x, y, z) mm of voxel [0, 0, 0].
    nodules: centres in world mm; the first is the largest and crosses every slice.
    flipped: stored with x and y reversed, as some LUNA16 scans are.  compressed: stored as .zraw.
    """

    hu: np.ndarray
    lungs: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    nodules: tuple[PhantomNodule, ...]
    level: str
    flipped: bool
    compressed: bool


def patient(seed: int, config: PhantomConfig) -> Patient:
    """The patient of `config.seed` and `seed`; `config.slices` and `config.size` set the grid."""
    rng = np.random.default_rng([config.seed, seed])
    level = mediastinum.LEVELS[rng.choice(len(mediastinum.LEVELS), p=[v.share for v in mediastinum.LEVELS])]
    diameters = nodules.draw_diameters(rng, config.nodule_mm)
    plan = wall.draw_wall_plan(rng, level.place)
    contents = mediastinum.draw_contents(rng, level, plan)
    view = scanner.draw_view(rng, plan, config.size)
    spacing_z = _slice_spacing(diameters[0], config.slices)
    zs = ((np.arange(config.slices) - (config.slices - 1) / 2) * spacing_z).astype(np.float32)
    axes = (zs, view.ys, view.xs)
    hu, lungs, found = _paint(rng, plan, contents, level, view, axes, diameters)
    origin = (float(view.xs[0]), float(rng.uniform(-60, 60) + view.ys[0]), float(rng.uniform(-320, -60)))
    shift = np.subtract(origin, [view.xs[0], view.ys[0], zs[0]])
    return Patient(
        hu=hu,
        lungs=lungs,
        spacing=(spacing_z, view.pixel_mm, view.pixel_mm),
        origin=origin,
        nodules=tuple(replace(n, centre=tuple((n.centre + shift).tolist())) for n in found),
        level=level.name,
        flipped=bool(rng.random() < 0.12),
        compressed=bool(rng.random() < 0.8),
    )


def _slice_spacing(diameter: float, slices: int) -> float:
    """The largest of LUNA16's spacings at which every slice still crosses the nodule, its centre off by a fifth."""
    if slices == 1:
        return THICKEST_MM
    widest = 0.95 * diameter / (slices - 1 + 0.4)
    return next((s for s in SPACINGS_Z if s <= widest), round(widest, 4))


def _warped(rng: np.random.Generator, axes: Axes, px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anatomical x, y, z [z, y, x] of each voxel: the grid, smoothly deformed, with small changes per slice."""
    zs, ys, xs = axes
    shape, extent = (len(ys), len(xs)), len(xs) * px
    z = np.broadcast_to(zs[:, None, None], (len(zs), *shape))
    bent = []
    for base in (np.broadcast_to(xs[None, :], shape), np.broadcast_to(ys[:, None], shape)):
        still = base + 2.6 * slow_field(rng, shape, extent, 75)
        still += 0.9 * slow_field(rng, shape, extent, 28)
        bent.append(still + z * 0.09 * slow_field(rng, shape, extent, 45))
    return bent[0].astype(np.float32), bent[1].astype(np.float32), z


def _paint(
    rng: np.random.Generator,
    plan: wall.Wall,
    contents: mediastinum.Contents,
    level: mediastinum.AxialLevel,
    view: scanner.ScannerView,
    axes: Axes,
    diameters: list[float],
) -> tuple[np.ndarray, np.ndarray, list[PhantomNodule]]:
    """HU int16, lung labels uint8 and the nodules, centres in the axes' own mm."""
    px = view.pixel_mm
    x, y, z = _warped(rng, axes, px)
    canvas = Canvas(np.full(x.shape, -1000, np.float32), x, y, px)
    index, pleura = wall.coordinates(plan, x, y)
    fine = np.broadcast_to(slow_field(rng, x.shape[1:], x.shape[1] * px, 6), x.shape)
    # About half of the patients have contrast medium in their blood.
    blood = rng.uniform(36, 48) if rng.random() < 0.55 else rng.uniform(110, 280)
    tissues = {"blood": blood, "muscle": rng.uniform(42, 55) + 0.12 * (blood - 40), "liver": 55 + 0.2 * blood}

    scanner.paint_table(canvas.hu, view)
    wall.paint_layers(rng, canvas, plan, index, pleura, fine)
    # Mediastinum and spine are computed in a part of the slices, which saves two thirds.
    rows = slice(*np.searchsorted(axes[1], [-plan.half_depth - 14, plan.spine.y + 82]))
    core = slice(None), rows, slice(*np.searchsorted(axes[2], [-125, 130]))
    middle = canvas.part(core)
    bound = np.full_like(x, 1e3)
    bound[core] = mediastinum.paint_organs(middle, contents, tissues, pleura[core])
    inside = mediastinum.lung_distance(pleura, bound, px)
    lumen, outside = mediastinum.airway_distance(middle, contents)
    lungs = lung.side_labels(inside, x)
    lungs[core][lumen < 0] = lung.LABEL_TRACHEA

    lung.paint_tissue(rng, canvas, inside, plan.half_depth)
    mediastinum.paint_domes(rng, canvas, contents, tissues["liver"], pleura)
    lung.paint_fissures(rng, canvas, inside, z, plan)
    above = level.hilum_z + rng.normal(0, 7)
    right, left = (np.array([*place, above], np.float32) for place in contents.hila)
    lung.paint_trees(rng, canvas, inside, lungs, (right, left), axes, blood)
    middle.fill(outside, 20)
    middle.fill(lumen, -985)
    wall.paint_skeleton(rng, canvas, plan, index, pleura, core)
    found = _place_nodules(rng, lungs, diameters, axes)
    for nodule in found:
        nodules.paint_nodule(rng, canvas.hu, nodule, axes, pleura)
    return scanner.reconstruct(rng, canvas.hu, pleura - plan.thickness[index], view), lungs, found


def _place_nodules(
    rng: np.random.Generator, lungs: np.ndarray, diameters: list[float], axes: Axes
) -> list[PhantomNodule]:
    """The first nodule in the middle slice, the others anywhere in the slab."""
    zs = axes[0]
    spacing = float(zs[1] - zs[0]) if len(zs) > 1 else THICKEST_MM
    found: list[PhantomNodule] = []
    for number, diameter in enumerate(diameters):
        slice_index = len(zs) // 2 if number == 0 else int(rng.integers(len(zs)))
        z = float(np.median(zs) if number == 0 else zs[slice_index]) + rng.uniform(-0.2, 0.2) * spacing
        where = np.isin(lungs[slice_index], (lung.LABEL_LEFT, lung.LABEL_RIGHT))
        spot = nodules.place(rng, where, diameter, axes, found)
        if spot is not None:
            found.append(PhantomNodule((*spot, z), diameter, nodules.draw_kind(rng, diameter)))
    return found
