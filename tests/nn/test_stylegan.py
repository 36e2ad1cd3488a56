"""Style modulation (T2), minibatch standard deviation and straight-through Gumbel softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.nn.stylegan import (
    EPSILON,
    StyleEpilogue,
    group_size,
    minibatch_std,
    modulate,
    pixel_norm,
    sample_one_hot,
)

X = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (2, 8, 8, 5))
W = jax.random.normal(jax.random.key(1), (2, 16))
NOISE = jax.random.normal(jax.random.key(2), (2, 8, 8, 1))


def test_pixel_norm_has_unit_mean_square():
    z = 7.0 * jax.random.normal(jax.random.key(0), (4, 64))
    np.testing.assert_allclose((pixel_norm(z) ** 2).mean(axis=1), 1.0, rtol=1e-5)


def test_modulation_of_zero_style_is_the_identity():
    np.testing.assert_array_equal(modulate(X, jnp.zeros((2, 10))), X)


def test_modulation_scales_then_shifts():
    style = jnp.concatenate([jnp.full((2, 5), 2.0), jnp.full((2, 5), -1.0)], axis=1)
    np.testing.assert_allclose(modulate(X, style), 3.0 * X - 1.0, rtol=1e-5)


@pytest.fixture(scope="module")
def epilogue():
    module = StyleEpilogue()
    return module, module.init(jax.random.key(3), X, W, NOISE)["params"]


def test_noise_has_no_effect_at_the_start_and_is_per_channel_later(epilogue):
    module, params = epilogue
    quiet = module.apply({"params": params}, X, W, 0.0 * NOISE)
    np.testing.assert_array_equal(module.apply({"params": params}, X, W, NOISE), quiet)
    loud = module.apply({"params": {**params, "noise": jnp.array([0.0, 0, 5, 0, 0])}}, X, W, NOISE)
    changed = np.abs(np.asarray(loud - quiet)).max(axis=(0, 1, 2)) > 0.1
    np.testing.assert_array_equal(changed, [False, False, True, False, False])


def test_order_is_noise_bias_rectifier_norm_style(epilogue):
    module, params = epilogue
    bias, strength = jnp.arange(5.0) - 6.0, jnp.linspace(-1.0, 1.0, 5)
    params = {**params, "noise": strength, "bias": {"bias": bias}}
    x = np.asarray(X + NOISE * strength + bias)
    x = np.where(x > 0, x, 0.2 * x)
    x = (x - x.mean(axis=(1, 2), keepdims=True)) / x.std(axis=(1, 2), keepdims=True)
    style = np.asarray(W @ params["style"]["kernel"] / 4.0 + params["style"]["bias"])
    expected = x * (1.0 + style[:, None, None, :5]) + style[:, None, None, 5:]
    np.testing.assert_allclose(module.apply({"params": params}, X, W, NOISE), expected, atol=1e-4)


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
