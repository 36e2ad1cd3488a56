"""Kernel distance against plain loops and torch-fidelity's own figures (T20)."""

import numpy as np
import pytest

from tsgan_jax.evaluate.kid import kernel, kernel_distance, mmd2


def kernels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d = x.shape[1]
    return kernel(x @ x.T, d), kernel(y @ y.T, d), kernel(x @ y.T, d)


def test_mmd_is_the_sum_over_different_images() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(1, 1, (5, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / 3 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert mmd2(*kernels(x, y)) == pytest.approx(within_x + within_y - 2 * across)


def test_figures_of_torch_fidelity() -> None:
    """torch-fidelity 0.4.0 on these features (input 1 generated, input 2 real), 100 subsets of 40, seed 2020."""
    rng = np.random.default_rng(7)
    real, generated = rng.normal(size=(60, 16)), rng.normal(0.3, 1.2, (80, 16))
    mean, spread = kernel_distance(*kernels(generated, real), 40)
    assert mean == pytest.approx(0.5418946490262767, rel=1e-9)
    assert spread == pytest.approx(0.12479819292689535, rel=1e-9)


def test_equal_distributions_scatter_about_zero() -> None:
    rng = np.random.default_rng(1)
    found = [mmd2(*kernels(*rng.normal(size=(2, 40, 8)))) for _ in range(200)]
    error = np.std(found) / np.sqrt(200)
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0 < max(found)
