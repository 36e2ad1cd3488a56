"""Style modulation (T2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.nn.style import StyleEpilogue, instance_norm, modulate, pixel_norm

X = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (2, 8, 8, 5))
W = jax.random.normal(jax.random.key(1), (2, 16))
NOISE = jax.random.normal(jax.random.key(2), (2, 8, 8, 1))


def test_pixel_norm_has_unit_mean_square():
    z = 7.0 * jax.random.normal(jax.random.key(0), (4, 64))
    np.testing.assert_allclose((pixel_norm(z) ** 2).mean(axis=1), 1.0, rtol=1e-5)


def test_instance_norm_has_mean_zero_and_variance_one():
    y = instance_norm(X)
    np.testing.assert_allclose(y.mean(axis=(1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=(1, 2)), 1.0, rtol=1e-4)


def test_instance_norm_statistics_are_float32():
    """In bfloat16 the mean of many equal numbers would drift."""
    x = (100.0 + X).astype(jnp.bfloat16)
    y = instance_norm(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32).mean(axis=(1, 2)), 0.0, atol=0.01)


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
