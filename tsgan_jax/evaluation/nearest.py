"""Search for the nearest training slice, invariant to mirroring and shifts.

The search has two steps.  Coarse, over every training slice: squared differences at 16 px, for both mirrorings and all
shifts up to an eighth of the side, by matrix products.  Fine, over the best few: slices of up to 64 px, smoothed
against noise, with the best shift found in the Fourier domain.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from skimage.measure import block_reduce

from tsgan_jax.images import Window, to_unit
from tsgan_jax.labels import MIRROR, NUM_CLASSES

COARSE, FINE = 16, 64
CANDIDATES = 8
"""Number of training slices in the fine step."""
REACH = 1 / 8
"""Largest shift, as a share of the side."""
SMOOTHING = 1.0
"""Standard deviation, in fine pixels, of the Gaussian that smooths both slices."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """A representation of slices and its distance.

    planes: slices [n, r, r] to float32 [n, c, r, r] whose squared differences, summed over c, are of order 1.
    mirrored: planes of the same slices mirrored left to right.  rooted: whether the distance is the root of the
    mean squared difference or the mean.
    """

    name: str
    planes: Callable[[np.ndarray], Floats]
    mirrored: Callable[[Floats], Floats]
    rooted: bool


@dataclass(frozen=True)
class Match:
    """The nearest training slice.

    index: in the archive; distance: of the level; mirrored: whether the slice was mirrored; shift: (y, x),
    by which it was then moved, as shares of the side.
    """

    index: int
    distance: float
    mirrored: bool
    shift: tuple[float, float]


def mask_level() -> Level:
    """Masks, uint8 class codes.  Distance: for sharp masks the share of pixels whose class differs (Hamming)."""
    scale = np.float32(np.sqrt(0.5))

    def planes(masks: np.ndarray) -> Floats:
        return np.moveaxis(np.eye(NUM_CLASSES, dtype=np.float32)[masks], -1, 1) * scale

    def mirrored(planes: Floats) -> Floats:
        return planes[:, MIRROR, :, ::-1]

    return Level("mask", planes, mirrored, rooted=False)


def ct_level(window: Window) -> Level:
    """CT, HU.  Distance: root mean squared difference as a share of the window, values outside it clipped."""

    def planes(hu: np.ndarray) -> Floats:
        return np.asarray((to_unit(hu, window)[:, None] + 1) / 2, np.float32)

    return Level("ct", planes, lambda planes: planes[..., ::-1], rooted=True)


class Archive:
    """Training slices to compare with.  slices: [n, r, r] in the level's form, r a power of two.

    Memory: the slices at up to 64 px and at 16 px.
    """

    def __init__(self, level: Level, slices: np.ndarray) -> None:
        self._level = level
        self._fine = np.stack([_pool(level.planes(image[None]), FINE)[0] for image in slices])
        self._side = self._fine.shape[-1]
        self._coarse_side = min(COARSE, self._side)
        self._coarse = np.stack([_pool(planes[None], self._coarse_side).ravel() for planes in self._fine])
        self._norms = (self._coarse**2).sum(1)

    def nearest(self, image: np.ndarray) -> Match:
        """The nearest slice to one image [r, r] of the same kind and size as the archive's."""
        planes = _pool(self._level.planes(image[None]), FINE)
        both = (planes, self._level.mirrored(planes))
        coarse = np.stack([self._coarse_distances(side) for side in both])
        best = np.argsort(coarse, axis=None, kind="stable")[:CANDIDATES]
        turned, index = np.unravel_index(best, coarse.shape)
        smooth = [self._smoothed(side[0]) for side in both]
        found = [self._align(smooth[t], int(i), bool(t)) for t, i in zip(turned, index, strict=True)]
        return min(found, key=lambda match: match.distance)

    def _align(self, planes: Floats, index: int, mirrored: bool) -> Match:
        """Distance to one archived slice at the best shift, from the circular correlation of the two."""
        archived = self._smoothed(self._fine[index])
        product = (fft.rfft2(planes).conj() * fft.rfft2(archived)).sum(0)
        correlation = fft.irfft2(product, s=planes.shape[1:])
        reach = max(1, int(self._side * REACH))
        shifts = np.r_[-reach : reach + 1]
        allowed = correlation[np.ix_(shifts, shifts)]
        y, x = np.unravel_index(int(allowed.argmax()), allowed.shape)
        moved = np.roll(planes, (shifts[y], shifts[x]), (1, 2))
        mean = float(np.square(moved - archived, dtype=np.float64).sum() / self._side**2)
        shift = (float(shifts[y]) / self._side, float(shifts[x]) / self._side)
        return Match(index, float(np.sqrt(mean)) if self._level.rooted else mean, mirrored, shift)

    def _smoothed(self, planes: Floats) -> Floats:
        """Planes [c, s, s], smoothed with a Gaussian that wraps around like the shifts."""
        blurred = ndimage.fourier_gaussian(fft.rfft2(planes), (0, SMOOTHING, SMOOTHING), n=self._side)
        return fft.irfft2(blurred, s=planes.shape[1:])

    def _coarse_distances(self, planes: Floats) -> Floats:
        """Least squared distance over the shifts to each archived slice, [n]."""
        small = _pool(planes, self._coarse_side)[0]
        reach = max(1, int(self._coarse_side * REACH))
        shifts = range(-reach, reach + 1)
        moved = np.stack([np.roll(small, (y, x), (1, 2)).ravel() for y in shifts for x in shifts])
        return (self._norms[:, None] - 2 * self._coarse @ moved.T).min(1) + (small**2).sum()


def _pool(planes: Floats, side: int) -> Floats:
    """Means of blocks: [n, c, r, r] to at most [n, c, side, side]."""
    block = max(1, planes.shape[-1] // side)
    return block_reduce(planes, (1, 1, block, block), np.mean)
