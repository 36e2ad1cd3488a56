"""Real and generated images compared as distributions: Fréchet and kernel distance, precision and recall (Table 1).

Each figure has its number of images, a 95 % interval and a real-against-real floor.

** The interval is a bootstrap of half-samples: both sets are halved at random without replacement, real images by whole
  scans.  The 2.5 and 97.5 percentiles of these figures, relative to their median, are added to the figure (the
  delete-half jackknife needs no other scaling).  Resampling with replacement is not possible: a repeated image is its
  own nearest neighbour, and all four figures depend on the number of different images.
* The floor is the figure of other real images, if possible as many as generated ones.  Without other real images it is
  the figure of one half of the scans against the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.config import EvaluationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.distances import (
    frechet_distance,
    frechet_distance_of_gram,
    kernel,
    kernel_distance,
    mmd2,
    precision_recall,
    squared_distances,
)
from tsgan_jax.evaluation.features import Features, gather
from tsgan_jax.evaluation.intervals import LEVEL, Interval
from tsgan_jax.evaluation.networks import FeatureNetwork, Images, Names
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.regions import SUBJECTS, Pairs, Subject, View, owners

Index = NDArray[np.int64]


class DistanceFigures(NamedTuple):
    """Fréchet distance, kernel distance, precision, recall; NaN for too few images."""

    distance: float
    kernel: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Reference:
    """The real images that generated images are compared with.

    real: images of the test fold; scans: the series of each, None: every image is a separate scan.  other: real images
    of other scans, for the floor.
    """

    real: Features
    scans: Sequence[str] | None = None
    other: Features | None = None


def measure_region_distances(
    network: FeatureNetwork,
    real: Pairs,
    generated: Pairs,
    *,
    method: str,
    settings: EvaluationConfig,
    scans: Sequence[str] | None = None,
    other: Pairs | None = None,
    subjects: Sequence[Subject] = SUBJECTS,
    cache: Path | None = None,
    fold: int | None = None,
) -> list[Record]:
    """`measure_distances` on the full slice, the lungs and the nodule squares; a failing region does not stop the
    others.

    scans: the series of each real slice.
    """
    records = []
    for subject in subjects:
        try:
            records += measure_distances(
                network,
                View(real, subject),
                View(generated, subject),
                method=method,
                settings=settings,
                subject=subject,
                scans=None if scans is None else owners(real, subject, scans),
                other=None if other is None else View(other, subject),
                cache=cache,
                fold=fold,
            )
        except UserError as error:
            records += unavailable(network.names, method, subject, str(error), fold)
    return records


def measure_distances(
    network: FeatureNetwork,
    real: Images,
    generated: Images,
    *,
    method: str,
    settings: EvaluationConfig,
    subject: str = "full",
    scans: Sequence[str] | None = None,
    other: Images | None = None,
    cache: Path | None = None,
    fold: int | None = None,
) -> list[Record]:
    """Four records of kind "distance".

    real, other: images that can be read twice (cached by content in `cache`); generated: read once.
    scans: the series of each real image.  Too few images of either kind give records with a reason and without a
    value.
    """
    held = Reference(gather(network, real, cache), scans, None if other is None else gather(network, other, cache))
    return compare(network, held, gather(network, generated), method, subject, settings, fold)


def compare(
    network: FeatureNetwork,
    reference: Reference,
    generated: Features,
    method: str,
    subject: str,
    settings: EvaluationConfig,
    fold: int | None = None,
) -> list[Record]:
    """The records from features."""
    real, k = reference.real, settings.nearest
    sets = _Sets.of(real, generated)
    value, kernel_spread, subset = _figures_of_all(sets, real, generated, settings)
    intervals = _intervals(sets, value, reference, settings)
    floor, floor_counts = _floor(reference, generated, settings)
    shared: dict[str, Any] = {"n_real": real.count, "floor_n": floor_counts}
    details: tuple[dict[str, Any], ...] = (
        {"dim": network.dim, "rank_deficient": min(real.count, generated.count) <= network.dim},
        {"subset": subset, "subset_std": kernel_spread},
        {"k": k, "n_each": sets.equal},
        {"k": k, "n_each": sets.equal},
    )
    needed = (2, 2, k + 1, k + 1)
    made_from = {
        "network": network.label,
        "weights": network.file,
        "weights_sha256": network.sha256,
        "real_images": real.images_sha256,
        "generated_images": generated.images_sha256,
    }
    return [
        Record(
            kind="distance",
            method=method,
            subject=subject,
            metric=name,
            value=_number(value[place]),
            n=generated.count,
            interval=intervals[place],
            floor=_number(floor[place]),
            fold=fold,
            reason=_too_few(real.count, generated.count, needed[place]),
            made_from=made_from,
            details=shared | details[place],
        )
        for place, name in enumerate(network.names)
    ]


def unavailable(names: Names, method: str, subject: str, reason: str, fold: int | None = None) -> list[Record]:
    """The four records without values, if the network or the images are missing."""
    return [Record("distance", method, subject, name, None, 0, fold=fold, reason=reason) for name in names]


@dataclass(frozen=True)
class _Sets:
    """Inner products of the kept features of real [n] and generated [m] images, and the figures from them."""

    dim: int
    rr: NDArray[np.float64]
    gg: NDArray[np.float64]
    rg: NDArray[np.float64]

    @classmethod
    def of(cls, real: Features, generated: Features) -> "_Sets":
        a, b = real.kept.astype(np.float64), generated.kept.astype(np.float64)
        return cls(real.kept.shape[1], a @ a.T, b @ b.T, a @ b.T)

    @property
    def counts(self) -> tuple[int, int]:
        return self.rg.shape

    @property
    def equal(self) -> int:
        return min(self.counts)

    def part(self, i: Index, j: Index) -> "_Sets":
        """The inner products of a subset of the real and of the generated images."""
        return replace(self, rr=self.rr[np.ix_(i, i)], gg=self.gg[np.ix_(j, j)], rg=self.rg[np.ix_(i, j)])

    def distances(self, k: int) -> tuple[float, float]:
        """Precision and recall, on equal numbers of both (the larger set is subsampled)."""
        n, m = (_subsample(count, self.equal) for count in self.counts)
        part = self.part(n, m)
        a, b = np.diag(part.rr), np.diag(part.gg)
        within = squared_distances(a, a, part.rr), squared_distances(b, b, part.gg)
        return precision_recall(*within, squared_distances(a, b, part.rg), k)

    def kernels(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Kernel values within real, within generated, across."""
        return kernel(self.rr, self.dim), kernel(self.gg, self.dim), kernel(self.rg, self.dim)

    def figures(self, k: int) -> DistanceFigures:
        """All four figures of the kept features."""
        distance = frechet_distance_of_gram(self.rr, self.gg, self.rg) if self.equal >= 2 else np.nan
        kernel_value = mmd2(*self.kernels()) if self.equal >= 2 else np.nan
        precision, recall = self.distances(k) if self.equal > k else (np.nan, np.nan)
        return DistanceFigures(distance, kernel_value, precision, recall)


def _subsample(count: int, wanted: int) -> Index:
    """`wanted` random positions of `count`, ascending, the same at every call."""
    return np.sort(np.random.default_rng(0).permutation(count)[:wanted])


def _figures_of_all(
    sets: _Sets, real: Features, generated: Features, settings: EvaluationConfig
) -> tuple[DistanceFigures, float | None, int]:
    """The figures themselves; the spread of the kernel distance over its subsets, and their size."""
    figures = sets.figures(settings.nearest)
    subset = min(settings.kid_subset, sets.equal)
    if subset < 2:
        return figures, None, subset
    real_kernel, generated_kernel, across = sets.kernels()
    kernel_value, spread = kernel_distance(generated_kernel, real_kernel, across.T, subset)
    distance = figures.distance
    if not (real.whole and generated.whole) and real.statistics and generated.statistics:
        distance = frechet_distance(real.statistics, generated.statistics)
    return figures._replace(distance=distance, kernel=kernel_value), spread, subset


def _intervals(
    sets: _Sets, value: DistanceFigures, reference: Reference, settings: EvaluationConfig
) -> list[Interval | None]:
    """Intervals from half-samples of the kept images; if only a part is kept they are too wide rather than too
    narrow."""
    n, m = sets.counts
    if min(n, m) < 4:
        return [None] * len(value)
    rng = np.random.default_rng(0)
    groups = _groups(reference, reference.real)
    found = np.array(
        [
            sets.part(_half_of_groups(groups, rng), np.sort(rng.permutation(m)[: m // 2])).figures(settings.nearest)
            for _ in range(settings.bootstrap)
        ]
    )
    low, middle, high = np.percentile(found, (LEVEL[0], 50.0, LEVEL[1]), axis=0)
    ends = np.array(value)[:, None] + np.stack([low - middle, high - middle], axis=1)
    ends[0] = ends[0].clip(0)
    ends[2:] = ends[2:].clip(0, 1)
    return [(float(a), float(b)) if np.isfinite((a, b)).all() else None for a, b in ends]


def _groups(reference: Reference, features: Features) -> list[Index]:
    """Positions of the kept real images by scan."""
    if reference.scans is None:
        return [np.array([place]) for place in range(len(features.kept))]
    names = np.array([reference.scans[place] for place in features.places])
    return [np.flatnonzero(names == name) for name in dict.fromkeys(names)]


def _half_of_groups(groups: list[Index], rng: np.random.Generator) -> Index:
    chosen = rng.permutation(len(groups))[: max(1, len(groups) // 2)]
    return np.sort(np.concatenate([groups[place] for place in chosen]))


def _floor(reference: Reference, generated: Features, settings: EvaluationConfig) -> tuple[DistanceFigures, list[int]]:
    """The figures of real against real, and the number of images of each."""
    if reference.other is not None:
        other = reference.other
        chosen = _subsample(len(other.kept), min(len(other.kept), len(generated.kept)))
        sets = _Sets.of(reference.real, replace(other, kept=other.kept[chosen]))
    else:
        groups = _groups(reference, reference.real)
        order = np.random.default_rng(0).permutation(len(groups))
        halves = [[groups[place] for place in part] for part in np.array_split(order, 2)]
        a, b = (np.concatenate(half) if half else np.empty(0, np.int64) for half in halves)
        kept = reference.real.kept
        sets = _Sets.of(replace(reference.real, kept=kept[a]), replace(reference.real, kept=kept[b]))
    return sets.figures(settings.nearest), list(sets.counts)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _too_few(real: int, generated: int, needed: int) -> str | None:
    for count, kind in ((real, "real"), (generated, "generated")):
        if count < needed:
            return f"{count} {kind} image{'' if count == 1 else 's'}; this figure needs {needed} or more"
    return None
