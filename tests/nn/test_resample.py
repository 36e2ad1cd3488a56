"""Resampling by two, blur and fades against plain loops and their invariants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from tsgan_jax.nn.resample import blur, downsample, fade, upsample

X = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))


def test_upsample_repeats_each_pixel():
    np.testing.assert_array_equal(upsample(X), np.repeat(np.repeat(X, 2, axis=1), 2, axis=2))


def test_downsample_is_the_mean_of_four_and_undoes_upsample():
    expected = (X[:, ::2, ::2] + X[:, 1::2, ::2] + X[:, ::2, 1::2] + X[:, 1::2, 1::2]) / 4
    np.testing.assert_allclose(downsample(X), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(downsample(upsample(X)), X, rtol=1e-6)


def test_downsample_keeps_class_shares():
    shares = jax.nn.softmax(X, axis=-1)
    np.testing.assert_allclose(downsample(shares).sum(axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(downsample(shares).mean(axis=(1, 2)), shares.mean(axis=(1, 2)), rtol=1e-5)


def test_blur_is_the_121_filter():
    kernel = np.outer([1, 2, 1], [1, 2, 1])[None, :, :, None] / 16
    np.testing.assert_allclose(blur(X), ndimage.convolve(np.asarray(X), kernel, mode="constant"), atol=1e-6)


def test_blur_keeps_a_constant_away_from_the_border():
    np.testing.assert_allclose(blur(jnp.ones((1, 5, 5, 1)))[:, 1:-1, 1:-1], 1.0)


def test_blur_gradients_of_both_orders_are_those_of_its_matrix():
    x = jax.random.normal(jax.random.key(1), (1, 4, 5, 2))
    matrix = np.asarray(jax.vmap(lambda e: blur(e.reshape(x.shape)).ravel())(jnp.eye(x.size))).T
    v = np.asarray(x).ravel()

    def cubed(x):
        return (blur(x) ** 3).sum()

    first = matrix.T @ (3 * (matrix @ v) ** 2)
    np.testing.assert_allclose(jax.grad(cubed)(x).ravel(), first, rtol=1e-4, atol=1e-5)
    second = matrix.T @ (6 * (matrix @ v) * (matrix @ (2 * first)))
    penalty = jax.grad(lambda x: (jax.grad(cubed)(x) ** 2).sum())(x)
    np.testing.assert_allclose(penalty.ravel(), second, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 3.7), (1.0, -1e-3)])
def test_fade_ends_are_exact(alpha, expected):
    assert fade(jnp.float32(3.7), jnp.float32(-1e-3), jnp.float32(alpha)) == jnp.float32(expected)
