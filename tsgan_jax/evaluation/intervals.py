"""Confidence intervals: percentile bootstrap, and Wilson's interval for shares."""

from collections.abc import Callable

import numpy as np

Interval = tuple[float, float]

LEVEL = (2.5, 97.5)
_Z = 1.959964  # 97.5 % quantile of the normal distribution


def bootstrap(statistic: Callable[..., float], *samples: np.ndarray, times: int) -> Interval | None:
    """95 % percentile interval of `statistic(*samples)`; every sample is resampled along its first axis.

    None if a sample has fewer than two rows, or the statistic of a resample is not finite.
    """
    if any(len(sample) < 2 for sample in samples):
        return None
    rng = np.random.default_rng(0)
    values = [
        statistic(*(sample[rng.integers(0, len(sample), len(sample))] for sample in samples)) for _ in range(times)
    ]
    if not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, LEVEL)
    return float(low), float(high)


def wilson(successes: int, n: int) -> Interval | None:
    """95 % interval of a share (E. B. Wilson 1927); None for n = 0."""
    if n == 0:
        return None
    share, z2 = successes / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)
