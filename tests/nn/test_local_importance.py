"""LIA against its definition in loops (Eq. 3; FACTS 2; T10)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tsgan_jax.nn.local_importance import (
    ImportanceParams,
    LocalImportanceAttention,
    importance_map,
    local_importance_attention,
)
from tsgan_jax.nn.soft_pool import soft_pool

MAP, ATTEND = jax.jit(importance_map), jax.jit(local_importance_attention)


def random_params(channels: int, width: int, seed: int = 0) -> ImportanceParams:
    draw = np.random.default_rng(seed).normal
    shapes = [(channels, width), (width,), (3, 3, width, width), (width,), (3, 3, width, channels), (channels,)]
    return ImportanceParams(*(jnp.asarray(draw(0, 0.5, shape), jnp.float32) for shape in shapes))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def loop_conv3x3(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int) -> np.ndarray:
    rows, cols = ((n + 2 - 3) // stride + 1 for n in x.shape[:2])
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((rows, cols, w.shape[3]))
    for i, j, o in np.ndindex(out.shape):
        out[i, j, o] = (padded[i * stride : i * stride + 3, j * stride : j * stride + 3] * w[..., o]).sum() + b[o]
    return out


def loop_bilinear(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-pixel centres, the edge's value beyond the edge."""
    out = np.zeros((height, width, x.shape[2]))
    for i, j in np.ndindex(height, width):
        y = min(max((i + 0.5) * x.shape[0] / height - 0.5, 0), x.shape[0] - 1)
        z = min(max((j + 0.5) * x.shape[1] / width - 0.5, 0), x.shape[1] - 1)
        y0, z0 = int(y), int(z)
        y1, z1 = min(y0 + 1, x.shape[0] - 1), min(z0 + 1, x.shape[1] - 1)
        top = x[y0, z0] * (1 - (z - z0)) + x[y0, z1] * (z - z0)
        bottom = x[y1, z0] * (1 - (z - z0)) + x[y1, z1] * (z - z0)
        out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


@pytest.mark.parametrize("shape", [(8, 8, 3), (16, 20, 4), (32, 17, 2)])
def test_equals_the_loops(shape: tuple[int, int, int]) -> None:
    params = random_params(shape[2], 5)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    p = ImportanceParams(*(np.asarray(a, np.float64) for a in params))
    y = np.asarray(soft_pool(jnp.asarray(x @ p.reduce + p.reduce_bias, jnp.float32)), np.float64)
    y = loop_conv3x3(loop_conv3x3(y, p.squeeze, p.squeeze_bias, 2), p.expand, p.expand_bias, 1)
    w = loop_bilinear(sigmoid(y), *shape[:2])
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
