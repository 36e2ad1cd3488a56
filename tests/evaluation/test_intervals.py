"""Intervals hold what they should, and say nothing of too little."""

import numpy as np
import pytest

from tsgan_jax.evaluation.intervals import bootstrap, by_scan, half_samples, wilson


def test_bootstrap_of_a_mean_is_that_of_the_normal_distribution():
    sample = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap(lambda values: float(values.mean()), by_scan(sample), times=500)
    assert (low, high) == pytest.approx((sample.mean() - 0.196, sample.mean() + 0.196), abs=0.05)
    assert bootstrap(lambda values: float(values.mean()), by_scan(sample), times=500) == (low, high)


def test_one_value_has_no_interval_nor_has_what_is_not_finite():
    assert bootstrap(lambda values: 1.0, by_scan(np.ones(1)), times=5) is None
    assert bootstrap(lambda values: float("nan"), by_scan(np.ones(9)), times=5) is None


def test_whole_scans_are_resampled():
    """Ten copies of each value: resampling them one by one would make the interval too narrow."""
    values = np.random.default_rng(1).normal(size=40).repeat(10)
    groups = by_scan(values, [str(place // 10) for place in range(400)])
    assert len(groups) == 40 and all(len(set(group)) == 1 for group in groups)
    (low, high), (first, last) = (bootstrap(np.mean, one, times=300) for one in (groups, by_scan(values)))
    assert high - low > 2.5 * (last - first)
    assert bootstrap(np.mean, by_scan(values, ["one"] * 400), times=5) is None


def test_half_samples_give_the_interval_of_a_mean():
    x, y = np.random.default_rng(1).normal(size=(2, 100))
    scans = by_scan(np.arange(100))

    def figures(i, j):
        return x[i].mean() - y[j].mean(), np.nan

    (low, high), none = half_samples((1.0, 1.0), figures, scans, 100, 400, [(-9.0, 1.2), (0.0, 1.0)])
    assert (low, high) == (pytest.approx(1 - 1.96 * np.sqrt(0.02), abs=0.06), 1.2) and none is None
    assert half_samples((1.0,), figures, scans[:1], 100, 5, [(0.0, 1.0)]) == [None]


def test_wilson_against_published_values():
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for successes, n, expected in [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611))]:
        assert wilson(successes, n) == pytest.approx(expected, abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson(0, 0) is None
