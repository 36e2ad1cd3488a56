"""The scanner: field of view, table, cover over the patient, point spread, noise and padding."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.phantom import texture
from tsgan_jax.phantom.shapes import Field, cover, paint
from tsgan_jax.phantom.wall import ANGLE, Wall

AIR, LOWEST, HIGHEST = -1000, -1024, 3071


@dataclass(frozen=True)
class ScannerView:
    """Pixel centres (mm), pixel size (mm), round field of view (none: square), its padding (HU), table and kernel."""

    xs: np.ndarray
    ys: np.ndarray
    pixel_mm: float
    circle: bool
    padding: int
    table_y: float
    table_curve: float
    table_gap: float
    blur_mm: float
    sharpen: float
    noise_hu: float
    cutoff: float
    streak_hu: float


def draw_view(rng: np.random.Generator, plan: Wall, size: int) -> ScannerView:
    """Field of view around the patient, sometimes slightly too small; a soft or a sharp reconstruction kernel."""
    x, y = plan.skin_outline()
    extent = max(np.ptp(x), np.ptp(y)) * rng.uniform(0.97, 1.18)
    pixel = float(np.round(extent / size, 6))
    steps = (np.arange(size) - (size - 1) / 2) * pixel
    middle = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2 + rng.uniform(-8, 14)
    sharp = rng.random() < 0.4
    return ScannerView(
        xs=(steps + middle[0] + rng.normal(0, 3)).astype(np.float32),
        ys=(steps + middle[1]).astype(np.float32),
        pixel_mm=pixel,
        circle=bool(rng.random() < 0.65),
        padding=int(rng.choice([-2000, -1024, -2048, -3024], p=[0.45, 0.35, 0.1, 0.1])),
        table_y=float(y.max() + rng.uniform(4, 10)),
        table_curve=float(rng.uniform(0.0003, 0.0011)),
        table_gap=float(rng.uniform(14, 42)),
        blur_mm=float(rng.uniform(0.45, 0.6) if sharp else rng.uniform(0.6, 0.9)),
        sharpen=float(rng.uniform(0.3, 0.7) if sharp else 0.0),
        noise_hu=float(rng.uniform(24, 36) if sharp else rng.uniform(14, 24)),
        cutoff=float(rng.uniform(0.4, 0.55) if sharp else rng.uniform(0.25, 0.4)),
        streak_hu=float(rng.uniform(6, 16) if np.ptp(x) > 380 else 0.0),
    )


def paint_table(hu: Field, view: ScannerView, axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Two thin curved shells behind the patient with light foam between them, and a mattress on top."""
    _, ys, xs = axes
    x, y = xs[None, None, :], ys[None, :, None]
    top = np.float32(view.table_y) - np.float32(view.table_curve) * x * x
    bottom = np.float32(view.table_y + view.table_gap) - np.float32(0.35 * view.table_curve) * x * x
    end = np.abs(x) - np.float32(215)
    edge = max(view.pixel_mm, 1.0)
    paint(hu, cover(np.maximum(np.maximum(top - y, y - bottom), end), edge), -955)
    paint(hu, cover(np.maximum(np.maximum(top - 6 - y, y - top), end), 3.0), -930)
    for line in (np.maximum(np.abs(y - top) - 0.9, end), np.maximum(np.abs(y - bottom) - 1.1, end)):
        paint(hu, cover(line, edge), -180)


def paint_cover(rng: np.random.Generator, hu: Field, beyond: Field, index: np.ndarray, px: float) -> None:
    """A gown: a thin, wavy, broken line off the front of the skin, in half of the patients."""
    if rng.random() < 0.5:
        return
    turn = np.deg2rad(ANGLE)
    lift = 5 + sum(rng.uniform(0, 3.5) * np.cos(k * turn + rng.uniform(0, 6)) for k in (1, 3, 7, 13, 21))
    seen = (np.cos(turn) > -0.3) * np.clip(sum(np.cos(k * turn + rng.uniform(0, 6)) for k in (2, 5, 9)) + 0.7, 0, 1)
    gap = np.abs(beyond - np.maximum(lift, 1).astype(np.float32)[index]) - np.float32(0.35)
    paint(hu, seen.astype(np.float32)[index] * cover(gap, px), rng.uniform(-900, -750))


def reconstruct(
    rng: np.random.Generator,
    hu: Field,
    beyond: Field,
    view: ScannerView,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """Point spread and noise of the kernel, then clipping and padding: int16 [z, y, x]."""
    px = view.pixel_mm
    blurred = ndimage.gaussian_filter(hu, (0, view.blur_mm / px, view.blur_mm / px))
    if view.sharpen:
        wide = ndimage.gaussian_filter(hu, (0, 1.1 / px, 1.1 / px))
        blurred += np.float32(view.sharpen) * (blurred - wide)
    depth = np.clip(-beyond / np.float32(130), -0.15, 1)
    noise = texture.reconstruction_noise(rng, hu.shape, px, view.cutoff) * np.float32(view.noise_hu)
    if view.streak_hu:
        noise += texture.streaks(rng, hu.shape) * np.float32(view.streak_hu)
    out = np.clip(np.rint(blurred + noise * (np.float32(0.75) + np.float32(0.5) * depth)), LOWEST, HIGHEST)
    if view.circle:
        _, ys, xs = axes
        reach = np.hypot(xs[None, :] - xs.mean(), ys[:, None] - ys.mean())
        out[:, reach > px * len(xs) / 2] = view.padding
    return out.astype(np.int16)
