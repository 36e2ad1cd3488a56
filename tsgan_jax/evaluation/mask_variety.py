"""Precision and recall of generated masks on measured anatomy.

As in Kynkäänniemi et al. 2019, but with sizes and positions of organs instead of a network's features: precision is the
share of generated masks near a real one, recall the share of real masks near a generated one.  Near means: within the
other mask's distance to its k-th nearest neighbour of the same kind.  Both rise with the number of masks, so equal
numbers are compared; for larger sets the figure is the mean over random subsets.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from tsgan_jax.components import SMALLEST_NODULE, components
from tsgan_jax.evaluation.distances import precision_recall
from tsgan_jax.evaluation.intervals import LEVEL, Interval
from tsgan_jax.evaluation.records import Record
from tsgan_jax.labels import BACKGROUND, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA

ORGANS = ("body", "left lung", "right lung")
SHAPE = ("size", "x", "y", "width", "height")
"""Features of an organ, in mm: root of its area, centroid, standard deviation of its pixels along x and y."""

FEATURES = (
    *(f"{organ}: {part}" for organ in ORGANS for part in SHAPE),
    *("trachea: size", "trachea: x", "trachea: y"),
    *("nodules: number", "largest nodule: size", "largest nodule: x", "largest nodule: y"),
)
"""Columns of `mask_features`.  Sizes are roots of areas in mm; a nodule's x and y are shares of the body's bounding
box, the others mm from the slice's corner."""

NEAREST = 3
"""k, as in Kynkäänniemi et al."""

DRAWS = 20
"""Number of random subsets for sets larger than the compared number."""

Features = NDArray[np.float64]


class Figures(NamedTuple):
    """Precision and recall, 0 to 1."""

    precision: float
    recall: float


def mask_features(masks: Iterable[NDArray[np.uint8]], pixel_mm: float) -> Features:
    """float64 [n, d], a column for each of FEATURES, of masks uint8 [h, w]; pixel_mm: side of a pixel.

    NaN: position and shape of absent organs and nodules.  An absent organ has size 0; an absent nodule has size NaN,
    because the number of nodules already differs.  Specks are not nodules (A28).
    """
    return np.array([_features(mask, pixel_mm) for mask in masks], np.float64).reshape(-1, len(FEATURES))


def scaled(real: Features, *sets: Features) -> list[Features]:
    """The sets, standardised with the mean and standard deviation of `real` [n, d].

    Features that are constant in `real` are removed; a missing value becomes the real mean.
    """
    known = np.isfinite(real)
    count = known.sum(0).clip(1)
    mean = np.where(known, real, 0.0).sum(0) / count
    deviation = np.sqrt((np.where(known, real - mean, 0.0) ** 2).sum(0) / count)
    varied = deviation > 1e-9 * np.abs(mean).clip(1e-9)
    return [np.nan_to_num((one[:, varied] - mean[varied]) / deviation[varied], nan=0.0) for one in sets]


def compared(real: Features, generated: Features, size: int, k: int = NEAREST) -> Figures:
    """Precision and recall of scaled features [n, d] and [m, d] on `size` of each; size above k, at most n and m."""
    rng = np.random.default_rng(0)
    draws = 1 if len(real) == len(generated) == size else DRAWS
    found = []
    for _ in range(draws):
        chosen = [rng.permutation(len(one))[:size] for one in (real, generated)]
        found.append(_figures(real[chosen[0]], generated[chosen[1]], k))
    return Figures(*(float(value) for value in np.mean(found, axis=0)))


def measure_variety(
    record: "partial[Record]",
    generated: Features,
    test: Features,
    training: Features,
    scans: Sequence[str] | None = None,
    k: int = NEAREST,
    bootstraps: int = 200,
) -> list[Record]:
    """Two records of the subject "variety": precision and recall of generated masks against real test masks.

    record: makes a Record of the remaining fields.  generated, test, training: features of generated, real test and
    real training masks; scans: the series of each test mask, None: every mask is a separate scan.  The floor is the
    figure of equally many training masks against the same test masks.  The interval is a bootstrap of half-samples, as
    in `frechet`, because a repeated mask would be its own nearest neighbour.
    """
    size = min(len(one) for one in (generated, test, training) if len(one))
    make = partial(record, subject="variety", n=len(generated))
    if size <= k:
        reason = f"{size} masks of one kind; precision and recall need {k + 1} or more of each"
        return [make(metric=name, value=None, reason=reason) for name in Figures._fields]
    real, made, known = scaled(test, test, generated, training)
    if not real.shape[1]:
        reason = "all real test masks are equal"
        return [make(metric=name, value=None, reason=reason) for name in Figures._fields]
    value = compared(real, made, size, k)
    floor = compared(real, known, size, k) if len(known) else None
    details = {"k": k, "n_each": size, "n_real": len(real), "features": real.shape[1]}
    return [
        make(metric=name, value=value[place], interval=interval, floor=floor and floor[place], details=details)
        for place, (name, interval) in enumerate(
            zip(Figures._fields, _intervals(value, real, made, scans, k, bootstraps), strict=True)
        )
    ]


def _figures(real: Features, generated: Features, k: int) -> tuple[float, float]:
    """Distances are not computed from inner products, so that identical masks have distance exactly 0."""
    within = cdist(real, real, "sqeuclidean"), cdist(generated, generated, "sqeuclidean")
    return precision_recall(within[0], within[1], cdist(real, generated, "sqeuclidean"), k)


def _intervals(
    value: Figures, real: Features, made: Features, scans: Sequence[str] | None, k: int, times: int
) -> list[Interval | None]:
    """95 %, from halves of the generated masks and of the scans of the real ones, without replacement."""
    names = np.arange(len(real)) if scans is None else np.unique(scans, return_inverse=True)[1]
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(times if len(groups) > 1 else 0):
        half = np.concatenate([groups[place] for place in rng.permutation(len(groups))[: len(groups) // 2]])
        size = min(len(half), len(made) // 2)
        if size <= k:
            return [None, None]
        chosen = rng.permutation(half)[:size], rng.permutation(len(made))[:size]
        found.append(_figures(real[chosen[0]], made[chosen[1]], k))
    if not found:
        return [None, None]
    low, middle, high = np.percentile(found, (LEVEL[0], 50.0, LEVEL[1]), axis=0)
    ends = np.clip(np.stack([value + low - middle, value + high - middle], axis=1), 0.0, 1.0)
    return [(float(one), float(other)) for one, other in ends]


def _features(mask: NDArray[np.uint8], pixel_mm: float) -> list[float]:
    body = mask != BACKGROUND
    organs = (body, mask == LEFT_LUNG, mask == RIGHT_LUNG)
    row = [value for organ in organs for value in _shape(organ, pixel_mm)]
    return row + _shape(mask == TRACHEA, pixel_mm)[:3] + _nodules(mask == NODULE, body, pixel_mm)


def _shape(region: NDArray[np.bool_], pixel_mm: float) -> list[float]:
    """The values of SHAPE."""
    columns, rows = region.sum(0), region.sum(1)
    area = int(columns.sum())
    if not area:
        return [0.0] + [np.nan] * (len(SHAPE) - 1)
    xs, ys = (np.arange(len(counts)) * pixel_mm for counts in (columns, rows))
    x, y = (columns @ xs) / area, (rows @ ys) / area
    width, height = np.sqrt(columns @ (xs - x) ** 2 / area), np.sqrt(rows @ (ys - y) ** 2 / area)
    return [float(np.sqrt(area) * pixel_mm), float(x), float(y), float(width), float(height)]


def _nodules(region: NDArray[np.bool_], body: NDArray[np.bool_], pixel_mm: float) -> list[float]:
    """Number of nodules, and size and position of the largest one."""
    found = [one for one in components(region) if SMALLEST_NODULE.admits(one, pixel_mm)]
    if not found:
        return [0.0, np.nan, np.nan, np.nan]
    largest = max(found, key=lambda one: one.pixels)
    left, top, width, height = largest.box
    place = []
    for axis, centre in ((0, left + width / 2), (1, top + height / 2)):
        occupied = np.flatnonzero(body.any(axis))
        place.append((centre - occupied[0]) / (occupied[-1] + 1 - occupied[0]))
    return [float(len(found)), float(np.sqrt(largest.pixels) * pixel_mm), *place]
