"""How sure a difference between two detectors is: scans of the test fold drawn again, the same for both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsgan_jax.detect.scores import FIGURES, Matched, figures


@dataclass(frozen=True)
class Difference:
    """value: ours - real, means over the trainings; error: its standard error; interval: 95 %, of resampled scans."""

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
    """What `ours` have over `real` in each figure, on the same test images.

    ours, real: one entry a training (they differ in their random numbers).  scans: of each image; whole scans are
    drawn, since slices of one patient are no independent witnesses.  The interval covers the choice of patients; it
    covers the luck of a training only as far as there are several.
    """
    names, image_scan = np.unique(np.asarray(scans), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    for _ in range(resamples):
        counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[image_scan]
        if not counts @ real[0].objects:
            continue
        # Trainings are drawn again as well, so that their spread is part of the interval.
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
