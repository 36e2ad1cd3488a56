"""Precision and recall of generated masks on measured anatomy.

As in Kynkäänniemi et al. 2019, but with sizes and positions of organs instead of a network's features: precision is the
share of generated masks near a real one, recall the share of real masks near a generated one.  Near means: within the
other mask's distance to its k-th nearest neighbour of the same kind.  Both rise with the number of masks, so equal
numbers are compared; for larger sets the figure is the mean over random subsets.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.preprocessing import StandardScaler

from tsgan_jax.components import SMALLEST_NODULE, components
from tsgan_jax.evaluation.distances import Matrices, Matrix, on_equal_numbers
from tsgan_jax.evaluation.intervals import by_scan, half_samples
from tsgan_jax.evaluation.records import MakeRecord, Record
from tsgan_jax.labels import BACKGROUND, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA

SHAPE = ("size", "x", "y", "width", "height")
"""Features of an organ, in mm: root of its area, centroid, standard deviation of its pixels along x and y."""
FEATURES = (
    *(f"{organ}: {part}" for organ in ("body", "left lung", "right lung") for part in SHAPE),
    *("trachea: size", "trachea: x", "trachea: y"),
    *("nodules: number", "largest nodule: size", "largest nodule: x", "largest nodule: y"),
)
"""Columns of `mask_features`.  Sizes are roots of areas in mm; a nodule's x and y are shares of the body's bounding
box, the others mm from the slice's corner."""
NEAREST = 3
"""k, as in Kynkäänniemi et al."""
DRAWS = 20
"""Number of random subsets for sets larger than the compared number."""


def mask_features(masks: Iterable[NDArray[np.uint8]], pixel_mm: float) -> Matrix:
    """[n, d], a column for each of FEATURES, of masks uint8 [h, w]; pixel_mm: side of a pixel.

    NaN: position and shape of absent organs and nodules.  An absent organ has size 0; an absent nodule has size NaN,
    because the number of nodules already differs.  Specks are not nodules (A28).
    """
    return np.array([_features(mask, pixel_mm) for mask in masks], np.float64).reshape(-1, len(FEATURES))


def scaled(real: Matrix, *sets: Matrix) -> list[Matrix]:
    """The sets, standardised with the mean and standard deviation of `real` [n, d].

    Features that are constant in `real` are removed; a missing value becomes the real mean.
    """
    with np.errstate(invalid="ignore"):  # a feature that no real mask has is removed below
        scaler = StandardScaler().fit(real)
    varied = scaler.var_ > (1e-9 * np.abs(scaler.mean_).clip(1e-9)) ** 2
    return [np.nan_to_num(scaler.transform(one)[:, varied], nan=0.0) if len(one) else one[:, varied] for one in sets]


def compared(real: Matrix, generated: Matrix, size: int, k: int = NEAREST) -> tuple[float, float]:
    """Precision and recall of scaled features [n, d] and [m, d] on `size` of each; size above k, at most n and m."""
    rng, distances = np.random.default_rng(0), _distances(real, generated)
    found = []
    for _ in range(1 if len(real) == len(generated) == size else DRAWS):
        i, j = (rng.permutation(len(one))[:size] for one in (real, generated))
        found.append(on_equal_numbers(distances, i, j, k))
    precision, recall = np.mean(found, axis=0)
    return float(precision), float(recall)


def measure_variety(
    record: MakeRecord,
    generated: Matrix,
    test: Matrix,
    training: Matrix,
    scans: Sequence[str] | None = None,
    k: int = NEAREST,
    bootstraps: int = 200,
) -> list[Record]:
    """Two records of the subject "variety": precision and recall of generated masks against real test masks.

    generated, test, training: features of generated, real test and real training masks; scans: the series of each test
    mask, None: every mask is a separate scan.  The floor is the figure of equally many training masks against the same
    test masks.
    """
    size = min(len(one) for one in (generated, test, training) if len(one))
    record = partial(record, "variety", n=len(generated))
    reason = f"{size} masks of one kind; precision and recall need {k + 1} or more of each" if size <= k else None
    real, made, known = scaled(test, test, generated, training)
    if not reason and not real.shape[1]:
        reason = "all real test masks are equal"
    if reason:
        return [record(name, value=None, reason=reason) for name in ("precision", "recall")]
    value, distances = compared(real, made, size, k), _distances(real, made)
    figures, groups = partial(on_equal_numbers, distances, k=k), by_scan(np.arange(len(real)), scans)
    intervals = half_samples(value, figures, groups, len(made), bootstraps, [(0.0, 1.0)] * 2)
    floor = compared(real, known, size, k) if len(known) else (None, None)
    details = {"k": k, "n_each": size, "n_real": len(real), "features": real.shape[1]}
    return [
        record(name, value=value[place], interval=intervals[place], floor=floor[place], details=details)
        for place, name in enumerate(("precision", "recall"))
    ]


def _distances(real: Matrix, generated: Matrix) -> Matrices:
    """Not from inner products as sklearn's, so that identical masks have distance exactly 0."""
    return cdist(real, real), cdist(generated, generated), cdist(real, generated)


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
    return [float(len(found)), float(np.sqrt(largest.pixels) * pixel_mm), *place_in(body, largest.box)]


def place_in(body: NDArray[np.bool_], box: tuple[int, int, int, int]) -> tuple[float, float]:
    """x and y of the centre of a box (x, y, width, height), as shares of the body's bounding box."""
    shares = []
    for axis in (0, 1):
        occupied = np.flatnonzero(body.any(axis))
        start, end = occupied[0], occupied[-1] + 1
        shares.append(float((box[axis] + box[axis + 2] / 2 - start) / (end - start)))
    return shares[0], shares[1]
