"""The chest wall: skin, fat, muscle, ribs, sternum, scapulae and one vertebra.

The pleura of the rib cage is a star-shaped outline, radius as a function of the angle from the front.  Its
distance d (mm, positive outwards) and arc length s are coordinates in which layers are bands of d, and ribs,
sternum and scapulae are capsules that follow the wall.
"""

from dataclasses import dataclass

import numpy as np

from tsgan_jax.phantom.shapes import Canvas, Capsule, Ellipse, Field, Shape, slow_field

TABLE = 2048
ANGLE = (np.arange(TABLE) + 0.5) * (360 / TABLE) - 180
"""Degrees from the front, positive towards the patient's left."""

TURN = np.deg2rad(ANGLE)

RIB_LAYER = 10.0
"""Thickness (mm) of ribs and intercostal muscle outside the pleura."""

SKIN = 1.8


@dataclass(frozen=True)
class Spine:
    """A thoracic vertebra cut through its arch: y (mm) of the body's middle, body, arch with processes, canal."""

    y: float
    body: Ellipse
    arch: tuple[Shape, ...]
    canal: Ellipse


@dataclass(frozen=True)
class Wall:
    """Cage semi-axes (mm) and, over the angle: cage radius, distance factor, thickness (mm) of muscle, of everything
    from pleura to skin, and of the breast.  bones: of each kind, arc gap to the nearest, its depth d, its radius (mm).
    """

    half_width: float
    half_depth: float
    radius: np.ndarray
    steepness: np.ndarray
    muscle: np.ndarray
    thickness: np.ndarray
    breast: np.ndarray
    bones: tuple[np.ndarray, ...]
    spine: Spine


def bump(centre: float, width: float) -> np.ndarray:
    """A Gaussian bump of height 1 over the angle (degrees), the same on both sides of the body."""
    return np.exp(-0.5 * ((np.abs(ANGLE) - centre) / width) ** 2)


def draw_wall_plan(rng: np.random.Generator, level: float) -> Wall:
    """A patient's wall at a level of the chest: 0 the aortic arch, 1 the dome of the liver."""
    width = rng.uniform(300, 420)
    depth = width * rng.uniform(0.66, 0.76)
    upper = max(0.0, 1 - level / 0.55)
    lean = np.clip((width - 290) * 0.16 + rng.normal(0, 3), 4, 30)
    muscle = (
        (3 + 9 * upper) * rng.uniform(0.7, 1.4) * bump(45, 17)
        + rng.uniform(7, 12) * bump(88, 22)
        + (8 + 22 * upper) * rng.uniform(0.8, 1.2) * bump(122, 18)
        + rng.uniform(16, 22) * bump(164, 17)
        + 3
    )
    waves = 1 + 0.10 * np.cos(2 * TURN + rng.normal(0, 0.3)) + 0.05 * np.cos(3 * TURN + rng.uniform(0, 6))
    fat = lean * waves * (1 - 0.45 * bump(0, 14))
    breast = np.zeros(TABLE)
    if level > 0.15 and rng.random() < 0.35:
        breast = rng.uniform(10, 38) * bump(rng.uniform(46, 58), rng.uniform(15, 20))
    flesh = RIB_LAYER + muscle + fat
    half_width = float(width / 2 - flesh[np.abs(np.abs(ANGLE) - 90) < 2].mean())
    ends = flesh[np.abs(ANGLE) < 8].mean() + flesh[np.abs(ANGLE) > 172].mean()
    half_depth = float(np.clip((depth - ends) / 2, 0.60 * half_width, 0.86 * half_width))
    radius = _cage_radius(rng, half_width, half_depth)
    steepness = np.sqrt(1 + (np.gradient(radius, np.deg2rad(360 / TABLE)) / radius) ** 2)
    fat = fat + _lying_back(rng, radius, steepness, flesh)
    arc = np.cumsum(radius * steepness) * np.deg2rad(360 / TABLE)
    arc -= arc[TABLE // 2]
    bones = [_ribs(rng, arc, level)]
    if level < rng.uniform(0.45, 0.75):
        bones.append(_scapulae(rng, arc, muscle))
    spine = _spine(rng, half_depth - rng.uniform(46, 55))
    radius, steepness, muscle, fat, breast = np.array([radius, steepness, muscle, fat, breast], np.float32)
    thickness = RIB_LAYER + muscle + fat + breast
    return Wall(half_width, half_depth, radius, steepness, muscle, thickness, breast, tuple(bones), spine)


def _lying_back(rng: np.random.Generator, radius: np.ndarray, steep: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """Soft tissue (mm) that the body's weight removes from or adds to the back, which lies nearly flat."""
    down = -np.cos(TURN)
    y = (radius + thickness * steep) * down
    level, soft = y.max() - rng.uniform(7, 14), rng.uniform(3, 7)
    flat = np.where(down > 0.2, y - soft * np.logaddexp(0, (y - level) / soft), y)
    flat = flat + np.where(down > 0.2, 0.5 * np.clip(level - flat, 0, 12) * bump(180, 6), 0)
    change = (flat - y) / np.maximum(down, 0.2) / steep
    return np.where(down > 0.2, np.maximum(change, RIB_LAYER + 5 - thickness), 0)


def _cage_radius(rng: np.random.Generator, half_width: float, half_depth: float) -> np.ndarray:
    """A rounded, egg-shaped outline, a little narrower in front and nearly the same on both sides."""
    across, along = np.sin(TURN), -np.cos(TURN)
    power = rng.uniform(2.0, 2.35)
    egg = 1 + rng.uniform(0.05, 0.13) * along
    radius = (np.abs(across / (half_width * egg)) ** power + np.abs(along / half_depth) ** power) ** (-1 / power)
    for order in (2, 3, 4, 5):
        radius *= 1 + rng.normal(0, 0.012) * np.cos(order * TURN) + rng.normal(0, 0.004) * np.sin(order * TURN)
    return radius


def _along_wall(arc: np.ndarray, capsules: list[tuple[float, float, float, float, float]]) -> np.ndarray:
    """The table of bones given as (centre, half length, depth, tilt, radius) in arc-length coordinates."""
    centre, half, depth, tilt, radius = np.array(capsules).T[:, :, None]
    gaps = np.maximum(np.abs(arc - centre) - half, 0)
    near = gaps.argmin(0), np.arange(TABLE)
    depths = depth + tilt * np.clip(arc - centre, -half, half)
    return np.array([gaps[near], depths[near], radius[near[0], 0]], np.float32)


def _ribs(rng: np.random.Generator, arc: np.ndarray, level: float) -> np.ndarray:
    """The sternum, and ribs cut obliquely: short ovals at the side, longer towards the spine."""
    half = rng.uniform(11, 17) * (1 if level < 0.75 else 0.6)
    capsules = [(rng.normal(0, 1.5), half, 8.0, 0.0, rng.uniform(4.6, 6.0))]
    for side in (-1, 1):
        first = arc[TABLE // 2 + int(side * TABLE * rng.uniform(0.085, 0.11))]
        last = arc[TABLE // 2 + int(side * TABLE * rng.uniform(0.445, 0.46))]
        count = round(abs(last - first) / rng.uniform(44, 60))
        for share in np.linspace(0, 1, count + 1):
            centre = first + share * (last - first) + rng.normal(0, 5)
            half = rng.uniform(4, 12) + 10 * share**2 * rng.uniform(0.2, 1.3)
            capsules.append((centre, half, rng.uniform(5.2, 6.4), rng.normal(0, 0.16), rng.uniform(3.4, 4.8)))
    return _along_wall(arc, capsules)


def _scapulae(rng: np.random.Generator, arc: np.ndarray, muscle: np.ndarray) -> np.ndarray:
    """Thin blades inside the posterolateral muscle, tilted against the ribs."""
    capsules = []
    for side in (-1, 1):
        place = TABLE // 2 + int(side * TABLE * rng.uniform(0.32, 0.36))
        depth = RIB_LAYER + max(5.0, 0.55 * muscle[place])
        tilt = -side * rng.uniform(-0.02, 0.10)
        capsules.append((arc[place], rng.uniform(14, 28), depth, tilt, rng.uniform(1.8, 2.6)))
    return _along_wall(arc, capsules)


def _spine(rng: np.random.Generator, y: float) -> Spine:
    """Vertebral body at (0, y), arch with its processes, in some slices the necks of ribs, spinal canal."""
    scale = rng.uniform(0.92, 1.1)
    canal = Ellipse(0, y + 23 * scale, 9.5, 8.2)
    tip = rng.uniform(20, 28)
    arch: list[Shape] = [
        Ellipse(0, canal.y + 1, 15 * scale, 12.5 * scale),
        Capsule(0, canal.y + 10, rng.normal(0, 2), canal.y + tip, 4.2, 2.6),
    ]
    tilt = rng.uniform(4, 12)
    necks = rng.random() < 0.4
    for side in (-1, 1):
        arch.append(Capsule(side * 13, canal.y - 1, side * rng.uniform(21, 29), canal.y + tilt, 6.4, 5.0))
        if necks and rng.random() < 0.9:
            arch.append(Capsule(side * 20, canal.y - 14, side * rng.uniform(32, 44), canal.y + tilt + 3, 3.4, 4.2))
    return Spine(y, Ellipse(0, y - 1, 21 * scale, 17.5 * scale), tuple(arch), canal)


def coordinates(wall: Wall, x: Field, y: Field) -> tuple[np.ndarray, Field]:
    """Each point's index in the tables, and d: its signed distance (mm) to the cage outline, negative inside."""
    turn = np.arctan2(x, -y) * (TABLE / (2 * np.pi)) + TABLE / 2
    index = np.minimum(turn.astype(np.int32), TABLE - 1)
    return index, (np.hypot(x, y) - wall.radius[index]) / wall.steepness[index]


def paint_layers(
    rng: np.random.Generator, canvas: Canvas, wall: Wall, index: np.ndarray, d: Field, fine: Field
) -> None:
    """Skin, subcutaneous fat with strands, breast glands, muscle with fat planes, and the mediastinal fat inside."""
    fat_hu = rng.uniform(-112, -96)
    outer = d - wall.thickness[index]
    canvas.fill(outer, 15 + 25 * rng.random())
    canvas.fill(outer + SKIN, fat_hu + np.maximum(fine - 1.4, 0) * 45)
    if wall.breast.any():
        breast = wall.breast[index]
        gland = np.clip((breast - 9) / 12, 0, 1) * np.clip(fine + rng.uniform(-0.6, 0.5), 0, 1)
        middle = np.abs(outer + 0.55 * breast + 4)
        canvas.fill(middle - 0.3 * breast, 25, 6.0, gland)
    edge = np.maximum(d - (RIB_LAYER + wall.muscle)[index], outer + (SKIN + 1))
    canvas.fill(edge + 0.6 * fine, rng.uniform(45, 60))
    marbling = np.clip(fine - rng.uniform(1.0, 1.8), 0, 1) * (d > RIB_LAYER)
    canvas.fill(edge, fat_hu, within=marbling)
    depth = RIB_LAYER + rng.uniform(8, 14)
    thick = (wall.muscle > depth - RIB_LAYER + 3).astype(np.float32)[index]
    plane = np.maximum(np.abs(d - depth - 1.2 * fine) - 0.7, edge)
    canvas.fill(plane, fat_hu, within=0.75 * thick)
    canvas.fill(d + 1.5, fat_hu + 8, 2 * canvas.px)


def paint_skeleton(
    rng: np.random.Generator, canvas: Canvas, wall: Wall, index: np.ndarray, d: Field, core: tuple[slice, slice, slice]
) -> None:
    """Ribs, sternum, scapulae, vertebra with canal and processes, in the patient's bone density."""
    density = rng.uniform(0.75, 1.15)
    shape = canvas.hu.shape
    grain = np.broadcast_to(slow_field(rng, shape[1:], shape[1] * canvas.px, 3.5), shape)
    marrow = density * (150 + 45 * grain)

    def bone(part: Canvas, distance: Field, cortex: float, inner: Field) -> None:
        part.fill(distance, cortex * density)
        part.fill(distance + 1.6, inner)

    for bones in wall.bones:
        gap, depth, radius = bones[:, index]
        bone(canvas, np.hypot(gap, d - depth) - radius, 780, marrow + 60)
    middle, marrow, canal = canvas.part(core), marrow[core], wall.spine.canal
    bone(middle, middle.distance(wall.spine.arch), 700, marrow + 130)
    bone(middle, middle.distance([wall.spine.body]), 560, marrow + 25)
    middle.fill(middle.distance([canal]), 30)
    middle.fill(middle.distance([canal]) + 3.5, 48)
