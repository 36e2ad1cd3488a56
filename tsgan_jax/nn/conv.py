"""Two-dimensional convolutions (NHWC activations, HWIO kernels) with gradients that are fast on a CPU.

On an accelerator these are plain `lax` convolutions.  XLA:CPU runs the forward convolution near the speed of
the hardware, but not its gradients: the gradient to the kernel becomes a convolution with a window as large as
the image, and the second derivative of a strided one becomes a scalar loop.  On a CPU the three bilinear maps of
a convolution y = F(x, w) are therefore written explicitly,

    F(x, w)   the output,
    X(dy, w)  the gradient to the input, which is also the transposed convolution,
    W(x, dy)  the gradient to the kernel, a matrix product for each of its elements (or rows, where it is large),

and the derivative of each uses the other two, so gradients of any order use only these three (the gradient
penalty needs the second).  They are `custom_vjp`s, so on a CPU only reverse mode works.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tsgan_jax.types import Array

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Size = tuple[int, int]


def conv2d(x: Array, w: Array, *, stride: int = 1, padding: int = 0) -> Array:
    """Cross-correlation of x [n, h, w, c] with w [k, k, c, f], `padding` zeros on each side.

    Returns [n, (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1, f]; x and w share a dtype.
    """
    if w.shape[:2] == (1, 1) and stride == 1 and padding == 0:
        return jnp.einsum("nhwc,cf->nhwf", x, w[0, 0])
    if not _on_cpu():
        return _correlate(x, w, stride, padding)
    return _output(x, w, stride, padding)


def conv_transpose2d(x: Array, w: Array) -> Array:
    """Transposed convolution of stride 2 and padding 1, which doubles height and width; the kernel is 4x4 or 3x3.

    x: [n, h, w, c]; w: [k, k, c, f], as in PyTorch's `ConvTranspose2d` (output padding 1 for k = 3).  Returns
    [n, 2h, 2w, f].
    """
    k = w.shape[0]
    if not _on_cpu():
        pads = (k - 2, 2)
        return lax.conv_general_dilated(
            x, w[::-1, ::-1], (1, 1), (pads, pads), lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS
        )
    return _input_gradient(x, jnp.swapaxes(w, 2, 3), 2, 1, (2 * x.shape[1], 2 * x.shape[2]))


def upsample_conv2d(x: Array, w: Array) -> Array:
    """Nearest-neighbour doubling, then the 3x3 convolution with padding 1, in 4/9 of the multiplications.

    x: [n, h, w, c]; w: [3, 3, c, f].  Returns [n, 2h, 2w, f].  Each output pixel depends on 2x2 inputs, so
    the two steps equal a transposed 4x4 convolution whose kernel is a sum of shifted copies, up to rounding
    ("fused scale", Karras et al. 2018).
    """
    return conv_transpose2d(x, _widened(w[::-1, ::-1]))


def conv2d_downsample(x: Array, w: Array) -> Array:
    """The 3x3 convolution with padding 1, then the mean over 2x2 pixels, in 4/9 of the multiplications.

    x: [n, h, w, c] with even h and w; w: [3, 3, c, f].  Returns [n, h/2, w/2, f].
    """
    return conv2d(x, 0.25 * _widened(w), stride=2, padding=1)


def _widened(w: Array) -> Array:
    """A 3x3 kernel convolved with a 2x2 of ones: [4, 4, c, f]."""
    rows = jnp.pad(w, ((0, 1), (0, 0), (0, 0), (0, 0))) + jnp.pad(w, ((1, 0), (0, 0), (0, 0), (0, 0)))
    return jnp.pad(rows, ((0, 0), (0, 1), (0, 0), (0, 0))) + jnp.pad(rows, ((0, 0), (1, 0), (0, 0), (0, 0)))


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _correlate(x: Array, w: Array, stride: int, padding: int) -> Array:
    pads = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=DIMENSIONS)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _output(x: Array, w: Array, stride: int, padding: int) -> Array:
    """F(x, w)."""
    return _correlate(x, w, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _input_gradient(dy: Array, w: Array, stride: int, padding: int, size: Size) -> Array:
    """X(dy, w): dy [n, h', w', f], w [k, k, c, f] -> [n, *size, c], `size` is that of F's input."""
    k, even = w.shape[0], size == (2 * dy.shape[1], 2 * dy.shape[2])
    if k in (3, 4) and (stride, padding) == (2, 1) and even:
        return _four_phases(dy, jnp.pad(w, ((0, 4 - k), (0, 4 - k), (0, 0), (0, 0))))
    ends = zip(size, dy.shape[1:3], strict=True)
    pads = [(k - 1 - padding, full - (part - 1) * stride - 1 + padding) for full, part in ends]
    flipped = jnp.swapaxes(w[::-1, ::-1], 2, 3)
    return lax.conv_general_dilated(
        dy, flipped, (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=DIMENSIONS
    )


def _four_phases(dy: Array, w: Array) -> Array:
    """X for the 4x4 kernel, stride 2, padding 1: [n, h, w, f] -> [n, 2h, 2w, c].

    An output pixel depends on 2x2 pixels of dy and on one of four 2x2 parts of the kernel, given by the parity of its
    row and column.  One 2x2 convolution over the (h + 1) x (w + 1) windows of the padded dy computes all four.
    """
    n, h, width, f = dy.shape
    c = w.shape[2]
    taps = w[::-1, ::-1].reshape(2, 2, 2, 2, c, f)  # the tap of parity p at window position i is 2 i + p, reversed
    parts = taps.transpose(0, 2, 5, 1, 3, 4).reshape(2, 2, f, 4 * c)
    phases = _correlate(dy, parts, 1, 1).reshape(n, h + 1, width + 1, 2, 2, c)
    rows = [
        jnp.stack([phases[:, p : p + h, q : q + width, p, q] for q in (0, 1)], axis=3)  # parity p starts at window p
        for p in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * width, c)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(x: Array, dy: Array, stride: int, padding: int, k: int) -> Array:
    """W(x, dy): [n, h, w, c], [n, h', w', f] -> [k, k, c, f]; sums in float32."""
    padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    if stride == 1 and k > 4:
        return _row_products(padded, dy, k).astype(x.dtype)
    if k % stride:
        return _products(padded, dy, stride, k)
    # Each stride x stride block of pixels becomes one pixel with more channels.  A 4x4 kernel of stride 2 then needs
    # a quarter of the products, each four times as large, and compiles faster.
    n, h, width, f = dy.shape
    c, s, m = x.shape[3], stride, k // stride
    rows, cols = h + m - 1, width + m - 1
    blocks = padded[:, : rows * s, : cols * s].reshape(n, rows, s, cols, s, c)
    products = _products(blocks.swapaxes(2, 3).reshape(n, rows, cols, s * s * c), dy, 1, m)
    return products.reshape(m, m, s, s, c, f).swapaxes(1, 2).reshape(k, k, c, f)


def _products(padded: Array, dy: Array, stride: int, k: int) -> Array:
    """One matrix product for each kernel element: its input pixels, transposed, times dy."""
    n, h, width, f = dy.shape
    c = padded.shape[3]
    flat = dy.reshape(-1, f)

    def product(i: int, j: int) -> Array:
        end = (n, i + (h - 1) * stride + 1, j + (width - 1) * stride + 1, c)
        met = lax.slice(padded, (0, i, j, 0), end, (1, stride, stride, 1)).reshape(-1, c)
        return lax.dot_general(met, flat, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    products = jnp.stack([product(i, j) for i in range(k) for j in range(k)])
    return products.reshape(k, k, c, f).astype(padded.dtype)


def _row_products(padded: Array, dy: Array, k: int) -> Array:
    """`_products` for large kernels: stride 1, float32, one matrix product for each row of the kernel.

    The operand with fewer channels is repeated for each column: ten times faster for a 7x7 kernel of one channel.
    """
    n, h, width, f = dy.shape
    c = padded.shape[3]
    if f < c:  # the same sums, over shifts of dy
        around = jnp.pad(dy, ((0, 0), (k - 1, k - 1), (k - 1, k - 1), (0, 0)))
        return _row_products(around, padded, k)[::-1, ::-1].swapaxes(2, 3)
    columns = jnp.concatenate([padded[:, :, j : j + width] for j in range(k)], axis=3)
    flat = dy.reshape(-1, f)

    def product(i: int) -> Array:
        met = columns[:, i : i + h].reshape(-1, k * c)
        return lax.dot_general(met, flat, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    return jnp.stack([product(i) for i in range(k)]).reshape(k, k, c, f)


def _output_bwd(stride: int, padding: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = saved
    dx = _input_gradient(dy, w, stride, padding, x.shape[1:3])
    return dx, _kernel_gradient(x, dy, stride, padding, w.shape[0])


def _input_gradient_bwd(
    stride: int, padding: int, size: Size, saved: tuple[Array, Array], x: Array
) -> tuple[Array, Array]:
    dy, w = saved
    return _output(x, w, stride, padding), _kernel_gradient(x, dy, stride, padding, w.shape[0])


def _kernel_gradient_bwd(
    stride: int, padding: int, k: int, saved: tuple[Array, Array], w: Array
) -> tuple[Array, Array]:
    x, dy = saved
    return _input_gradient(dy, w, stride, padding, x.shape[1:3]), _output(x, w, stride, padding)


for _map, _backward in (
    (_output, _output_bwd),
    (_input_gradient, _input_gradient_bwd),
    (_kernel_gradient, _kernel_gradient_bwd),
):
    _map.defvjp(lambda a, b, *static, _map=_map: (_map(a, b, *static), (a, b)), _backward)
