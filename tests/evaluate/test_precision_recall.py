"""Improved precision and recall against plain loops and torch-fidelity's own figures (T20)."""

import numpy as np
import pytest

from tsgan_jax.evaluate.precision_recall import precision_recall, squared_distances

RNG = np.random.default_rng(5)


def of_features(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return squared_distances((x**2).sum(1), (y**2).sum(1), x @ y.T)

    return precision_recall(distances(real, real), distances(generated, generated), distances(real, generated), k)


def loop_share(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """Share of points within some member's distance to its k-th nearest other member."""
    radius = [sorted(np.linalg.norm(manifold - x, axis=1))[k] for x in manifold]
    near = [any(np.linalg.norm(p - x) <= r for x, r in zip(manifold, radius, strict=True)) for p in points]
    return float(np.mean(near))


@pytest.mark.parametrize("k", [1, 3])
def test_loops_agree(k: int) -> None:
    real, generated = RNG.normal(size=(25, 4)), RNG.normal(0.5, 1.3, (31, 4))
    assert of_features(real, generated, k) == (loop_share(generated, real, k), loop_share(real, generated, k))


def test_figures_of_torch_fidelity() -> None:
    """torch-fidelity 0.4.0 on these features, neighbourhood 3: .35 and 58 of 60."""
    rng = np.random.default_rng(7)
    real, generated = rng.normal(size=(60, 16)), rng.normal(0.3, 1.2, (80, 16))[:60]
    assert of_features(real, generated) == pytest.approx((0.35, 58 / 60))


def test_equal_sets_have_both_and_distant_ones_neither() -> None:
    x = RNG.normal(size=(20, 6))
    assert of_features(x, x) == (1.0, 1.0)
    assert of_features(x, x + 100) == (0.0, 0.0)


def test_a_generator_of_one_image_is_precise_and_recalls_nothing() -> None:
    real = RNG.normal(size=(40, 3))
    precision, recall = of_features(real, real[:1] + RNG.normal(0, 1e-6, (40, 3)))
    assert precision == 1.0 and recall <= 1 / 40
