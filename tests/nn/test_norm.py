"""Instance norm: the statistics it takes, and why images do not mix (A17)."""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.nn.norm import InstanceNorm, instance_norm


def test_each_channel_of_each_image_gets_the_affines_mean_and_deviation() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(5, 3, (9, 7, 3)), jnp.float32)
    scale, bias = jnp.array([1.0, 2.0, -0.5]), jnp.array([0.0, 1.0, 4.0])
    y = np.asarray(instance_norm(x, scale, bias), np.float64)
    np.testing.assert_allclose(y.mean((0, 1)), bias, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1)), np.abs(scale), rtol=1e-4)


def test_equals_batch_normalisation_of_a_batch_of_one() -> None:
    x = np.random.default_rng(1).normal(2, 3, (1, 6, 6, 2))
    y = InstanceNorm().apply({"params": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}, jnp.asarray(x, jnp.float32))
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_without_affine_nothing_is_learned_and_scale_is_1() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3)) * 4.0 + 7.0
    layer = InstanceNorm(affine=False)
    assert not layer.init(jax.random.key(1), x)
    y = np.asarray(layer.apply({}, x))
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), 1, rtol=1e-4)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 4))
    layer = InstanceNorm()
    variables, apply = layer.init(jax.random.key(1), x), jax.jit(layer.apply)
    np.testing.assert_allclose(apply(variables, x)[1], apply(variables, x[1:2])[0], rtol=1e-6)


def test_bfloat16_statistics_are_taken_in_float32() -> None:
    x = jax.random.normal(jax.random.key(0), (64, 64, 2)) + 20.0
    y = instance_norm(x.astype(jnp.bfloat16), jnp.ones(2), jnp.zeros(2))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32).mean((0, 1)), 0, atol=0.01)
