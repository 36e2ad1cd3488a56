"""The workers' results as records: figures, and differences from the detector trained only on real images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean
from typing import Any

import numpy as np

from tsgan_jax.config import Detector
from tsgan_jax.detection.datasets import ANCHOR_FREE, TrainingSet, shown
from tsgan_jax.detection.scores import Matched, figures, match
from tsgan_jax.evaluation.records import DETECTION, MINUS_REAL, Record


@dataclass(frozen=True)
class Difference:
    """ours, real: means over the trainings; error: standard error; interval: 95 %, by resampling scans."""

    ours: float
    real: float
    error: float
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """ours - real"""
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
    drawn: dict[str, list[float]] = {figure: [] for figure in DETECTION}
    for _ in range(resamples):
        counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[image_scan]
        if not counts @ real[0].objects:
            continue
        # Trainings are resampled too, so that their spread is part of the interval.
        some = [ours[i] for i in rng.integers(len(ours), size=len(ours))]
        others = [real[i] for i in rng.integers(len(real), size=len(real))]
        mine, theirs = _means(some, counts), _means(others, counts)
        for figure in DETECTION:
            drawn[figure].append(mine[figure] - theirs[figure])
    mine, theirs = _means(ours), _means(real)
    found = {}
    for figure, values in drawn.items():
        interval = float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))
        found[figure] = Difference(mine[figure], theirs[figure], float(np.std(values, ddof=1)), interval)
    return found


def _means(trainings: Sequence[Matched], counts: np.ndarray | None = None) -> dict[str, float]:
    each = [figures(one, counts) for one in trainings]
    return {figure: float(np.mean([one[figure] for one in each])) for figure in DETECTION}


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

    def record(self, metric: str, value: float | None, n: int, details: dict[str, Any], **more: Any) -> Record:
        """A record of this cell: method is the detector, subject the training set."""
        details = {"system": self.system, **details}
        if self.model.startswith("yolov5"):
            details["detector_note"] = ANCHOR_FREE
        return Record("detection", shown(self.model), self.trained_on.name, metric, value, n, details=details, **more)


@dataclass(frozen=True)
class Trained:
    """A cell with its results.

    results: of the worker, one per seed.  truth: COCO tree of the test images.  scans: of each of them.
    made_from, about: what all its records have in common.
    """

    cell: Cell
    fold: int
    results: tuple[dict[str, Any], ...]
    truth: dict[str, Any]
    scans: list[str]
    made_from: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def matched(self) -> list[Matched]:
        """Matched predictions and objects of each training."""
        return [match(self.truth, result["predictions"]) for result in self.results]

    def line(self) -> str:
        """ultralytics' figures in one line."""
        shown = [f"{figure} {mean(result['figures'][figure] for result in self.results):.3f}" for figure in DETECTION]
        return f"{self.cell.label}, fold {self.fold}: {', '.join(shown)}"

    def records(self) -> list[Record]:
        """One record per figure, by ultralytics; pycocotools' average precision is in the details."""
        others, records = _means(self.matched), []
        for figure in DETECTION:
            by_seed = [result["figures"][figure] for result in self.results]
            details = {"by_seed": by_seed} | ({"pycocotools": others[figure]} if figure.startswith("mAP") else {})
            records.append(self._record(figure, mean(by_seed), details))
        return records

    def differences(self, real: "Trained | None", resamples: int, seed: int) -> list[Record]:
        """Each figure minus that of the same detector trained only on real images, by pycocotools' formulas.

        interval: 95 %, from resampled scans of the test fold; details["error"] is the standard error, details["of"] the
        two figures.  They differ from ultralytics' figures, which use smoothed curves.
        """
        if real is None:
            return without(self.cell, self.fold, "the detector trained on real images failed", MINUS_REAL)
        drawn = {"scans": len(set(self.scans)), "resamples": resamples}
        return [
            self._record(
                figure + MINUS_REAL,
                one.value,
                {"of": [one.ours, one.real], "error": one.error, **drawn},
                interval=one.interval,
            )
            for figure, one in differences(self.matched, real.matched, self.scans, resamples, seed).items()
        ]

    def _record(self, metric: str, value: float, details: dict[str, Any], **more: Any) -> Record:
        first = self.results[0]
        told = {key: first[key] for key in ("start", "parameters", "device", "images")}
        seconds = sum(result["seconds"] for result in self.results)
        return self.cell.record(
            metric,
            value,
            len(self.truth["annotations"]),
            {**self.about, **told, "seeds": len(self.results), "seconds": seconds, **details},
            fold=self.fold,
            made_from={**self.made_from, **{key: first[key] for key in ("ultralytics", "torch")}},
            **more,
        )


def without(cell: Cell, fold: int, reason: str, suffix: str = "") -> list[Record]:
    """Records without a value, for a cell that could not be trained or tested; suffix: of the metrics' names."""
    return [cell.record(figure + suffix, None, 0, {}, fold=fold, reason=reason) for figure in DETECTION]
