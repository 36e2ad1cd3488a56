"""Residual networks: sizes, and a block whose convolutions do nothing; the torch peers compare the rest."""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.nn.resnet import Decoder, Encoder, ResidualBlock, reflect


def test_a_block_of_zero_kernels_is_the_identity() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 4))
    block = ResidualBlock()
    zeros = jax.tree.map(jnp.zeros_like, block.init(jax.random.key(1), x))
    np.testing.assert_array_equal(block.apply(zeros, x), x)


def test_reflection_does_not_repeat_the_border() -> None:
    x = jnp.arange(5.0).reshape(1, 1, 5, 1) + 10 * jnp.arange(4.0).reshape(1, 4, 1, 1)
    y = np.asarray(reflect(x, 3))[0, ..., 0]
    assert list(y[3]) == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]
    assert list(y[:, 3]) == [30, 20, 10, 0, 10, 20, 30, 20, 10, 0]


def test_encoder_and_decoder_change_the_side_by_four() -> None:
    image = jax.ShapeDtypeStruct((2, 64, 32, 1), jnp.float32)
    inner, _ = jax.eval_shape(lambda x: Encoder(8, 3).init_with_output(jax.random.key(0), x), image)
    assert inner.shape == (2, 16, 8, 32)
    outer, params = jax.eval_shape(lambda x: Decoder(8).init_with_output(jax.random.key(0), x), inner)
    assert outer.shape == (2, 64, 32, 8)
    assert params["params"]["up0"]["kernel"].shape == (3, 3, 32, 16)
