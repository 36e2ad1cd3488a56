"""Intervals hold what they should, and say nothing of too little."""

import numpy as np
import pytest

from tsgan_jax.evaluation.intervals import bootstrap, wilson


def test_bootstrap_of_a_mean_is_that_of_the_normal_distribution():
    sample = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap(lambda values: float(values.mean()), sample, times=500)
    assert (low, high) == pytest.approx((sample.mean() - 0.196, sample.mean() + 0.196), abs=0.05)
    assert bootstrap(lambda values: float(values.mean()), sample, times=500) == (low, high)


def test_one_value_has_no_interval_nor_has_what_is_not_finite():
    assert bootstrap(lambda values: 1.0, np.ones(1), times=5) is None
    assert bootstrap(lambda values: float("nan"), np.ones(9), times=5) is None


def test_wilson_against_published_values():
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for successes, n, expected in [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611))]:
        assert wilson(successes, n) == pytest.approx(expected, abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson(0, 0) is None
