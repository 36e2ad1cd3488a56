"""The initialisation of stage 2."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.nn.layers import Conv, initialise
from tsgan_jax.nn.norm import GroupNorm, InstanceNorm


class Mixed(nn.Module):
    """Layers of several kinds."""

    @nn.compact
    def __call__(self, x):
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
