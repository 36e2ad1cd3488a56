"""Convolutions against plain loops, and their first and second gradients against lax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.nn import loops
from tsgan_jax.nn import conv

CASES = [  # size, kernel, stride, padding
    pytest.param(6, 3, 1, 1, id="3x3"),
    pytest.param(6, 4, 2, 1, id="4x4 stride 2"),
    pytest.param(7, 4, 2, 1, id="4x4 stride 2, odd size"),
    pytest.param(6, 4, 1, 1, id="4x4 stride 1"),
    pytest.param(7, 3, 2, 1, id="3x3 stride 2"),
    pytest.param(8, 3, 2, 1, id="3x3 stride 2, even size"),
    pytest.param(5, 1, 1, 0, id="1x1"),
    pytest.param(5, 2, 1, 0, id="2x2"),
    pytest.param(5, 1, 2, 0, id="1x1 stride 2"),
    pytest.param(9, 7, 1, 0, id="7x7"),
]


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def loop_conv_transpose(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Every input pixel paints the kernel, two pixels apart; one pixel is cut off at each border."""
    n, h, width, _ = x.shape
    k = w.shape[0]
    y = np.zeros((n, 2 * h + 2, 2 * width + 2, w.shape[3]))
    for i in range(h):
        for j in range(width):
            y[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += np.einsum("nc,abcf->nabf", x[:, i, j], w)
    return y[:, 1:-1, 1:-1]


def lax_conv(x: jax.Array, w: jax.Array, stride: int, padding: int) -> jax.Array:
    return lax.conv_general_dilated(
        x, w, (stride, stride), ((padding, padding),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def assert_near(got: object, expected: object, tolerance: float = 2e-5) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, float(jnp.abs(b).max())))


def penalty(f, x: jax.Array, w: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """A scalar of x and w whose gradient holds second derivatives of f, like a gradient penalty, and the first ones."""
    dx, dw = jax.grad(lambda x, w: jnp.sum(jnp.tanh(f(x, w))), argnums=(0, 1))(x, w)
    return jnp.sum(dx**2) + jnp.sum(jnp.sin(dw)), (dx, dw)


def gradients(f, x: jax.Array, w: jax.Array) -> object:
    """Of both orders."""
    return jax.jit(jax.grad(lambda x, w: penalty(f, x, w), argnums=(0, 1), has_aux=True))(x, w)


@pytest.mark.parametrize(("size", "k", "stride", "padding"), CASES)
def test_conv2d_is_the_loop(size, k, stride, padding):
    x, w = arrays((2, size, size + 2, 3), (k, k, 3, 5))
    got = conv.conv2d(x, w, stride=stride, padding=padding)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, loops.conv(x, w, stride, padding), atol=2e-5)


@pytest.mark.parametrize("k", [3, 4])
def test_conv_transpose2d_is_the_loop(k):
    x, w = arrays((2, 3, 4, 3), (k, k, 3, 5))
    expected = loop_conv_transpose(np.asarray(x, np.float64), np.asarray(w, np.float64))
    np.testing.assert_allclose(conv.conv_transpose2d(x, w), expected, atol=2e-5)


@pytest.mark.parametrize(("size", "k", "stride", "padding"), CASES)
def test_gradients_of_two_orders(size, k, stride, padding):
    x, w = arrays((2, size, size, 3), (k, k, 3, 4))

    def ours(x, w):
        return conv.conv2d(x, w, stride=stride, padding=padding)

    def plain(x, w):
        return lax_conv(x, w, stride, padding)

    assert_near(gradients(ours, x, w), gradients(plain, x, w))


@pytest.mark.parametrize(("c", "f"), [(1, 3), (3, 1)])
def test_gradients_of_a_large_kernel_between_one_channel_and_several(c, f):
    x, w = arrays((2, 8, 9, c), (7, 7, c, f))
    assert_near(gradients(conv.conv2d, x, w), gradients(lambda x, w: lax_conv(x, w, 1, 0), x, w))


@pytest.mark.parametrize("k", [3, 4])
def test_gradients_of_the_transposed_convolution(k):
    x, w = arrays((2, 3, 5, 3), (k, k, 3, 4))

    def plain(x, w):
        return lax.conv_general_dilated(
            x, w[::-1, ::-1], (1, 1), ((k - 2, 2),) * 2, lhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert_near(gradients(conv.conv_transpose2d, x, w), gradients(plain, x, w))


def test_third_order_gradient():
    x, w = arrays((1, 4, 4, 2), (3, 3, 2, 2))

    def third(f):
        return jax.jit(jax.grad(lambda w: jnp.sum(jax.grad(lambda x: penalty(f, x, w)[0])(x) ** 2)))(w)

    assert_near(
        third(lambda x, w: conv.conv2d(x, w, padding=1)), third(lambda x, w: lax_conv(x, w, 1, 1)), tolerance=1e-4
    )


def test_upsample_conv2d_is_its_two_steps():
    x, w = arrays((2, 4, 6, 3), (3, 3, 3, 5))

    def two_steps(x, w):
        return lax_conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), w, 1, 1)

    assert_near(conv.upsample_conv2d(x, w), two_steps(x, w))
    assert_near(gradients(conv.upsample_conv2d, x, w), gradients(two_steps, x, w))


def test_conv2d_downsample_is_its_two_steps():
    x, w = arrays((2, 4, 6, 3), (3, 3, 3, 5))

    def two_steps(x, w):
        y = lax_conv(x, w, 1, 1)
        return y.reshape(y.shape[0], y.shape[1] // 2, 2, y.shape[2] // 2, 2, y.shape[3]).mean((2, 4))

    assert_near(conv.conv2d_downsample(x, w), two_steps(x, w))
    assert_near(gradients(conv.conv2d_downsample, x, w), gradients(two_steps, x, w))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_of_gradients(axes):
    x, w = arrays((3, 2, 6, 6, 2) if axes[0] == 0 else (2, 6, 6, 2), (3, 4, 4, 2, 3) if axes[1] == 0 else (4, 4, 2, 3))

    def gradient(f):
        return jax.grad(lambda x, w: jnp.sum(f(x, w) ** 2), argnums=(0, 1))

    got = jax.vmap(gradient(lambda x, w: conv.conv2d(x, w, stride=2, padding=1)), axes)(x, w)
    assert_near(got, jax.vmap(gradient(lambda x, w: lax_conv(x, w, 2, 1)), axes)(x, w))


def test_bfloat16_keeps_its_type_through_the_gradient():
    x, w = (a.astype(jnp.bfloat16) for a in arrays((2, 8, 8, 3), (4, 4, 3, 4)))

    def scalar(f):
        return jax.grad(lambda x, w: jnp.sum(f(x, w).astype(jnp.float32)), argnums=(0, 1))

    got = scalar(lambda x, w: conv.conv2d(x, w, stride=2, padding=1))(x, w)
    exact = scalar(lambda x, w: lax_conv(x, w, 2, 1))(x.astype(jnp.float32), w.astype(jnp.float32))
    for a, b in zip(got, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.02 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("k", [3, 4])
def test_other_backends_take_the_plain_form(monkeypatch, k):
    """What an accelerator would trace: the same numbers, from lax convolutions without custom gradients."""
    x, w, up = arrays((1, 6, 6, 2), (k, k, 2, 3), (k, k, 2, 3))
    on_cpu = conv.conv2d(x, w, stride=2, padding=1), conv.conv_transpose2d(x, up)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plain = conv.conv2d(x, w, stride=2, padding=1), conv.conv_transpose2d(x, up)
    assert_near(plain, on_cpu)
    jaxpr = jax.make_jaxpr(lambda x: conv.conv_transpose2d(conv.conv2d(x, w, stride=2, padding=1), up.swapaxes(2, 3)))
    assert "custom_vjp" not in str(jaxpr(x))
