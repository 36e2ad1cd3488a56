"""The organs between the lungs at six levels of the chest: heart, great vessels, airways, oesophagus, liver dome.

Positions are (x, t): x mm towards the patient's left, t from the front of the spine (0) to the sternum (1).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from tsgan_jax.phantom.shapes import Canvas, Capsule, Ellipse, Field, Shape, cover, smooth_min
from tsgan_jax.phantom.wall import Wall

Row = tuple[str, float, tuple[float, ...], tuple[float, ...]]
"""Tissue; fat around it (mm), of an `airway` the thickness of its wall; (x, t) of an ellipse or of both ends of a tube;
semi-axes (mm) and angle of the ellipse, or radii of the tube's ends."""

_ARCH: tuple[Row, ...] = (
    ("blood", 4, (22, 0.04, 5, 0.44), (12, 13.5)),
    ("blood", 4, (-21, 0.47), (9, 9)),
    ("blood", 6, (-8, 0.66, 14, 0.72), (6, 5)),
    ("muscle", 3, (-8, 0.36), (4, 4)),
    ("airway", 2.0, (-6, 0.22), (9, 9.5)),
)
_CARINA: tuple[Row, ...] = (
    ("blood", 4, (-11, 0.58), (17, 17)),
    ("blood", 3, (-33, 0.48), (9, 9)),
    ("blood", 4, (22, 0.50), (13, 15, 0.5)),
    ("blood", 3, (24, 0.45, 36, 0.28), (10, 8)),
    ("muscle", 3, (2, 0.36), (5, 4)),
    ("blood", 2, (-37, 0.30), (6, 7)),
)
_HILUM: tuple[Row, ...] = (
    ("blood", 4, (0, 0.26), (20, 13)),
    ("blood", 4, (-12, 0.64), (17, 17)),
    ("blood", 3, (-36, 0.50), (9.5, 9.5)),
    ("blood", 4, (19, 0.68), (15, 17, 0.4)),
    ("blood", 3, (12, 0.48, -40, 0.34), (9, 8)),
    ("blood", 2, (-40, 0.34, -50, 0.26), (7, 5.5)),
    ("blood", 2, (45, 0.27), (8.5, 7.5)),
    ("blood", 2, (24, 0.40, 46, 0.42), (8, 5)),
    ("airway", 1.6, (-29, 0.19), (6.2, 5.6)),
    ("airway", 1.6, (17, 0.17, 35, 0.19), (5.6, 4.6)),
)
_TRACHEA: Row = ("airway", 1.8, (-1, 0.20), (13, 7.5))
_BRONCHI: tuple[Row, ...] = (
    ("airway", 1.8, (-8, 0.20, -24, 0.19), (6.8, 6.5)),
    ("airway", 1.8, (9, 0.20, 22, 0.17), (6.3, 5.8)),
)
_AORTA: Row = ("blood", 2, (21, 0.0), (12.5, 12.5))


@dataclass(frozen=True)
class AxialLevel:
    """A level of the chest: its share of patients, its place 0 (top) to 1, the height of the hila above it (mm), and
    its organs without heart and diaphragm."""

    name: str
    share: float
    place: float
    hilum_z: float
    organs: tuple[Row, ...]


LEVELS = (
    AxialLevel("arch", 0.12, 0.08, -58, _ARCH),
    AxialLevel("carina", 0.085, 0.28, -24, (_AORTA, *_CARINA, _TRACHEA)),
    AxialLevel("bronchi", 0.085, 0.28, -24, (_AORTA, *_CARINA, *_BRONCHI)),
    AxialLevel("hilum", 0.24, 0.45, 0, (_AORTA, *_HILUM)),
    AxialLevel("heart", 0.30, 0.70, 45, (_AORTA,)),
    AxialLevel("dome", 0.17, 0.92, 80, (_AORTA,)),
)

ISLET_MM2 = 500.0
"""Smaller regions of lung in a slice are removed."""


@dataclass
class Contents:
    """What is painted, shapes with numbers in mm.

    organs: tissue, shape and the fat around it, in painting order; airways: shape and thickness of its wall; bounds:
    what else bounds the lungs, and the fat around it; domes: of the diaphragm; hila: (x, y) right and left.
    """

    hila: tuple[tuple[float, float], tuple[float, float]]
    organs: list[tuple[str, Shape, float]] = field(default_factory=list)
    airways: list[tuple[Shape, float]] = field(default_factory=list)
    bounds: list[tuple[Shape, float]] = field(default_factory=list)
    domes: list[Shape] = field(default_factory=list)


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

    def shape(self, place: tuple[float, ...], radii: tuple[float, ...]) -> Shape:
        """The shape of a row, near its place; an ellipse's size is within a sixth of the one given."""
        x, y = self.near(place[0]), self.near(self.y(place[1]))
        if len(place) == 4:
            return Capsule(x, y, self.near(place[2]), self.near(self.y(place[3])), *radii)
        size = self.rng.uniform(0.86, 1.16)
        return Ellipse(x, y, radii[0] * size, radii[1] * size, *radii[2:])


def draw_contents(rng: np.random.Generator, level: AxialLevel, wall: Wall) -> Contents:
    """One patient's mediastinum at a level."""
    front, back = -wall.half_depth + 2, wall.spine.y - 17
    frame = Frame(rng, front, back, wall.half_width)
    right, left = ((frame.near(x, 3), frame.near(frame.y(t), 4)) for x, t in ((-44, 0.28), (46, 0.24)))
    contents = Contents((right, left), [("muscle", Ellipse(0, back + 50, 31, 18), 0)])
    gullet = ("muscle", 2.5, (5, 0.10), (8.5, 5.5, rng.normal(0, 0.4)))
    azygos = ("blood", 2.5, (-5, 0.03), (4, 4))
    for tissue, margin, place, radii in (gullet, azygos, *level.organs):
        shape = frame.shape(place, radii)
        if tissue == "airway":
            contents.airways.append((shape, margin))
        else:
            contents.organs.append((tissue, shape, margin))
    if level.name in ("heart", "dome"):
        _add_heart(frame, contents, 0.95 if level.name == "heart" else 0.88)
    if level.name == "dome":
        _add_domes(frame, contents)
    thin = rng.uniform(2, 6)
    septum = Capsule(frame.near(2), frame.y(0.72), frame.near(0), front - 12, thin, thin + rng.uniform(1, 8))
    contents.bounds += [
        (septum, 0),
        (Capsule(0, back + 5, 2, frame.y(0.45), 9, 9), 0),
        (Ellipse(0, back + 17, 22, 19), 0),
        (Ellipse(0, back + 49, rng.uniform(27, 34), 22), 0),
        *((part, 2.0) for part in wall.spine.arch),
    ]
    return contents


def _add_heart(frame: Frame, contents: Contents, smallest: float) -> None:
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
            contents.organs.append((tissue, shape, margin))
    pad = rng.uniform(20, 46) * size
    contents.bounds.append((Ellipse(frame.near(10, 5), frame.y(0.88), pad, 22 * size), 0))
    if rng.random() < 0.5:
        contents.bounds.append((Ellipse(left[0] + axis[0] * 34 * size, left[1] - 14, 20 * size, 24 * size, -tilt), 0))


def _add_domes(frame: Frame, contents: Contents) -> None:
    """The diaphragm rising into the right lung, at times into the left one too."""
    rng = frame.rng
    r = rng.uniform(16, 0.42 * frame.half_width)
    x, y = -frame.half_width * rng.uniform(0.44, 0.56), frame.near(frame.y(0.42), 7)
    contents.domes += [
        Ellipse(x, y, r * rng.uniform(0.85, 1.1), r, rng.normal(0, 0.4)),
        Ellipse(x + r * rng.uniform(0.2, 0.7), y + r * rng.normal(0, 0.35), r * 0.75, r * rng.uniform(0.5, 0.8)),
    ]
    if rng.random() < 0.35:
        r, x = rng.uniform(10, 28), frame.half_width * rng.uniform(0.56, 0.66)
        contents.domes.append(Ellipse(x, frame.near(frame.y(0.2), 6), r, r * 1.2, rng.normal()))


def paint_organs(canvas: Canvas, contents: Contents, tissues: dict[str, float], pleura: Field) -> Field:
    """Paint the organs over the mediastinal fat; returns the signed distance (mm) to the boundary between the lungs."""
    cage = cover(pleura + 2, 2.0)
    total = np.full_like(canvas.x, 1e3)
    for shape, margin in [*contents.bounds, *((shape, wall + 1) for shape, wall in contents.airways)]:
        total = smooth_min(total, canvas.distance([shape]) - margin, 9)
    for tissue, shape, margin in contents.organs:
        distance = canvas.distance([shape])
        canvas.fill(distance, tissues[tissue], 1.2, within=cage)
        if margin > 0:
            total = smooth_min(total, distance - margin, 9)
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
    inside = -smooth_min(-pleura, bound, 9)
    for plane in inside:
        parts, _ = ndimage.label(plane < 0)
        small = np.bincount(parts.ravel()) * px * px < ISLET_MM2
        small[0] = False
        rim = ndimage.binary_dilation(small[parts], iterations=2) & (small[parts] | (parts == 0))
        plane[rim] = np.maximum(plane[rim], max(px, 2.0))
    return inside


def airway_distance(canvas: Canvas, contents: Contents) -> tuple[Field, Field]:
    """Signed distances (mm) to the lumina and to the outside of the walls of trachea and main bronchi."""
    lumen = outside = np.full_like(canvas.x, 1e3)
    for shape, wall in contents.airways:
        distance = canvas.distance([shape])
        lumen, outside = np.minimum(lumen, distance), np.minimum(outside, distance - wall)
    return lumen, outside
