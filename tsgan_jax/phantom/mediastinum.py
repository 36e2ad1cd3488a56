"""The organs between the lungs at five levels of the chest: heart, great vessels, airways, oesophagus, liver dome.

Positions are (x, t): x mm towards the patient's left, t from the front of the spine (0) to the sternum (1).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from tsgan_jax.phantom.shapes import Canvas, Capsule, Ellipse, Field, Shape, cover, smooth_max, smooth_min
from tsgan_jax.phantom.wall import Wall


@dataclass(frozen=True)
class AxialLevel:
    """A level of the chest: its share of patients, its place 0 (top) to 1, and the height of the hila above it (mm)."""

    name: str
    share: float
    place: float
    hilum_z: float


LEVELS = (
    AxialLevel("arch", 0.12, 0.08, -58),
    AxialLevel("carina", 0.17, 0.28, -24),
    AxialLevel("hilum", 0.24, 0.45, 0),
    AxialLevel("heart", 0.30, 0.70, 45),
    AxialLevel("dome", 0.17, 0.92, 80),
)


ISLET_MM2 = 500.0
"""Smaller regions of lung in a slice are removed."""


@dataclass(frozen=True)
class Organ:
    """A shape, its tissue (`blood`, `muscle`, `fat`, `liver` or an HU value) and the fat around it (mm)."""

    shape: Shape
    tissue: str | float
    margin: float = 4.0


@dataclass
class Contents:
    """Organs in painting order, airways with wall thickness, what bounds the lungs, and hila (x, y) right and left."""

    organs: list[Organ] = field(default_factory=list)
    airways: list[tuple[Shape, float]] = field(default_factory=list)
    bounds: list[tuple[Shape, float]] = field(default_factory=list)
    domes: list[Shape] = field(default_factory=list)
    hila: tuple[tuple[float, float], tuple[float, float]] = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Frame:
    """Maps (x, t) to mm for one patient, with random variation per patient."""

    rng: np.random.Generator
    front: float
    back: float
    half_width: float

    def y(self, t: float) -> float:
        return self.back + t * (self.front - self.back)

    def near(self, value: float, spread: float = 2.2) -> float:
        return float(self.rng.normal(value, spread))

    def disc(self, x: float, t: float, rx: float, ry: float | None = None, angle: float = 0.0) -> Ellipse:
        """An ellipse near (x, t), its size within a sixth of the one given."""
        size = self.rng.uniform(0.86, 1.16)
        return Ellipse(self.near(x), self.near(self.y(t)), rx * size, (ry or rx) * size, angle)

    def tube(self, a: tuple[float, float], b: tuple[float, float], r0: float, r1: float) -> Capsule:
        """A tube between two places near (x, t)."""
        return Capsule(self.near(a[0]), self.near(self.y(a[1])), self.near(b[0]), self.near(self.y(b[1])), r0, r1)


def draw_contents(rng: np.random.Generator, level: AxialLevel, wall: Wall) -> Contents:
    """One patient's mediastinum at a level."""
    half_depth = wall.half_depth
    frame = Frame(rng, front=-half_depth + 2, back=wall.spine.y - 17, half_width=wall.half_width)
    contents = Contents()
    contents.hila = (
        (frame.near(-44, 3), frame.near(frame.y(0.28), 4)),
        (frame.near(46, 3), frame.near(frame.y(0.24), 4)),
    )
    _along_the_spine(frame, contents, level)
    BUILDERS[level.name](frame, contents)
    thin = rng.uniform(2, 6)
    top = frame.y(0.72)
    contents.bounds += [
        (Capsule(frame.near(2, 2), top, frame.near(0, 2), -half_depth - 10, thin, thin + rng.uniform(1, 8)), 0),
        (Capsule(0, frame.back + 5, 2, frame.y(0.45), 9, 9), 0),
        *((part, 2.0) for part in wall.spine.arch),
    ]
    return contents


def _along_the_spine(frame: Frame, contents: Contents, level: AxialLevel) -> None:
    """Descending aorta (below the arch), oesophagus, azygos vein, and the tissue round the vertebra."""
    back = frame.back + 17
    contents.organs.append(Organ(Ellipse(0, back + 33, 31, 18), "muscle", 0))
    r = frame.rng.uniform(10.5, 14.5)
    if level.name != "arch":
        contents.organs.append(Organ(frame.disc(21, 0.0, r), "blood", 2.0))
    gullet = frame.disc(5, 0.10, 8.5, 5.5, frame.rng.normal(0, 0.4))
    contents.organs += [Organ(gullet, "muscle", 2.5), Organ(frame.disc(-5, 0.03, 4), "blood", 2.5)]
    if frame.rng.random() < 0.4:
        contents.organs.append(Organ(Ellipse(gullet.x, gullet.y, 2.2, 1.7), -600.0, 0.0))
    contents.bounds += [(Ellipse(0, back, 22, 19), 0), (Ellipse(0, back + 32, frame.rng.uniform(27, 34), 22), 0)]


def _arch(frame: Frame, contents: Contents) -> None:
    contents.organs += [
        Organ(frame.tube((22, 0.04), (5, 0.44), 12, 13.5), "blood"),
        Organ(frame.disc(-21, 0.47, 9), "blood"),
        Organ(frame.tube((-8, 0.66), (14, 0.72), 6, 5), "blood", 6),
        Organ(frame.disc(-8, 0.36, 4), "muscle", 3),
    ]
    contents.airways.append((frame.disc(-6, 0.22, 9, 9.5), 2.0))


def _carina(frame: Frame, contents: Contents) -> None:
    contents.organs += [
        Organ(frame.disc(-11, 0.58, 17), "blood"),
        Organ(frame.disc(-33, 0.48, 9), "blood", 3),
        Organ(frame.disc(22, 0.50, 13, 15, 0.5), "blood"),
        Organ(frame.tube((24, 0.45), (36, 0.28), 10, 8), "blood", 3),
        Organ(frame.disc(2, 0.36, 5, 4), "muscle", 3),
        Organ(frame.disc(-37, 0.30, 6, 7), "blood", 2),
    ]
    if frame.rng.random() < 0.5:
        contents.airways.append((frame.disc(-1, 0.20, 13, 7.5), 1.8))
    else:
        contents.airways += [
            (frame.tube((-8, 0.20), (-24, 0.19), 6.8, 6.5), 1.8),
            (frame.tube((9, 0.20), (22, 0.17), 6.3, 5.8), 1.8),
        ]


def _hilum(frame: Frame, contents: Contents) -> None:
    contents.organs += [
        Organ(frame.disc(0, 0.26, 20, 13), "blood"),
        Organ(frame.disc(-12, 0.64, 17), "blood"),
        Organ(frame.disc(-36, 0.50, 9.5), "blood", 3),
        Organ(frame.disc(19, 0.68, 15, 17, 0.4), "blood"),
        Organ(frame.tube((12, 0.48), (-40, 0.34), 9, 8), "blood", 3),
        Organ(frame.tube((-40, 0.34), (-50, 0.26), 7, 5.5), "blood", 2),
        Organ(frame.disc(45, 0.27, 8.5, 7.5), "blood", 2),
        Organ(frame.tube((24, 0.40), (46, 0.42), 8, 5), "blood", 2),
    ]
    contents.airways += [
        (frame.disc(-29, 0.19, 6.2, 5.6), 1.6),
        (frame.tube((17, 0.17), (frame.near(35, 3), 0.19), 5.6, 4.6), 1.6),
    ]


def _heart(frame: Frame, contents: Contents, smallest: float = 0.95) -> None:
    """The four chambers in one pericardium, apex to the left and front: walls of muscle, then the blood in them."""
    rng = frame.rng
    size = rng.uniform(smallest, 1.25 * smallest) * np.clip((frame.back - frame.front) / 140, 0.65, 1.0)
    tilt = rng.normal(0.5, 0.12)
    axis = np.array([np.cos(tilt), -np.sin(tilt)])
    base = np.array([frame.near(-4, 3), frame.y(rng.uniform(0.33, 0.41))])
    left = base + axis * 44 * size * rng.uniform(0.8, 1.2) * frame.half_width / 135
    chambers = [  # place, semi-axes, thickness of the wall, angle
        (left, (50, 34), (16, 18), -tilt),
        (base + axis * 22 * size + np.array([-21, -27]) * size, (47, 27), (8, 9), -0.8 * tilt),
        (base + np.array([-27, -6]) * size, (28, 36), (6, 7), 0.2),
        (base + np.array([4, 24]) * size, (34, 19), (5, 5), 0.1),
    ]
    for tissue, margin, share in (("muscle", 4.0, 0), ("blood", 0.0, 1)):
        for (x, y), (rx, ry), (thick_x, thick_y), angle in chambers:
            shape = Ellipse(x, y, (rx - share * thick_x) * size, (ry - share * thick_y) * size, angle)
            contents.organs.append(Organ(shape, tissue, margin))
    pad = rng.uniform(20, 46) * size
    contents.bounds.append((Ellipse(frame.near(10, 5), frame.y(0.88), pad, 22 * size), 0))
    if rng.random() < 0.5:
        contents.bounds.append((Ellipse(left[0] + axis[0] * 34 * size, left[1] - 14, 20 * size, 24 * size, -tilt), 0))


def _dome(frame: Frame, contents: Contents) -> None:
    """The lower heart, and the diaphragm rising into the right lung, at times into the left one too."""
    rng = frame.rng
    _heart(frame, contents, 0.88)
    r = rng.uniform(16, 0.42 * frame.half_width)
    x = -frame.half_width * rng.uniform(0.44, 0.56)
    y = frame.near(frame.y(0.42), 7)
    contents.domes += [
        Ellipse(x, y, r * rng.uniform(0.85, 1.1), r, rng.normal(0, 0.4)),
        Ellipse(x + r * rng.uniform(0.2, 0.7), y + r * rng.normal(0, 0.35), r * 0.75, r * rng.uniform(0.5, 0.8)),
    ]
    if rng.random() < 0.35:
        r = rng.uniform(10, 28)
        contents.domes.append(
            Ellipse(frame.half_width * rng.uniform(0.56, 0.66), frame.near(frame.y(0.2), 6), r, r * 1.2, rng.normal())
        )


BUILDERS: dict[str, Callable[[Frame, Contents], None]] = {
    "arch": _arch,
    "carina": _carina,
    "hilum": _hilum,
    "heart": _heart,
    "dome": _dome,
}


def paint_organs(canvas: Canvas, contents: Contents, tissues: dict[str, float], pleura: Field) -> Field:
    """Paint the organs over the mediastinal fat; returns the signed distance (mm) to the boundary between the lungs."""
    cage = cover(pleura + 2, 2.0)
    total = np.full_like(canvas.x, 1e3)
    for shape, margin in (*contents.bounds, *((shape, wall + 1) for shape, wall in contents.airways)):
        total = smooth_min(total, canvas.distance([shape]) - np.float32(margin), 9)
    for organ in contents.organs:
        distance = canvas.distance([organ.shape])
        canvas.fill(
            distance, tissues[organ.tissue] if isinstance(organ.tissue, str) else organ.tissue, 1.2, within=cage
        )
        if organ.margin > 0:
            total = smooth_min(total, distance - np.float32(organ.margin), 9)
    for dome in contents.domes:
        total = smooth_min(total, canvas.distance([dome]), 6)
    return total


def paint_domes(rng: np.random.Generator, canvas: Canvas, contents: Contents, value: float, pleura: Field) -> None:
    """The diaphragm over the lung, its edge blurred because a slice cuts it at a slant."""
    if contents.domes:
        distance = canvas.distance(contents.domes, 6)
        canvas.fill(distance, value, rng.uniform(3, 12), within=cover(pleura + 2, 3.0))


def lung_distance(pleura: Field, bound: Field, px: float) -> Field:
    """Signed distance (mm) to the lungs: inside the cage, outside the boundary, with rounded recesses.

    Small regions that the boundary cuts off between vessels belong to the mediastinum.
    """
    inside = smooth_max(pleura, -bound, 9)
    for plane in inside:
        parts, _ = ndimage.label(plane < 0)
        small = np.bincount(parts.ravel()) * px * px < ISLET_MM2
        small[0] = False
        rim = ndimage.binary_dilation(small[parts], iterations=2) & (small[parts] | (parts == 0))
        plane[rim] = np.maximum(plane[rim], max(px, 2.0))
    return inside


def airway_distance(canvas: Canvas, contents: Contents) -> tuple[Field, Field]:
    """Signed distances (mm) to the lumina and to the outside of the walls of trachea and main bronchi."""
    lumen, outside = np.full_like(canvas.x, 1e3), np.full_like(canvas.x, 1e3)
    for shape, wall in contents.airways:
        distance = canvas.distance([shape])
        lumen, outside = np.minimum(lumen, distance), np.minimum(outside, distance - np.float32(wall))
    return lumen, outside
