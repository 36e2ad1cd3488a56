"""t-SNE and its mixing score."""

from functools import partial

import numpy as np

from tests.evaluation.networks_of_numpy import means_network
from tsgan_jax.evaluation.embedding import measure_mixing, unlike_share
from tsgan_jax.evaluation.records import Record

RNG = np.random.default_rng(0)
NETWORK = means_network()
RECORD = partial(Record, "embedding", "a")


def mixing(x, y, seed=0):
    return measure_mixing(RECORD, NETWORK, x, y, seed)


def test_one_distribution_is_mixed_and_two_are_apart() -> None:
    x, y = RNG.normal(size=(2, 60, 5))
    (mixed, one), (apart, other) = mixing(x, y), mixing(x, y + 20)
    assert mixed["points"].shape == (120, 2) and mixed["is_real"].sum() == 60
    assert 0.85 < one.value < 1.15 and other.value == 0
    centres = [apart["points"][apart["is_real"] == kind].mean(0) for kind in (True, False)]
    spread = apart["points"][apart["is_real"]].std()
    assert np.linalg.norm(centres[0] - centres[1]) > spread


def test_the_seed_decides_the_picture() -> None:
    x, y = RNG.normal(size=(20, 5)), RNG.normal(size=(30, 5))
    first, again, another = (mixing(x, y, seed)[0]["points"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, another)  # others of the 30 are drawn


def test_equal_numbers_of_both_kinds_are_drawn() -> None:
    is_real = mixing(RNG.normal(size=(12, 3)), RNG.normal(size=(40, 3)))[0]["is_real"]
    assert is_real.sum() == (~is_real).sum() == 12


def test_neighbours_are_counted_as_by_hand() -> None:
    line = np.array([[0.0], [1.0], [10.0], [11.1]])
    is_real = np.array([True, False, True, True])
    assert unlike_share(line, is_real, 1) == ((1 + 1 + 0 + 0) / 4, 1)
    assert unlike_share(line, is_real, 50)[1] == 3


def test_records() -> None:
    x, y = RNG.normal(size=(2, 20, 5))
    _, record = mixing(x, y, seed=3)
    assert record.metric == "Mixing-Means" and record.n == 20 and record.made_from["seed"] == 3
    nothing, record = mixing(x, y[:2])
    assert not nothing and record.value is None and "2 generated images; t-SNE needs 5" in record.reason
