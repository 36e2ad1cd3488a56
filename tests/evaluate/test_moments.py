"""Moments in one pass and the Fréchet distance (T20), against numpy and pytorch-fid's arithmetic."""

import numpy as np
import pytest
from scipy import linalg

from tsgan_jax.evaluate.moments import Moments, frechet_distance, frechet_distance_of_gram, gathered

RNG = np.random.default_rng(3)


def pytorch_fid(a: np.ndarray, b: np.ndarray) -> float:
    """Its formula: covariances over n - 1, the matrix square root of their product, the real part of its trace."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(first @ second)
    step = a.mean(0) - b.mean(0)
    return float(step @ step + np.trace(first) + np.trace(second) - 2 * np.trace(root.real))


def gram(a: np.ndarray, b: np.ndarray) -> float:
    return frechet_distance_of_gram(a @ a.T, b @ b.T, a @ b.T)


def test_pieces_merge_into_the_whole() -> None:
    x = RNG.normal(50, 3, (41, 6)).astype(np.float32)
    total = gathered([x[:5], x[5:6], x[6:30], x[30:]])
    assert total is not None and total.count == 41
    np.testing.assert_allclose(total.mean, x.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(total.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9)
    assert gathered([]) is None


def test_equal_sets_are_at_distance_zero() -> None:
    x = RNG.normal(size=(30, 8))
    assert abs(frechet_distance(Moments.of(x), Moments.of(x))) < 1e-6
    assert abs(gram(x, x)) < 1e-6


def test_a_shift_is_at_its_squared_length() -> None:
    x, shift = RNG.normal(size=(30, 8)), np.arange(8) / 4
    for distance in (frechet_distance(Moments.of(x), Moments.of(x + shift)), gram(x, x + shift)):
        assert distance == pytest.approx(shift @ shift, abs=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 90, 12), (90, 60, 12)])
def test_arithmetic_of_pytorch_fid(n: int, m: int, d: int) -> None:
    a, b = RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d)), RNG.normal(0.5, 2, (m, d))
    expected = pytorch_fid(a, b)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-6)
    assert gram(a, b) == pytest.approx(expected, rel=1e-6)


def test_fewer_images_than_features_is_no_trouble() -> None:
    """pytorch-fid's square root of a singular product holds to 1e-3; ours agree with each other much closer."""
    a, b = RNG.normal(size=(10, 24)), RNG.normal(0.3, 1.5, (15, 24))
    distance = gram(a, b)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(distance, rel=1e-6)
    assert distance == pytest.approx(pytorch_fid(a, b), rel=1e-3)
