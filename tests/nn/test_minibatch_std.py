"""Minibatch standard deviation (T4)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.nn.minibatch_std import group_size, minibatch_std


@pytest.mark.parametrize(
    ("batch", "group", "size"),
    [(1, 4, 1), (2, 4, 2), (3, 4, 3), (4, 4, 4), (8, 4, 4), (16, 4, 4), (5, 4, 5), (6, 4, 6), (10, 4, 5), (9, 2, 3)],
)
def test_group_rule(batch, group, size):
    assert group_size(batch, group) == size


@pytest.mark.parametrize("batch", [1, 2, 4, 6])
def test_identical_examples_give_the_floor(batch):
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (1, 4, 4, 3)), (batch, 4, 4, 3))
    out = minibatch_std(x, 4)
    np.testing.assert_allclose(out[..., 3], 1e-4, rtol=1e-3)
    np.testing.assert_array_equal(out[..., :3], x)


def test_each_group_gets_its_own_population_deviation():
    x = np.asarray(jax.random.normal(jax.random.key(0), (8, 2, 2, 3))).copy()
    x[1::2] *= 10.0
    out = np.asarray(minibatch_std(jnp.asarray(x), 4))[..., 3]
    for members in (slice(0, None, 2), slice(1, None, 2)):
        np.testing.assert_allclose(out[members], x[members].std(axis=0).mean(), rtol=1e-4)


def test_gradient_is_finite_for_identical_examples():
    gradient = jax.grad(lambda x: minibatch_std(x, 4).sum())(jnp.ones((4, 2, 2, 1)))
    assert np.isfinite(gradient).all()
