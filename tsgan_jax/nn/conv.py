"""Two-dimensional convolutions, NHWC activations and HWIO kernels."""

from jax import lax

from tsgan_jax.types import Array

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv2d(x: Array, w: Array, *, stride: int = 1, padding: int = 0) -> Array:
    """Cross-correlation of x [n, h, w, c] with w [k, k, c, f], `padding` zeros on each side."""
    return lax.conv_general_dilated(
        x, w, (stride, stride), ((padding, padding), (padding, padding)), dimension_numbers=DIMENSIONS
    )


def conv_transpose2d(x: Array, w: Array) -> Array:
    """The 4x4, stride 2, padding 1 transposed convolution that doubles height and width.

    x: [n, h, w, c]; w: [4, 4, c, f], in PyTorch's orientation of `ConvTranspose2d` (kernel not flipped
    by the caller).  Returns [n, 2h, 2w, f].
    """
    return lax.conv_general_dilated(
        x, w[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS
    )
