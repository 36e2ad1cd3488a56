"""What keeps the nodule, a thousandth of the pixels, from being lost while resolutions fade in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax import labels
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import emphasise, nodule_scale
from tsgan_jax.masks.synthesis import TYPICAL_SHARES, layer_noise, synthesis_of


def test_emphasis_weighs_nodules_and_keeps_shares():
    shares = np.zeros((2, 6), np.float32)
    shares[0, [labels.LEFT_LUNG, labels.NODULE]] = 0.75, 0.25
    shares[1, [labels.BODY, labels.LEFT_LUNG]] = 0.5, 0.5
    out = np.asarray(emphasise(jnp.asarray(shares), 3.0))
    np.testing.assert_allclose(out.sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(out[0, labels.NODULE], 0.5, rtol=1e-6)  # 3 * .25 against .75
    np.testing.assert_array_equal(out[1], shares[1])


@pytest.mark.parametrize("weight", [1.0, 3.0, 10.0])
def test_emphasis_leaves_hard_labels_alone(weight):
    hard = np.eye(6, dtype=np.float32)[np.arange(6)]
    np.testing.assert_array_equal(np.asarray(emphasise(jnp.asarray(hard), weight)), hard)


def test_contrast_scales_the_nodule_channel_only():
    assert nodule_scale(2.0).tolist() == [1, 1, 1, 1, 1, 2]


def test_an_untrained_head_starts_near_the_typical_shares():
    config = MasksConfig(resolution=16, z_dim=16, w_dim=16, fmap_base=512, fmap_max=32, batch_size={4: 4, 8: 4, 16: 4})
    network = synthesis_of(config, plan(config)[-1])
    ws = jax.random.normal(jax.random.key(0), (16, 6, 16))
    noise = jax.vmap(lambda key: layer_noise(key, 16))(jax.random.split(jax.random.key(1), 16))
    params = network.init(jax.random.key(2), ws, noise, jnp.float32(1))
    mean = np.asarray(network.apply(params, ws, noise, jnp.float32(1))).mean((0, 1, 2))
    assert abs(TYPICAL_SHARES.sum() - 1) < 1e-6
    assert (mean[labels.NODULE] < 0.02) and (mean[labels.BACKGROUND] > 0.2)
