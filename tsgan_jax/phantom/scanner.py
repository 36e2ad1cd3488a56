"""The scanner: field of view, table, cover over the patient, point spread, noise and padding."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tsgan_jax.phantom.shapes import Field, cover, filtered_noise, paint
from tsgan_jax.phantom.wall import TURN, Wall

LOWEST, HIGHEST = -1024, 3071


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


def draw_view(rng: np.random.Generator, plan: Wall, size: int) -> ScannerView:
    """Field of view around the patient, sometimes slightly too small; a soft or a sharp reconstruction kernel."""
    reach = plan.radius + plan.thickness * plan.steepness
    x, y = reach * np.sin(TURN), -reach * np.cos(TURN)  # the skin
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
    )


def paint_table(hu: Field, view: ScannerView) -> None:
    """Two thin curved shells behind the patient with light foam between them."""
    x, y = view.xs[None, None, :], view.ys[None, :, None]
    top = view.table_y - view.table_curve * x * x
    bottom = (view.table_y + view.table_gap) - (0.35 * view.table_curve) * x * x
    end = np.abs(x) - 215
    edge = max(view.pixel_mm, 1.0)
    paint(hu, cover(np.maximum(np.maximum(top - y, y - bottom), end), edge), -955)
    for shell in (top, bottom):
        paint(hu, cover(np.maximum(np.abs(y - shell) - 1, end), edge), -180)


def reconstruct(rng: np.random.Generator, hu: Field, beyond: Field, view: ScannerView) -> np.ndarray:
    """Point spread and noise of the kernel, clipping and padding: int16 [z, y, x].  beyond: mm outside the skin."""
    px = view.pixel_mm
    blurred = ndimage.gaussian_filter(hu, (0, view.blur_mm / px, view.blur_mm / px))
    if view.sharpen:
        wide = ndimage.gaussian_filter(hu, (0, 1.1 / px, 1.1 / px))
        blurred += view.sharpen * (blurred - wide)
    depth = np.clip(-beyond / 130, -0.15, 1)
    # The spectrum of filtered back-projection: a ramp, apodised.
    noise = filtered_noise(rng, hu.shape, px, lambda f: (f + 0.02) * np.exp(-((f / view.cutoff) ** 2)))
    noise *= view.noise_hu
    out = np.clip(np.rint(blurred + noise * (0.75 + 0.5 * depth)), LOWEST, HIGHEST)
    if view.circle:
        reach = np.hypot(view.xs[None, :] - view.xs.mean(), view.ys[:, None] - view.ys.mean())
        out[:, reach > px * len(view.xs) / 2] = view.padding
    return out.astype(np.int16)
