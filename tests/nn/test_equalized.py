"""Equalised learning rate (T1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import loops
from tsgan_jax.nn.equalized import EqualizedConv, EqualizedDense, initialise
from tsgan_jax.nn.layers import GroupNorm
from tsgan_jax.nn.resample import downsample, upsample

KEY = jax.random.key(0)


@pytest.mark.parametrize("gain", [1.0, 2.0**0.5])
@pytest.mark.parametrize("lr_mul", [1.0, 0.01])
def test_dense_output_has_the_spread_of_its_gain(gain, lr_mul):
    layer = EqualizedDense(256, gain=gain, lr_mul=lr_mul)
    x = jax.random.normal(jax.random.key(1), (128, 300))
    params = layer.init(KEY, x)
    assert float(params["params"]["kernel"].std()) == pytest.approx(1.0 / lr_mul, rel=0.02)
    assert float(layer.apply(params, x).std()) == pytest.approx(gain, rel=0.05)


def test_conv_output_has_the_spread_of_its_gain():
    layer = EqualizedConv(64)
    x = jax.random.normal(jax.random.key(1), (2, 32, 32, 48))
    inner = layer.apply(layer.init(KEY, x), x)[:, 1:-1, 1:-1]
    assert float(inner.std()) == pytest.approx(2.0**0.5, rel=0.05)


def test_conv_is_the_plain_loop():
    layer = EqualizedConv(3, gain=1.5)
    x = np.asarray(jax.random.normal(jax.random.key(1), (1, 5, 4, 2)))
    params = layer.init(KEY, x)
    expected = loops.conv(x, params["params"]["kernel"] * 1.5 / 18**0.5, padding=1)
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_fused_resampling_is_that_of_the_two_steps(resample):
    x = jax.random.normal(jax.random.key(1), (2, 4, 6, 3))
    fused, plain = (EqualizedConv(5, resample=kind) for kind in (resample, "none"))
    params = fused.init(KEY, x)
    two_steps = plain.apply(params, upsample(x)) if resample == "up" else downsample(plain.apply(params, x))
    np.testing.assert_allclose(fused.apply(params, x), two_steps, atol=1e-5)


def test_learning_rate_multiplier_scales_bias_and_step():
    """A unit of gradient step moves the effective weight by gain / sqrt(fan_in) * lr_mul."""
    layer = EqualizedDense(1, gain=1.0, lr_mul=0.01)
    x = jnp.ones((1, 4))
    params = {"params": {"kernel": jnp.zeros((4, 1)), "bias": jnp.full(1, 3.0)}}
    moved = {"params": {"kernel": jnp.ones((4, 1)), "bias": jnp.full(1, 3.0)}}
    assert float(layer.apply(params, x)[0, 0]) == pytest.approx(0.03)
    assert float((layer.apply(moved, x) - layer.apply(params, x))[0, 0]) == pytest.approx(4 * 0.01 / 2)


def test_bfloat16_computes_in_it_and_keeps_float32_parameters():
    layer = EqualizedConv(8, dtype="bfloat16")
    params = layer.init(KEY, jnp.zeros((1, 4, 4, 2)))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert layer.apply(params, jnp.zeros((1, 4, 4, 2))).dtype == jnp.bfloat16


class Mixed(nn.Module):
    """Equalised layers among others."""

    @nn.compact
    def __call__(self, x):
        constant = self.param("constant", nn.initializers.ones, (3,))
        x = EqualizedDense(200, lr_mul=0.1, name="first")(x)
        x = EqualizedConv(100, name="second")(x[:, None, None])
        x = GroupNorm(name="norm")(nn.Conv(8, (1, 1), name="plain_conv")(x))
        return nn.Dense(4, name="plain", kernel_init=nn.initializers.constant(7.0))(x), constant


@pytest.fixture(scope="module")
def usual_and_drawn():
    """Parameters as Flax's `init` and as `initialise` gives them."""
    x = jnp.zeros((1, 150))
    return Mixed().init(KEY, x)["params"], initialise(Mixed(), KEY, x)


def test_initialise_has_the_tree_and_the_distribution_of_init(usual_and_drawn):
    usual, drawn = usual_and_drawn
    assert jax.tree.map(jnp.shape, usual) == jax.tree.map(jnp.shape, drawn)
    for name, deviation in (("first", 10.0), ("second", 1.0)):
        kernel = np.asarray(drawn[name]["kernel"])
        assert kernel.std() == pytest.approx(deviation, rel=0.03)
        assert abs(kernel.mean()) < 0.02 * deviation
        assert not any(leaf.any() for leaf in jax.tree.leaves(drawn[name]["bias"]))
    flat = [np.asarray(drawn[name]["kernel"]).ravel()[:1000] for name in ("first", "second")]
    assert abs(np.corrcoef(flat)[0, 1]) < 0.1


def test_initialise_leaves_other_layers_as_init_has_them(usual_and_drawn):
    usual, drawn = usual_and_drawn
    for name in ("plain", "plain_conv", "norm", "constant"):
        jax.tree.map(np.testing.assert_array_equal, drawn[name], usual[name])
    np.testing.assert_array_equal(drawn["plain"]["kernel"], 7.0)
    np.testing.assert_array_equal(drawn["norm"]["scale"], 1.0)
