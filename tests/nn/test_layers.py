"""Layers of stage 2: norms, initialisation, and the PatchGAN's sizes and receptive field (FACTS 3; T13)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.nn.layers import Conv, GroupNorm, InstanceNorm, PatchCritic, initialise, instance_norm


class Mixed(nn.Module):
    """Layers of several kinds."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = InstanceNorm(name="instance_norm")(Conv(256, name="conv")(x))
        return nn.Dense(64, name="dense")(GroupNorm(name="group_norm")(x))


def test_initialise_draws_kernels_and_instance_norms_and_nothing_else():
    params = initialise(Mixed(), jax.random.key(0), jnp.zeros((1, 4, 4, 8)))
    for name in ("conv", "dense"):
        assert float(params[name]["kernel"].std()) == pytest.approx(0.02, rel=0.05)
        assert not params[name]["bias"].any()
    scale = np.asarray(params["instance_norm"]["scale"])
    assert scale.mean() == pytest.approx(1.0, abs=0.01) and scale.std() == pytest.approx(0.02, rel=0.2)
    np.testing.assert_array_equal(params["group_norm"]["scale"], 1.0)
    assert not any(params[name]["bias"].any() for name in ("instance_norm", "group_norm"))


def test_instance_norm_is_batch_normalisation_of_a_batch_of_one() -> None:
    """A17; so an image does not depend on its neighbours."""
    x = np.random.default_rng(1).normal(2, 3, (3, 6, 6, 2))
    y = instance_norm(jnp.asarray(x, jnp.float32), jnp.array([1.0, -0.5]), jnp.array([0.0, 4.0]))
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected * [1.0, -0.5] + [0.0, 4.0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(instance_norm(jnp.asarray(x, jnp.float32)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mean", [20.0, 100.0])
def test_bfloat16_statistics_are_taken_in_float32(mean: float) -> None:
    """In bfloat16 the mean of many equal numbers would drift."""
    x = jax.random.normal(jax.random.key(0), (1, 64, 64, 2)) + mean
    y = instance_norm(x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32).mean((1, 2)), 0, atol=0.01)


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
