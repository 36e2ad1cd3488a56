"""Random fields: smooth fields that deform the anatomy, lung texture, and the noise of a reconstruction kernel."""

import numpy as np
from scipy import fft, ndimage

from tsgan_jax.phantom.shapes import Field


def slow_field(rng: np.random.Generator, shape: tuple[int, int], extent_mm: float, wavelength_mm: float) -> np.ndarray:
    """A smooth field [h, w] of about unit deviation that varies over `wavelength_mm`."""
    knots = max(4, round(extent_mm / wavelength_mm) + 3)
    coarse = rng.standard_normal((knots, knots)).astype(np.float32)
    steps = [(knots - 3.001) / (size - 1) for size in shape]  # between the second knot and the last but one
    return ndimage.affine_transform(coarse, steps, 1, shape, order=3, prefilter=False) * np.float32(1.9)


def _frequency(shape: tuple[int, ...], pixel_mm: float) -> np.ndarray:
    """Radial frequency (cycles per mm) of each rfft2 coefficient."""
    fy = fft.fftfreq(shape[-2], pixel_mm)[:, None]
    fx = fft.rfftfreq(shape[-1], pixel_mm)[None, :]
    return np.hypot(fy, fx).astype(np.float32)


def _filtered(rng: np.random.Generator, shape: tuple[int, ...], gain: np.ndarray) -> Field:
    """White noise through a radial filter, scaled to zero mean and unit deviation."""
    white = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    noise = fft.irfft2(white * gain.astype(np.float32), s=shape[-2:])
    return ((noise - noise.mean()) / (noise.std() + 1e-12)).astype(np.float32)


def parenchyma(rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float) -> Field:
    """Lung texture of unit deviation on several scales (power law, 2 to 40 mm), correlated between slices."""
    f = _frequency(shape, pixel_mm)
    gain = (f + 1 / 40) ** -1.3 * np.exp(-((f * 2.0) ** 2))
    gain[0, 0] = 0
    shared = _filtered(rng, (1, *shape[1:]), gain)
    return np.float32(0.85) * shared + np.float32(0.53) * _filtered(rng, shape, gain)


def reconstruction_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], pixel_mm: float, cutoff: float
) -> Field:
    """Unit-deviation noise with the spectrum of filtered back-projection: a ramp, apodised at `cutoff` (1/mm)."""
    f = _frequency(shape, pixel_mm)
    return _filtered(rng, shape, (f + 0.02) * np.exp(-((f / cutoff) ** 2)))
