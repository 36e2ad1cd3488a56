"""PatchGAN: sizes, receptive field and independence of images (FACTS 3; T13)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.nn.layers import InstanceNorm, PatchCritic


@pytest.mark.parametrize(("side", "logits"), [(512, 62), (256, 30), (64, 6)])
def test_number_of_logits(side: int, logits: int) -> None:
    critic = PatchCritic(width=64)
    x = jax.ShapeDtypeStruct((2, side, side, 7), jnp.float32)
    variables = jax.eval_shape(critic.init, jax.random.key(0), x)
    out = jax.eval_shape(critic.apply, variables, x)
    assert out.shape == (2, logits, logits, 1) and out.dtype == jnp.float32
    assert variables["params"]["conv3"]["kernel"].shape == (4, 4, 256, 512)


def test_the_receptive_field_is_70_pixels() -> None:
    """Without its norms, whose statistics span the image, a logit's gradient reaches exactly 70 x 70 pixels."""
    critic = PatchCritic(width=2)
    x = jax.random.normal(jax.random.key(0), (1, 128, 128, 1))
    variables = jax.jit(critic.init)(jax.random.key(1), x)

    def without_norms(next_call: Callable, args: tuple, kwargs: dict, context: Any) -> jax.Array:
        return args[0] if isinstance(context.module, InstanceNorm) else next_call(*args, **kwargs)

    with nn.intercept_methods(without_norms):
        grad = jax.jit(jax.grad(lambda x: critic.apply(variables, x)[0, 7, 7, 0]))(x)[0, ..., 0]
    reached = np.argwhere(np.asarray(grad) != 0)
    first = 8 * 7 - 23  # a logit moves by 8 pixels; paddings of 1 at strides 1, 2, 4, 8 and 8 reach back by 23
    np.testing.assert_array_equal([reached.min(0), reached.max(0)], [[first, first], [first + 69, first + 69]])


def test_images_are_judged_alone() -> None:
    critic = PatchCritic(width=4, layers=2)
    x = jax.random.normal(jax.random.key(0), (3, 32, 32, 7))
    variables, judge = jax.jit(critic.init)(jax.random.key(1), x), jax.jit(critic.apply)
    np.testing.assert_allclose(judge(variables, x)[2:], judge(variables, x[2:]), rtol=1e-4, atol=1e-6)
