"""How sure a difference between two detectors is: scans of the test fold drawn again, the same for both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsgan_jax.detect.scores import FIGURES, Matched, figures


@dataclass(frozen=True)
class Difference:
    """value: mean over the trainings; error: its standard error; interval: 95 %, from the resampled scans."""

    value: float
    error: float
    interval: tuple[float, float]


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
        for figure, one in _difference(some, others, counts).items():
            drawn[figure].append(one)
    value = _difference(ours, real, np.ones(len(scans), np.int64))
    return {
        figure: Difference(
            value[figure],
            float(np.std(drawn[figure], ddof=1)),
            (float(np.quantile(drawn[figure], 0.025)), float(np.quantile(drawn[figure], 0.975))),
        )
        for figure in FIGURES
    }


def _difference(ours: Sequence[Matched], real: Sequence[Matched], counts: np.ndarray) -> dict[str, float]:
    mine, theirs = ([figures(one, counts) for one in some] for some in (ours, real))
    return {
        figure: float(np.mean([one[figure] for one in mine]) - np.mean([one[figure] for one in theirs]))
        for figure in FIGURES
    }
