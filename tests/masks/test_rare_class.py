"""What keeps the nodule, a thousandth of the pixels, from being lost while resolutions fade in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax import labels
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import crisp, nodule_scale
from tsgan_jax.masks.synthesis import TYPICAL_SHARES, layer_noise, synthesis_of


def test_crisp_labels_keep_a_nodule_that_fills_a_third_of_a_pixel():
    shares = np.zeros((3, 6), np.float32)
    shares[0, [labels.LEFT_LUNG, labels.NODULE]] = 0.7, 0.3
    shares[1, [labels.LEFT_LUNG, labels.NODULE]] = 0.8, 0.2
    shares[2, [labels.BODY, labels.LEFT_LUNG]] = 0.6, 0.4
    out = np.asarray(crisp(jnp.asarray(shares), 3.0))
    assert out.argmax(-1).tolist() == [labels.NODULE, labels.LEFT_LUNG, labels.BODY]
    assert set(np.unique(out)) == {0.0, 1.0} and (out.sum(-1) == 1).all()


@pytest.mark.parametrize("weight", [1.0, 3.0, 10.0])
def test_crisp_leaves_hard_labels_alone(weight):
    hard = np.eye(6, dtype=np.float32)[np.arange(6)]
    np.testing.assert_array_equal(np.asarray(crisp(jnp.asarray(hard), weight)), hard)


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
