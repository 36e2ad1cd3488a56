"""t-SNE and its mixing score."""

import numpy as np
import pytest

from tests.evaluation.networks_of_numpy import means_network
from tsgan_jax.evaluation.embedding import draw_embedding, embed, unlike_share

RNG = np.random.default_rng(0)
NETWORK = means_network()


def test_one_distribution_is_mixed_and_two_are_apart() -> None:
    x, y = RNG.normal(size=(2, 60, 5))
    mixed, apart = embed(x, y), embed(x, y + 20)
    assert mixed.points.shape == (120, 2) and mixed.is_real.sum() == 60
    assert 0.85 < mixed.mixing < 1.15 and apart.mixing == 0
    centres = [apart.points[apart.is_real == kind].mean(0) for kind in (True, False)]
    spread = apart.points[apart.is_real].std()
    assert np.linalg.norm(centres[0] - centres[1]) > spread


def test_the_seed_decides_the_picture() -> None:
    x, y = RNG.normal(size=(20, 5)), RNG.normal(size=(30, 5))
    np.testing.assert_array_equal(embed(x, y, 1).points, embed(x, y, 1).points)
    assert not np.array_equal(embed(x, y, 1).points, embed(x, y, 2).points)  # others of the 30 are drawn


def test_equal_numbers_of_both_kinds_are_drawn() -> None:
    picture = embed(RNG.normal(size=(12, 3)), RNG.normal(size=(40, 3)))
    assert picture.is_real.sum() == (~picture.is_real).sum() == 12


def test_neighbours_are_counted_as_by_hand() -> None:
    line = np.array([[0.0], [1.0], [10.0], [11.1]])
    is_real = np.array([True, False, True, True])
    assert unlike_share(line, is_real, 1) == ((1 + 1 + 0 + 0) / 4, 1)
    assert unlike_share(line, is_real, 50)[1] == 3


def test_records() -> None:
    x, y = RNG.normal(size=(2, 20, 5))
    picture, (record,) = draw_embedding(NETWORK, x, y, "a", seed=3, fold=1)
    assert picture is not None and record.value == picture.mixing and record.metric == "Mixing-Means"
    assert record.n == 20 and record.fold == 1 and record.made_from["seed"] == 3
    nothing, (record,) = draw_embedding(NETWORK, x, y[:2], "a")
    assert nothing is None and record.value is None and "2 generated images; t-SNE needs 5" in record.reason
    with pytest.raises(ValueError, match="t-SNE needs 5"):
        embed(x, y[:2])
