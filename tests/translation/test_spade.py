"""SPADE's norm (T16)."""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.translation.gaugan_networks import Spade


def example(images: int = 2) -> tuple[Spade, dict, jax.Array, jax.Array]:
    spade, rng = Spade(width=4), np.random.default_rng(0)
    x = jnp.asarray(rng.normal(3.0, 2.0, (images, 8, 8, 5)), jnp.float32)
    mask = jax.nn.one_hot(rng.integers(0, 6, (images, 8, 8)), 6)
    return spade, spade.init(jax.random.key(0), x, mask)["params"], x, mask


def standardised(x: jax.Array) -> np.ndarray:
    y = np.asarray(x, np.float64)
    return (y - y.mean((1, 2), keepdims=True)) / np.sqrt(y.var((1, 2), keepdims=True) + 1e-5)


def test_without_gamma_and_beta_it_is_the_norm_alone() -> None:
    spade, params, x, mask = example()
    zeros = {name: jax.tree.map(jnp.zeros_like, params[name]) for name in ("gamma", "beta")}
    np.testing.assert_allclose(spade.apply({"params": params | zeros}, x, mask), standardised(x), atol=1e-5)


def test_gamma_scales_and_beta_shifts_by_the_mask() -> None:
    """With the biases alone: gamma 2, beta -1 everywhere."""
    spade, params, x, mask = example()
    fixed = jax.tree.map(jnp.zeros_like, params)
    fixed["gamma"]["bias"] += 2.0
    fixed["beta"]["bias"] -= 1.0
    np.testing.assert_allclose(spade.apply({"params": fixed}, x, mask), 3.0 * standardised(x) - 1.0, atol=1e-5)


def test_a_label_reaches_two_pixels_and_no_image_its_neighbours() -> None:
    spade, params, x, mask = example()
    before = spade.apply({"params": params}, x, mask)
    changed = mask.at[0, 4, 4].set(1.0 - mask[0, 4, 4])
    moved = np.abs(np.asarray(spade.apply({"params": params}, x, changed) - before)).max(-1) > 0
    assert not moved[1].any()
    rows, cols = np.nonzero(moved[0])
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (2, 6, 2, 6)
