"""DWMH against loops, and what it promises (Eq. 6; A8 to A13; T11)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.nn.window_attention import DynamicWindowAttention, attend, merge, partition, window_attention


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def loop_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, weights: np.ndarray, s: int) -> np.ndarray:
    """Pixel by pixel: every pixel looks at the pixels of its own window, head by head."""
    h, w, c = v.shape
    d = c // len(weights)
    out = np.zeros(v.shape)
    for i, j, head in np.ndindex(h - h % s, w - w % s, len(weights)):
        part = slice(head * d, (head + 1) * d)
        window = [(y, x) for y in range(i // s * s, i // s * s + s) for x in range(j // s * s, j // s * s + s)]
        scores = [math.exp(q[i, j, part] @ k[y, x, part] / math.sqrt(d)) for y, x in window]
        for score, (y, x) in zip(scores, window, strict=True):
            out[i, j, part] += weights[head] * score / sum(scores) * v[y, x, part]
    return out


@pytest.mark.parametrize(("shape", "heads", "window"), [((4, 4, 4), 1, 2), ((8, 4, 6), 3, 4), ((5, 7, 4), 2, 2)])
def test_equals_the_loops(shape: tuple[int, int, int], heads: int, window: int) -> None:
    q, k, v = (draw(*shape, seed=i) for i in range(3))
    weights = draw(heads, seed=4)
    expected = loop_attention(*(np.asarray(a, np.float64) for a in (q, k, v)), np.asarray(weights), window)
    np.testing.assert_allclose(attend(q, k, v, weights, window), expected, rtol=1e-4, atol=1e-5)


def test_one_head_weight_scales_that_head() -> None:
    q, k, v = (draw(4, 3, seed=i) for i in range(3))
    np.testing.assert_allclose(
        window_attention(q, k, v, jnp.float32(-2.0)), -2 * window_attention(q, k, v, jnp.float32(1.0)), rtol=1e-6
    )


def test_partition_is_undone_by_merge() -> None:
    x = draw(8, 12, 3)
    windows = partition(x, 4)
    np.testing.assert_array_equal(windows[1].reshape(4, 4, 3), x[:4, 4:8])
    np.testing.assert_array_equal(merge(windows, 8, 12), x)


def layer_and_params(gamma: float, x: jax.Array) -> tuple[DynamicWindowAttention, dict]:
    layer = DynamicWindowAttention(heads=2, window=4)
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    assert params["gamma"] == 0 and (params["head_weights"] == 1).all()
    return layer, {**params, "gamma": jnp.float32(gamma)}


def test_identity_at_init_and_without_head_weights() -> None:
    x = draw(2, 8, 8, 4)
    layer, params = layer_and_params(0.0, x)
    np.testing.assert_array_equal(layer.apply({"params": params}, x), x)
    silent = {**params, "gamma": jnp.float32(7.0), "head_weights": jnp.zeros(2)}
    np.testing.assert_array_equal(layer.apply({"params": silent}, x), x)


def test_only_gamma_learns_at_init() -> None:
    x = draw(1, 8, 8, 4)
    layer, params = layer_and_params(0.0, x)
    grads = jax.jit(jax.grad(lambda p: jnp.square(layer.apply({"params": p}, x) - 1).sum()))(params)
    assert grads.pop("gamma") != 0
    assert all((g == 0).all() for g in grads.values())


def test_windows_do_not_see_each_other() -> None:
    x = draw(1, 8, 8, 4)
    layer, params = layer_and_params(0.7, x)
    y = layer.apply({"params": params}, x)
    swapped = jnp.concatenate([x[:, 4:], x[:, :4]], 1)
    np.testing.assert_allclose(
        layer.apply({"params": params}, swapped), jnp.concatenate([y[:, 4:], y[:, :4]], 1), rtol=1e-5, atol=1e-6
    )
    changed = layer.apply({"params": params}, x.at[0, 0, 0].add(3.0)) - y
    assert (jnp.abs(changed[0, :4, :4]).max(-1) > 0).all()
    assert (changed[0, 4:] == 0).all() and (changed[0, :, 4:] == 0).all()


def test_remainder_rows_and_columns_pass_through() -> None:
    x = draw(1, 9, 10, 4)
    layer, params = layer_and_params(0.7, x)
    y = layer.apply({"params": params}, x)
    np.testing.assert_array_equal(y[:, 8:], x[:, 8:])
    np.testing.assert_array_equal(y[:, :, 8:], x[:, :, 8:])
    assert (y[:, :8, :8] != x[:, :8, :8]).any()


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="3 heads do not divide 4 channels"):
        DynamicWindowAttention(heads=3).init(jax.random.key(0), draw(1, 4, 4, 4))


def test_softmax_of_large_scores_is_finite_in_bfloat16() -> None:
    q = (1e3 * draw(16, 8)).astype(jnp.bfloat16)
    y = window_attention(q, q, q, jnp.float32(1.0))
    assert y.dtype == jnp.bfloat16 and jnp.isfinite(y.astype(jnp.float32)).all()
