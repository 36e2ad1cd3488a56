"""LIA against its definition in loops (Eq. 3; FACTS 2; T10)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.nn import loops
from tsgan_jax.nn.local_importance import (
    ImportanceParams,
    LocalImportanceAttention,
    importance_map,
    local_importance_attention,
    soft_pool,
)

MAP, ATTEND = jax.jit(importance_map), jax.jit(local_importance_attention)


def random_params(channels: int, width: int, seed: int = 0) -> ImportanceParams:
    draw = np.random.default_rng(seed).normal
    shapes = [(channels, width), (width,), (3, 3, width, width), (width,), (3, 3, width, channels), (channels,)]
    return ImportanceParams(*(jnp.asarray(draw(0, 0.5, shape), jnp.float32) for shape in shapes))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("shape", [(8, 8, 3), (16, 20, 4), (32, 17, 2)])
def test_equals_the_loops(shape: tuple[int, int, int]) -> None:
    params = random_params(shape[2], 5)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    p = ImportanceParams(*(np.asarray(a, np.float64) for a in params))
    y = np.asarray(soft_pool(jnp.asarray(x @ p.reduce + p.reduce_bias, jnp.float32)), np.float64)
    y = loops.conv(y[None], p.squeeze, 2, 1) + p.squeeze_bias
    y = loops.conv(y, p.expand, 1, 1)[0] + p.expand_bias
    w = loops.bilinear(sigmoid(y), *shape[:2])
    np.testing.assert_allclose(MAP(x, params), w, rtol=1e-4, atol=1e-5)
    expected = x * w * sigmoid(x[..., :1])
    np.testing.assert_allclose(ATTEND(x, params), expected, rtol=1e-4, atol=1e-5)


def test_map_and_gate_lie_between_0_and_1_and_the_gate_is_the_first_channels() -> None:
    params = random_params(3, 4)
    x = jnp.asarray(np.random.default_rng(2).normal(0, 4, (16, 16, 3)), jnp.float32)
    w = MAP(x, params)
    assert (w > 0).all() and (w < 1).all()
    closed = x.at[..., 0].set(0.0)
    np.testing.assert_allclose(ATTEND(closed, params), closed * MAP(closed, params) * 0.5, rtol=1e-6)


def test_bilinear_is_jax_image_resize_when_enlarging() -> None:
    params = random_params(1, 2, seed=4)
    x = jnp.asarray(np.random.default_rng(3).normal(size=(40, 33, 1)), jnp.float32)
    y = soft_pool(x @ params.reduce + params.reduce_bias)[None]
    for kernel, bias, stride in ((params.squeeze, params.squeeze_bias, 2), (params.expand, params.expand_bias, 1)):
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(y, kernel, (stride,) * 2, ((1, 1),) * 2, dimension_numbers=dimensions) + bias
    expected = jax.image.resize(nn.sigmoid(y[0]), x.shape, "bilinear")
    np.testing.assert_allclose(MAP(x, params), expected, rtol=1e-5, atol=1e-6)


def test_module_is_the_kernel_lifted_over_the_batch() -> None:
    layer = LocalImportanceAttention(width=4)
    x = jnp.asarray(np.random.default_rng(5).normal(size=(3, 16, 16, 6)), jnp.float32)
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    params = ImportanceParams(**variables["params"])
    batch = jax.jit(layer.apply)(variables, x)
    for one, expected in zip(x, batch, strict=True):
        np.testing.assert_allclose(ATTEND(one, params), expected, rtol=1e-5, atol=1e-6)
    # Kernels near zero: w and g start near one half.
    np.testing.assert_allclose(batch, x * 0.5 * nn.sigmoid(x[..., :1]), rtol=0.05, atol=1e-3)


POOL = jax.jit(soft_pool)


def naive(x: np.ndarray, window: int, stride: int) -> np.ndarray:
    """Softmax times value, summed, in float64, one window and channel at a time."""
    rows, cols = ((n - window) // stride + 1 for n in x.shape[:2])
    out = np.zeros((rows, cols, x.shape[2]))
    for i, j, c in np.ndindex(out.shape):
        values = x[i * stride : i * stride + window, j * stride : j * stride + window, c].astype(np.float64)
        share = np.exp(values - values.max())
        out[i, j, c] = (values * share).sum() / share.sum()
    return out


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [((7, 7, 1), 7, 3), ((16, 11, 3), 7, 3), ((9, 8, 2), 3, 2), ((5, 5, 1), 2, 4), ((4, 6, 2), 1, 1)],
)
def test_equals_the_definition(shape: tuple[int, ...], window: int, stride: int) -> None:
    x = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    pooled = soft_pool(x, window=window, stride=stride)
    np.testing.assert_allclose(pooled, naive(x, window, stride), rtol=2e-5, atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1e-3, 1.0, 30.0, 1e4]), st.sampled_from([0.0, -1e4, 1e4]))
def test_between_mean_and_maximum_at_any_magnitude(seed: int, scale: float, shift: float) -> None:
    x = (np.random.default_rng(seed).normal(0, scale, (7, 10, 2)) + shift).astype(np.float32)
    pooled = np.asarray(POOL(x))
    slack = 1e-6 * np.abs(x).max()
    for j in range(2):
        window = x[:, 3 * j : 3 * j + 7].astype(np.float64)
        assert (pooled[0, j] >= window.mean((0, 1)) - slack).all()
        assert (pooled[0, j] <= window.max((0, 1)) + slack).all()


@pytest.mark.parametrize("value", [0.0, -3.5, 1e4, -1e4, 88.8])
def test_a_constant_map_stays_that_constant(value: float) -> None:
    np.testing.assert_array_equal(POOL(jnp.full((13, 13, 2), value)), np.full((3, 3, 2), value, np.float32))


def test_gradient_equals_the_definition_and_is_finite_at_1e4() -> None:
    x = np.random.default_rng(1).normal(0, 2, (10, 7, 1)).astype(np.float32)
    weight = np.random.default_rng(2).normal(size=(2, 1, 1))
    grad = jax.jit(jax.grad(lambda x: (soft_pool(x) * weight).sum()))(x)
    for i, j in [(0, 0), (4, 3), (9, 6), (6, 1)]:
        step = np.zeros(x.shape)
        step[i, j] = 1e-4
        slope = ((naive(x + step, 7, 3) - naive(x - step, 7, 3)) * weight).sum() / 2e-4
        assert abs(float(grad[i, j, 0]) - slope) < 1e-4
    assert np.isfinite(jax.jit(jax.grad(lambda x: soft_pool(x).sum()))(x * 1e4)).all()


def test_bfloat16_is_pooled_in_float32() -> None:
    x = jnp.asarray(np.random.default_rng(3).normal(size=(7, 7, 4)), jnp.bfloat16)
    assert POOL(x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(POOL(x), POOL(x.astype(jnp.float32)).astype(jnp.bfloat16))


@pytest.mark.parametrize(("side", "pooled"), [(256, 84), (128, 41), (64, 20), (32, 9), (16, 4), (8, 1)])
def test_sizes_of_the_skips(side: int, pooled: int) -> None:
    assert jax.eval_shape(soft_pool, jnp.zeros((side, side, 1))).shape == (pooled, pooled, 1)


def test_a_map_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="4x9 is smaller than the 7x7 window"):
        soft_pool(jnp.zeros((4, 9, 1)))
