"""Straight-through sampling (T9)."""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.nn.gumbel import EPSILON, sample_one_hot

KEY = jax.random.key(0)
SHARES = jax.nn.softmax(2.0 * jax.random.normal(jax.random.key(1), (2, 16, 16, 6)), axis=-1)


def test_forward_is_exactly_one_hot():
    sample = np.asarray(jax.jit(sample_one_hot)(KEY, SHARES))
    assert set(np.unique(sample)) == {0.0, 1.0}
    np.testing.assert_array_equal(sample.sum(axis=-1), 1.0)


def test_one_hot_shares_are_left_as_they_are():
    real = jax.nn.one_hot(jax.random.randint(KEY, (4, 64, 64), 0, 6), 6)
    np.testing.assert_array_equal(sample_one_hot(KEY, real), real)


def test_classes_are_drawn_in_proportion():
    shares = jnp.broadcast_to(jnp.array([0.5, 0.3, 0.15, 0.05, 0.0, 0.0]), (40_000, 6))
    np.testing.assert_allclose(sample_one_hot(KEY, shares).mean(axis=0), shares[0], atol=0.01)


def test_gradient_is_that_of_the_soft_sample():
    weight = jax.random.normal(jax.random.key(2), SHARES.shape)
    gumbel = jax.random.gumbel(KEY, (SHARES.size,)).reshape(SHARES.shape)

    def soft(shares):
        return (weight * jax.nn.softmax((jnp.log(shares + EPSILON) + gumbel) / 0.7, axis=-1)).sum()

    ours = jax.grad(lambda shares: (weight * sample_one_hot(KEY, shares, 0.7)).sum())(SHARES)
    np.testing.assert_allclose(ours, jax.grad(soft)(SHARES), rtol=1e-4, atol=1e-5)


def test_gradient_at_a_vanished_class_is_finite():
    gradient = jax.grad(lambda shares: sample_one_hot(KEY, shares)[..., 5].sum())(jnp.eye(6))
    assert np.isfinite(gradient).all()
