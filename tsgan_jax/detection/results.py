"""The workers' results as records: figures, and differences from the detector trained only on real images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean
from typing import Any

import numpy as np

from tsgan_jax.config import Detector
from tsgan_jax.detection.datasets import ANCHOR_FREE, TrainingSet, shown
from tsgan_jax.detection.scores import FIGURES, Matched, cocotools, figures, match
from tsgan_jax.evaluation.records import Record


@dataclass(frozen=True)
class Difference:
    """value: ours - real, means over the trainings; error: its standard error; interval: 95 %, by resampling scans."""

    ours: float
    real: float
    error: float
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """The difference itself."""
        return self.ours - self.real


def differences(
    ours: Sequence[Matched], real: Sequence[Matched], scans: Sequence[str], resamples: int, seed: int
) -> dict[str, Difference]:
    """Differences of `ours` from `real` in each figure, on the same test images.

    ours, real: one entry per training (with different seeds).  scans: of each image; whole scans are resampled, because
    slices of one patient are not independent.  The interval covers the choice of patients; it covers the variation
    between trainings only if there are several.  scipy.stats.bootstrap refuses a sample of one training.
    """
    names, image_scan = np.unique(np.asarray(scans), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    for _ in range(resamples):
        counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[image_scan]
        if not counts @ real[0].objects:
            continue
        # Trainings are resampled too, so that their spread is part of the interval.
        some = [ours[i] for i in rng.integers(len(ours), size=len(ours))]
        others = [real[i] for i in rng.integers(len(real), size=len(real))]
        mine, theirs = _means(some, counts), _means(others, counts)
        for figure in FIGURES:
            drawn[figure].append(mine[figure] - theirs[figure])
    once = np.ones(len(scans), np.int64)
    mine, theirs = _means(ours, once), _means(real, once)
    return {
        figure: Difference(
            mine[figure],
            theirs[figure],
            float(np.std(drawn[figure], ddof=1)),
            (float(np.quantile(drawn[figure], 0.025)), float(np.quantile(drawn[figure], 0.975))),
        )
        for figure in FIGURES
    }


def _means(trainings: Sequence[Matched], counts: np.ndarray) -> dict[str, float]:
    each = [figures(one, counts) for one in trainings]
    return {figure: float(np.mean([one[figure] for one in each])) for figure in FIGURES}


MINUS_REAL = " - real"
"""Suffix of the metric of a difference."""


@dataclass(frozen=True)
class Cell:
    """One detector on one training set.  system: the source of its synthetic images, "real" if there are none."""

    model: Detector
    trained_on: TrainingSet
    system: str

    @property
    def label(self) -> str:
        """Detector and training set in words."""
        return f"{shown(self.model)} on {self.trained_on.name}"

    def record(self, metric: str, fold: int, value: float | None, n: int, **more: Any) -> Record:
        """A record of this cell: method is the detector, subject the training set."""
        note = {"detector_note": ANCHOR_FREE} if self.model.startswith("yolov5") else {}
        details = {"system": self.system, **note, **more.pop("details", {})}
        return Record(
            "detection", shown(self.model), self.trained_on.name, metric, value, n, fold=fold, details=details, **more
        )


@dataclass(frozen=True)
class Trained:
    """A cell with its results.

    results: of the worker, one per seed.  truth: COCO tree of the test images.  scans: of each of them.
    about: common details of its records.
    """

    cell: Cell
    fold: int
    results: tuple[dict[str, Any], ...]
    truth: dict[str, Any]
    scans: list[str]
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def matched(self) -> list[Matched]:
        """Matched predictions and objects of each training."""
        return [match(self.truth, result["predictions"]) for result in self.results]

    @property
    def objects(self) -> int:
        """Number of objects in the test images."""
        return len(self.truth["annotations"])

    def mean(self, figure: str) -> float:
        """ultralytics' figure, mean over the seeds."""
        return mean(result["figures"][figure] for result in self.results)

    def line(self) -> str:
        """The figures in one line."""
        figures = ", ".join(f"{figure} {self.mean(figure):.3f}" for figure in FIGURES)
        return f"{self.cell.label}, fold {self.fold}: {figures}"

    def records(self) -> list[Record]:
        """One record per figure, by ultralytics; pycocotools' value is in the details."""
        other = [cocotools(self.truth, result["predictions"]) for result in self.results]
        records = []
        for figure in FIGURES:
            extra = {"pycocotools": mean(one[figure] for one in other)} if figure in other[0] else {}
            by_seed = [result["figures"][figure] for result in self.results]
            details = {**self._details(), **extra, "by_seed": by_seed}
            records.append(
                self.cell.record(
                    figure, self.fold, self.mean(figure), self.objects, made_from=self._made_from(), details=details
                )
            )
        return records

    def differences(self, real: "Trained | None", resamples: int, seed: int) -> list[Record]:
        """Each figure minus that of the same detector trained only on real images, by pycocotools' formulas.

        interval: 95 %, from resampled scans of the test fold; details["error"] is the standard error, details["of"] the
        two figures.  They differ from ultralytics' figures, which use smoothed curves.
        """
        if real is None:
            return without(self.cell, self.fold, "the detector trained on real images failed", MINUS_REAL)
        found = differences(self.matched, real.matched, self.scans, resamples, seed)
        return [
            self.cell.record(
                figure + MINUS_REAL,
                self.fold,
                one.value,
                self.objects,
                interval=one.interval,
                made_from=self._made_from(),
                details={
                    **self._details(),
                    "of": [one.ours, one.real],
                    "error": one.error,
                    "scans": len(set(self.scans)),
                    "resamples": resamples,
                },
            )
            for figure, one in found.items()
        ]

    def _details(self) -> dict[str, Any]:
        first = self.results[0]
        kept = {key: value for key, value in self.about.items() if key != "made_from"}
        told = {key: first[key] for key in ("start", "parameters", "device", "images")}
        seconds = sum(result["seconds"] for result in self.results)
        return {**kept, **told, "seeds": len(self.results), "seconds": seconds}

    def _made_from(self) -> dict[str, Any]:
        software = {key: self.results[0][key] for key in ("ultralytics", "torch")}
        return {**self.about.get("made_from", {}), **software}


def without(cell: Cell, fold: int, reason: str, suffix: str = "") -> list[Record]:
    """Records without a value, for a cell that could not be trained or tested; suffix: of the metrics' names."""
    return [cell.record(figure + suffix, fold, None, 0, reason=reason) for figure in FIGURES]
