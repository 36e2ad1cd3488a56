"""Similarity of generated CT and the real CT of the same mask: PSNR and SSIM (Eq. 12 and 13, Table 1; A31, A39, A43).

Only real test masks have a ground truth.  PSNR uses the HU window scaled to 12 bits (0 to 4095, MAX 4095, not rounded),
SSIM the 8-bit images in that window (L 255).  Neither depends on the scale, if its range is scaled too.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tsgan_jax.evaluation.intervals import bootstrap, by_scan
from tsgan_jax.evaluation.records import MakeRecord, Record
from tsgan_jax.evaluation.regions import REGIONS, Region, lungs, nodule_squares
from tsgan_jax.images import Window, to_uint8, to_unit

if TYPE_CHECKING:
    from tsgan_jax.data.pipeline import SliceSet

MAX_12_BIT = 4095.0
METRICS = ("PSNR", "SSIM", "SSIM-uniform7")
"""SSIM is that of Wang et al. 2004, with an 11x11 Gaussian; SSIM-uniform7 is scikit-image's default."""
WINDOWS: tuple[tuple[int, dict[str, Any]], ...] = (
    (11, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
    (7, {}),
)
"""Side of each SSIM's window, and scikit-image's options for it."""

Row = tuple[str, tuple[float, ...]]
"""A scan, and the figures of METRICS of one of its images."""


def measure_similarity(
    record: MakeRecord, real: "SliceSet", generated: NDArray, window: Window, repeats: int = 200
) -> list[Record]:
    """Records of three metrics on each region.  real: test slices; generated: HU [n, r, r], made from their masks.

    The floor uses a real slice of another scan in place of the generated one.  interval: 95 % over scans.  A region
    that no slice has, and PSNR of images that all equal the real ones, have a reason instead of a value.
    Raises ValueError unless there is one generated image for each real one.
    """
    found: dict[Region, list[Row]] = defaultdict(list)
    floors: dict[Region, list[Row]] = defaultdict(list)
    for place, (image, stranger) in enumerate(zip(generated, _strangers(real.seriesuid), strict=True)):
        for region, row in _rows(real, place, image, window):
            found[region].append(row)
        for region, row in _rows(real, place, real.ct[stranger], window) if stranger is not None else ():
            floors[region].append(row)
    facts = {"window_hu": list(window), "psnr_scale": "window to 0..4095", "ssim_scale": "window to 0..255, 8 bits"}
    out = []
    for region in REGIONS:
        for place, metric in enumerate(METRICS):
            usable = [(scan, row[place]) for scan, row in found[region] if np.isfinite(row[place])]
            floor = [row[place] for _, row in floors[region] if np.isfinite(row[place])]
            equal = sum(row[place] == np.inf for _, row in found[region])
            scans, values = [scan for scan, _ in usable], np.array([value for _, value in usable])
            one = record(
                region,
                metric,
                float(values.mean()) if usable else None,
                len(usable),
                interval=bootstrap(np.mean, by_scan(values, scans), times=repeats),
                floor=float(np.mean(floor)) if floor else None,
                reason=None if usable else _reason(region, len(found[region]), equal),
                details={**facts, "scans": len(set(scans)), "equal": equal},
            )
            out.append(one)
    return out


def _reason(region: Region, count: int, equal: int) -> str:
    """Why a region has no value.  count: its images; equal: those that equal the real ones."""
    if equal:
        return "every image equals its real one, so that PSNR is infinite"
    if count:
        return "the images are smaller than the window of SSIM"
    return f"no real slice has {region} to compare"


def _strangers(seriesuid: Sequence[str]) -> list[int | None]:
    """For each slice one of another scan, without repetition if possible; None if there is only one scan."""
    n = len(seriesuid)
    order = sorted(range(n), key=lambda i: seriesuid[i])
    largest = max((list(seriesuid).count(name) for name in set(seriesuid)), default=0)
    found: list[int | None] = [None] * n
    for place, i in enumerate(order):
        other = order[(place + largest) % n]
        found[i] = other if seriesuid[other] != seriesuid[i] else None
    return found


def _rows(real: "SliceSet", place: int, other: NDArray, window: Window) -> Iterator[tuple[Region, Row]]:
    """The figures of each region of one slice; none for lungs without a pixel."""
    mask, scan = real.mask[place], real.seriesuid[place]
    a, b = real.ct[place].astype(np.float32), np.asarray(other, np.float32)
    inside: dict[Region, NDArray[np.bool_]] = {"full": np.ones(mask.shape, bool), "lungs": lungs(mask)}
    some = {region: pixels for region, pixels in inside.items() if pixels.any()}
    for region, row in zip(some, _similarity(a, b, some.values(), window), strict=True):
        yield region, (scan, row)
    for square in nodule_squares(mask):
        (row,) = _similarity(a[square], b[square], [np.ones(a[square].shape, bool)], window)
        yield "nodules", (scan, row)


def _similarity(
    real: NDArray, generated: NDArray, regions: Iterable[NDArray[np.bool_]], window: Window
) -> list[tuple[float, ...]]:
    """The figures of METRICS of two images, HU [r, r], for the pixels of each region, bool [r, r].

    PSNR is in dB, infinite for equal images.  SSIM is the mean of its map over the pixels whose window is in the image;
    NaN if there are none.
    """
    a, b = ((to_unit(hu, window) + 1) * np.float32(MAX_12_BIT / 2) for hu in (real, generated))
    shown = [to_uint8(hu, window) for hu in (real, generated)]
    maps = []
    for side, options in WINDOWS:
        if min(real.shape) >= side:
            middle = slice(side // 2, -(side // 2))
            found = structural_similarity(*shown, data_range=255, full=True, **options)[1]
            maps.append((found[middle, middle], middle))
    rows = []
    for inside in regions:
        with np.errstate(divide="ignore"):
            values = [float(peak_signal_noise_ratio(a[inside], b[inside], data_range=MAX_12_BIT))]
        pixels = [found[inside[middle, middle]] for found, middle in maps]
        values += [float(some.mean()) if some.size else np.nan for some in pixels]
        rows.append((*values, *[np.nan] * (len(METRICS) - len(values))))
    return rows
