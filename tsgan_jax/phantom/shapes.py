"""What the chest is painted with: signed distances in the plane (mm, negative inside), blending in Hounsfield units,
and random fields, smooth ones and filtered noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

Field = np.ndarray
"""float32 [z, y, x]."""

Axes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""z, y and x coordinates (mm) of the slices, rows and columns."""


@dataclass(frozen=True)
class Ellipse:
    """An ellipse with semi-axes `rx`, `ry` (mm) turned by `angle` (radians, from x towards y)."""

    x: float
    y: float
    rx: float
    ry: float
    angle: float = 0.0

    def distance(self, x: Field, y: Field) -> Field:
        """Approximate signed distance: exact on the outline, first order near it."""
        c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        if self.angle:
            dx, dy = c * dx + s * dy, c * dy - s * dx
        if self.rx == self.ry:
            return np.sqrt(dx * dx + dy * dy) - np.float32(self.rx)
        px, py = dx * np.float32(1 / self.rx), dy * np.float32(1 / self.ry)
        square = px * px + py * py
        px *= np.float32(1 / self.rx)
        py *= np.float32(1 / self.ry)
        return (square - np.sqrt(square)) / np.sqrt(px * px + py * py + 1e-9)


@dataclass(frozen=True)
class Capsule:
    """A segment from (x0, y0) to (x1, y1) thickened by a radius that goes from `r0` to `r1` (mm)."""

    x0: float
    y0: float
    x1: float
    y1: float
    r0: float
    r1: float

    def distance(self, x: Field, y: Field) -> Field:
        """Signed distance (exact where r0 == r1)."""
        ax, ay = np.float32(self.x1 - self.x0), np.float32(self.y1 - self.y0)
        dx, dy = x - np.float32(self.x0), y - np.float32(self.y0)
        along = np.clip((dx * ax + dy * ay) / (ax * ax + ay * ay), 0, 1)
        gap = np.sqrt((dx - along * ax) ** 2 + (dy - along * ay) ** 2)
        return gap - np.float32(self.r0) - along * np.float32(self.r1 - self.r0)


Shape = Ellipse | Capsule


def smooth_min(a: Field, b: Field, radius: float) -> Field:
    """Union of two shapes with its inner corners filled to about `radius` mm."""
    blend = np.maximum(radius - np.abs(a - b), 0)
    return np.minimum(a, b) - blend * blend * (0.25 / radius)


def cover(distance: Field, width: float) -> Field:
    """Share of a pixel inside a shape, 0..1, for an edge `width` mm wide: partial volume."""
    return np.clip(0.5 - distance / width, 0, 1)


def paint(hu: Field, share: Field, value: Field | float) -> None:
    """Blend `value` HU over `hu` in place, by `share` 0..1."""
    hu += share * (value - hu)


@dataclass(frozen=True)
class Canvas:
    """Slices that are painted.  hu: float32 [z, y, x]; x, y: each voxel's place in the anatomy (mm); px: pixel (mm)."""

    hu: Field
    x: Field
    y: Field
    px: float

    def part(self, window: tuple[slice, slice, slice]) -> "Canvas":
        """A part of the slices, which is painted in place."""
        return Canvas(self.hu[window], self.x[window], self.y[window], self.px)

    def distance(self, shapes: Sequence[Shape], join_mm: float = 4.0) -> Field:
        """Signed distance (mm) to the union of one or more shapes, inner corners filled to about `join_mm`."""
        total = shapes[0].distance(self.x, self.y)
        for shape in shapes[1:]:
            total = smooth_min(total, shape.distance(self.x, self.y), join_mm)
        return total

    def fill(self, distance: Field, value: Field | float, width: float = 0.0, within: Field | float = 1.0) -> None:
        """Blend `value` HU over a shape with an edge of `width` mm, a pixel at least, by the share `within` 0..1."""
        paint(self.hu, within * cover(distance, max(width, self.px)), value)


def slow_field(rng: np.random.Generator, shape: tuple[int, int], extent_mm: float, wavelength_mm: float) -> np.ndarray:
    """A smooth field [h, w] of about unit deviation that varies over `wavelength_mm`."""
    knots = max(4, round(extent_mm / wavelength_mm) + 3)
    coarse = rng.standard_normal((knots, knots)).astype(np.float32)
    steps = [(knots - 3.001) / (size - 1) for size in shape]  # between the second knot and the last but one
    return ndimage.affine_transform(coarse, steps, 1, shape, order=3, prefilter=False) * 1.9


def filtered_noise(
    rng: np.random.Generator, shape: tuple[int, ...], pixel_mm: float, gain: Callable[[np.ndarray], np.ndarray]
) -> Field:
    """White noise through a radial filter, `gain` of the frequency (cycles per mm), with mean 0 and deviation 1."""
    frequency = np.hypot(fft.fftfreq(shape[-2], pixel_mm)[:, None], fft.rfftfreq(shape[-1], pixel_mm))
    white = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    noise = fft.irfft2(white * gain(frequency.astype(np.float32)), s=shape[-2:])
    return (noise - noise.mean()) / (noise.std() + 1e-12)
