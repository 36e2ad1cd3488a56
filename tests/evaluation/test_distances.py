"""Fréchet, kernel distance, precision and recall against plain loops, NumPy and torch-fidelity's own figures (T20)."""

import numpy as np
import pytest
from scipy import linalg
from scipy.spatial.distance import cdist

from tsgan_jax.evaluation.distances import frechet_distance, kernel_distance, kernels, mmd2, precision_recall

RNG = np.random.default_rng(3)


def pytorch_fid(a: np.ndarray, b: np.ndarray) -> float:
    """Its formula: covariances over n - 1, the matrix square root of their product, the real part of its trace."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(first @ second)
    step = a.mean(0) - b.mean(0)
    return float(step @ step + np.trace(first) + np.trace(second) - 2 * np.trace(root.real))


def test_equal_sets_are_at_distance_zero() -> None:
    x = RNG.normal(size=(30, 8))
    assert abs(frechet_distance(x, x)) < 1e-6


def test_a_shift_is_at_its_squared_length() -> None:
    x, shift = RNG.normal(size=(30, 8)), np.arange(8) / 4
    assert frechet_distance(x, x + shift) == pytest.approx(shift @ shift, abs=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 90, 12), (90, 60, 12), (15, 60, 12)])
def test_arithmetic_of_pytorch_fid(n: int, m: int, d: int) -> None:
    a, b = RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d)), RNG.normal(0.5, 2, (m, d))
    expected = pytorch_fid(a, b)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_fewer_images_than_features_is_no_trouble() -> None:
    """pytorch-fid's square root of a singular product holds to 1e-3."""
    for n, m in ((10, 15), (10, 40)):
        a, b = RNG.normal(size=(n, 24)), RNG.normal(0.3, 1.5, (m, 24))
        assert frechet_distance(a, b) == pytest.approx(pytorch_fid(a, b), rel=1e-3)


def test_mmd_is_the_sum_over_different_images() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(1, 1, (5, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 3 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert mmd2(*kernels(x, y)) == pytest.approx(within_x + within_y - 2 * across)


def test_kernel_distances_of_torch_fidelity() -> None:
    """torch-fidelity 0.4.0 on these features (input 1 generated, input 2 real), 100 subsets of 40, seed 2020."""
    rng = np.random.default_rng(7)
    real, generated = rng.normal(size=(60, 16)), rng.normal(0.3, 1.2, (80, 16))
    mean, spread = kernel_distance(kernels(real, generated), 40)
    assert mean == pytest.approx(0.5418946490262767, rel=1e-9)
    assert spread == pytest.approx(0.12479819292689535, rel=1e-9)


def test_equal_distributions_scatter_about_zero() -> None:
    rng = np.random.default_rng(1)
    found = [mmd2(*kernels(*rng.normal(size=(2, 40, 8)))) for _ in range(200)]
    error = np.std(found) / np.sqrt(200)
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0 < max(found)


DRAWS = np.random.default_rng(5)


def of_features(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    return precision_recall(cdist(real, real), cdist(generated, generated), cdist(real, generated), k)


def loop_share(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """Share of points within some member's distance to its k-th nearest other member."""
    radius = [sorted(np.linalg.norm(manifold - x, axis=1))[k] for x in manifold]
    near = [any(np.linalg.norm(p - x) <= r for x, r in zip(manifold, radius, strict=True)) for p in points]
    return float(np.mean(near))


@pytest.mark.parametrize("k", [1, 3])
def test_loops_agree(k: int) -> None:
    real, generated = DRAWS.normal(size=(25, 4)), DRAWS.normal(0.5, 1.3, (31, 4))
    assert of_features(real, generated, k) == (loop_share(generated, real, k), loop_share(real, generated, k))


def test_precision_and_recall_of_torch_fidelity() -> None:
    """torch-fidelity 0.4.0 on these features, neighbourhood 3: .35 and 58 of 60."""
    rng = np.random.default_rng(7)
    real, generated = rng.normal(size=(60, 16)), rng.normal(0.3, 1.2, (80, 16))[:60]
    assert of_features(real, generated) == pytest.approx((0.35, 58 / 60))


def test_equal_sets_have_both_and_distant_ones_neither() -> None:
    x = DRAWS.normal(size=(20, 6))
    assert of_features(x, x) == (1.0, 1.0)
    assert of_features(x, x + 100) == (0.0, 0.0)


def test_a_generator_of_one_image_is_precise_and_recalls_nothing() -> None:
    real = DRAWS.normal(size=(40, 3))
    precision, recall = of_features(real, real[:1] + DRAWS.normal(0, 1e-6, (40, 3)))
    assert precision == 1.0 and recall <= 1 / 40
