"""Similarity of generated CT and the real CT of the same mask: PSNR and SSIM (Eq. 12 and 13, Table 1; A31, A39, A43).

Only real test masks have a ground truth.  PSNR uses the HU window scaled to 12 bits (0 to 4095, MAX 4095, not rounded),
SSIM the 8-bit images in that window (L 255).  Neither depends on the scale, if its range is scaled too.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.evaluation.intervals import Interval, bootstrap
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.regions import SUBJECTS, Subject, lungs, nodule_squares
from tsgan_jax.images import Window, to_uint8, to_unit
from tsgan_jax.types import Array

if TYPE_CHECKING:
    from tsgan_jax.data.pipeline import SliceSet

MAX_12_BIT = 4095.0
MAX_8_BIT = 255.0
K1, K2 = 0.01, 0.03
METRICS = ("PSNR", "SSIM", "SSIM-uniform7")
"""SSIM is that of Wang et al. 2004, with an 11x11 Gaussian; SSIM-uniform7 is scikit-image's default."""
BATCH_PIXELS = 2**18
"""Number of comparisons per batch."""

Image = NDArray[np.float32]


class Similarity(NamedTuple):
    """Figures of n pairs: PSNR in dB (infinite for equal images), SSIM with the Gaussian and with the uniform
    window."""

    psnr: Array
    gaussian: Array
    uniform: Array


class Comparison(NamedTuple):
    """Two images [r, r], the pixels to compare, and their scan."""

    real: Image  # HU
    generated: Image  # HU
    inside: NDArray[np.bool_]
    scan: str


def psnr(real: Array, generated: Array, inside: Array, data_range: float = MAX_12_BIT) -> Array:
    """10 log10(range^2 / mean squared error over the pixels inside): [n, h, w] each to [n], in dB."""
    count = inside.sum(axis=(1, 2))
    error = jnp.where(inside, real - generated, 0.0)
    return 10.0 * jnp.log10(data_range**2 * count / jnp.square(error).sum(axis=(1, 2)))


def ssim(real: Array, generated: Array, inside: Array, window: NDArray, sample: bool, data_range: float) -> Array:
    """Mean of the SSIM map over the pixels inside whose window is in the image: [n, h, w] each to [n].

    window: weights of its rows and columns, summing to 1.  sample: covariances over N - 1 instead of N.
    NaN if no pixel is inside.
    """
    if min(real.shape[1:]) < len(window):
        return jnp.full(len(real), jnp.nan)
    middle = data_range / 2  # subtracted first: differences of large squares lose precision in float32
    x, y = real - middle, generated - middle
    ux, uy, xx, yy, xy = _filtered(jnp.stack([x, y, x * x, y * y, x * y]), window)
    norm = len(window) ** 2 / (len(window) ** 2 - 1) if sample else 1.0
    vx, vy, vxy = norm * (xx - ux * ux), norm * (yy - uy * uy), norm * (xy - ux * uy)
    mx, my = ux + middle, uy + middle
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    found = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    edge = len(window) // 2
    places = inside[:, edge : inside.shape[1] - edge, edge : inside.shape[2] - edge]
    return jnp.where(places, found, 0.0).sum(axis=(1, 2)) / places.sum(axis=(1, 2))


def _filtered(x: Array, window: NDArray) -> Array:
    """Valid separable convolution with `window`: [..., h, w] to [..., h - k + 1, w - k + 1]."""
    for axis in (-2, -1):
        size = x.shape[axis] - len(window) + 1
        shifted = (jax.lax.slice_in_dim(x, k, k + size, axis=axis) for k in range(len(window)))
        x = sum((float(w) * part for w, part in zip(window, shifted, strict=True)), start=jnp.zeros(()))
    return x


def _gaussian(sigma: float = 1.5, radius: int = 5) -> NDArray:
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return weights / weights.sum()


GAUSSIAN = _gaussian()
UNIFORM = np.full(7, 1 / 7)


@jax.jit
def similarity(real: Array, generated: Array, real_8bit: Array, generated_8bit: Array, inside: Array) -> Similarity:
    """All three figures of n pairs: float32 [n, h, w] on the 12-bit and on the 8-bit scale, bool [n, h, w]."""
    a, b = real_8bit.astype(jnp.float32), generated_8bit.astype(jnp.float32)
    return Similarity(
        psnr(real, generated, inside),
        ssim(a, b, inside, GAUSSIAN, False, MAX_8_BIT),
        ssim(a, b, inside, UNIFORM, True, MAX_8_BIT),
    )


def measure_similarity(
    real: "SliceSet",
    generated_hu: Iterable[NDArray],
    method: str,
    window: Window,
    *,
    fold: int | None = None,
    repeats: int = 200,
    subjects: Sequence[Subject] = SUBJECTS,
) -> list[Record]:
    """Records of kind "similarity": three metrics on each subject.

    real: test slices; generated_hu: HU [r, r] of each, made from its mask, in the same order (read once).
    The floor uses a real slice of another scan in place of the generated one.
    interval: 95 % over scans.  A subject that no slice has, and PSNR of images that all equal the real ones, have a
    reason instead of a value.  Raises ValueError unless there is one generated image for each real one.
    """
    found: dict[Subject, list[_Row]] = {subject: [] for subject in subjects}
    floors: dict[Subject, list[_Row]] = {subject: [] for subject in subjects}
    strangers = _strangers(real.seriesuid)
    done = 0
    for generated in _batches(generated_hu, 16):
        places = range(done, done + len(generated))
        done += len(generated)
        if done > len(real):
            raise ValueError(f"more generated images than the {len(real)} real ones")
        for subject in subjects:
            pairs = [p for i, g in zip(places, generated, strict=True) for p in _parts(real, i, g, subject)]
            found[subject] += _rows(pairs, window)
            others = [(i, real.ct[s]) for i in places if (s := strangers[i]) is not None]
            floors[subject] += _rows([p for i, g in others for p in _parts(real, i, g, subject)], window)
    if done != len(real):
        raise ValueError(f"{done} generated images for {len(real)} real ones")
    mapping = {"window_hu": list(window), "psnr_scale": "window to 0..4095", "ssim_scale": "window to 0..255, 8 bits"}
    return [
        _record(subject, place, found[subject], floors[subject], method, fold, repeats, mapping)
        for subject in subjects
        for place in range(len(METRICS))
    ]


def unavailable(method: str, reason: str, fold: int | None = None) -> list[Record]:
    """The records without values, such as for masks without a ground truth."""
    return [Record("similarity", method, s, m, None, 0, fold=fold, reason=reason) for s in SUBJECTS for m in METRICS]


class _Row(NamedTuple):
    """The figures of one comparison."""

    values: tuple[float, ...]  # in the order of METRICS
    scan: str


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


def _parts(real: "SliceSet", place: int, other: NDArray, subject: Subject) -> Iterator[Comparison]:
    """The comparisons of a subject in one slice; none for lungs without a pixel."""
    mask, scan = real.mask[place], real.seriesuid[place]
    a, b = real.ct[place].astype(np.float32), np.asarray(other, np.float32)
    if a.shape != b.shape:
        raise ValueError(f"generated image of {b.shape} pixels for a slice of {a.shape}")
    if subject == "nodules":
        for square in nodule_squares(mask):
            yield Comparison(a[square], b[square], np.ones(a[square].shape, bool), scan)
        return
    inside = lungs(mask) if subject == "lungs" else np.ones(mask.shape, bool)
    if inside.any():
        yield Comparison(a, b, inside, scan)


def _rows(pairs: list[Comparison], window: Window) -> list[_Row]:
    """Figures of comparisons of one size, in batches of fixed size, so that they compile once."""
    rows: list[_Row] = []
    size = max(1, BATCH_PIXELS // pairs[0].real.size) if pairs else 1
    for start in range(0, len(pairs), size):
        some = pairs[start : start + size]
        filled = some + some[:1] * (size - len(some))
        real, generated = (np.stack([getattr(pair, name) for pair in filled]) for name in ("real", "generated"))
        scaled = [(to_unit(hu, window) + 1) * np.float32(MAX_12_BIT / 2) for hu in (real, generated)]
        shown = [to_uint8(hu, window) for hu in (real, generated)]
        values = np.stack(similarity(*scaled, *shown, np.stack([pair.inside for pair in filled])), axis=1)
        rows += [_Row(tuple(map(float, row)), pair.scan) for row, pair in zip(values, some, strict=False)]
    return rows


def _batches(images: Iterable[NDArray], size: int) -> Iterator[list[NDArray]]:
    left = iter(images)
    while batch := list(islice(left, size)):
        yield batch


def _record(
    subject: Subject,
    place: int,
    rows: list[_Row],
    floors: list[_Row],
    method: str,
    fold: int | None,
    repeats: int,
    mapping: dict,
) -> Record:
    usable = [row for row in rows if np.isfinite(row.values[place])]
    equal = sum(row.values[place] == np.inf for row in rows)
    value, interval = _mean(usable, place, repeats)
    reason = None
    if value is None:
        reason = _reason(subject, len(rows), equal)
    return Record(
        kind="similarity",
        method=method,
        subject=subject,
        metric=METRICS[place],
        value=value,
        n=len(usable),
        interval=interval,
        floor=_mean([row for row in floors if np.isfinite(row.values[place])], place, 0)[0],
        fold=fold,
        reason=reason,
        details=mapping | {"scans": len({row.scan for row in usable}), "equal": equal},
    )


def _reason(subject: Subject, compared: int, equal: int) -> str:
    if equal:
        return "every image equals its real one, so that PSNR is infinite"
    return "the images are smaller than the window of SSIM" if compared else f"no real slice has {subject} to compare"


def _mean(rows: list[_Row], place: int, repeats: int) -> tuple[float | None, Interval | None]:
    """Mean, and its interval from resampling whole scans."""
    if not rows:
        return None, None
    sums: dict[str, list[float]] = {}
    for row in rows:
        total = sums.setdefault(row.scan, [0.0, 0.0])
        total[0] += row.values[place]
        total[1] += 1
    table = np.array(list(sums.values()))

    def mean(some: np.ndarray) -> float:
        return float(some[:, 0].sum() / some[:, 1].sum())

    return mean(table), bootstrap(mean, table, times=repeats) if repeats else None
