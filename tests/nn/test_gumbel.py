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


def test_without_noise_the_largest_share_is_taken():
    np.testing.assert_array_equal(sample_one_hot(KEY, SHARES, scale=0.0).argmax(axis=-1), SHARES.argmax(axis=-1))


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


def test_noise_fades_in_from_blocks_of_two_to_single_pixels():
    """On shares doubled from half the size, as those of the phase before are."""
    half = jax.nn.softmax(jax.random.normal(KEY, (3, 8, 8, 6)))
    shares = half.repeat(2, 1).repeat(2, 2)
    codes = np.asarray(sample_one_hot(KEY, shares, alpha=jnp.float32(0.0)).argmax(-1))
    np.testing.assert_array_equal(codes, codes[:, ::2, ::2].repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(sample_one_hot(KEY, shares, alpha=jnp.float32(1.0)), sample_one_hot(KEY, shares))
    many = sample_one_hot(KEY, jnp.broadcast_to(shares[:1], (2000, 16, 16, 6)), alpha=jnp.float32(0.0))
    np.testing.assert_allclose(many.mean(axis=0), shares[0], atol=0.06)
