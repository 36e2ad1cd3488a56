"""Mapping network, style mixing, w_avg and truncation (T2, T6)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.masks.mapping import Mapping, average_w, mix_styles, num_layers, truncate
from tsgan_jax.nn.equalized import initialise

KEY = jax.random.key(0)
FIRST, SECOND = jnp.zeros((4000, 3)), jnp.ones((4000, 3))


def test_two_layers_for_each_resolution():
    assert [num_layers(r) for r in (4, 8, 512)] == [2, 4, 16]


def test_mapping_ignores_the_length_of_z():
    mapping = Mapping(z_dim=6, w_dim=5, layers=3)
    z = jax.random.normal(KEY, (2, 6))
    params = initialise(mapping, KEY, z)
    assert sorted(params) == ["dense0", "dense1", "dense2"]
    assert float(params["dense1"]["kernel"].std()) == pytest.approx(100.0, rel=0.5)  # 25 draws
    w = mapping.apply({"params": params}, z)
    assert w.shape == (2, 5)
    np.testing.assert_allclose(mapping.apply({"params": params}, 10.0 * z), w, rtol=1e-4)


def test_w_avg_after_n_batches_of_one_w():
    w0 = jnp.array([1.0, -2.0])
    w_avg = jnp.zeros(2)
    for _ in range(20):
        w_avg = average_w(w_avg, w0, 0.995)
    np.testing.assert_allclose(w_avg, (1 - 0.995**20) * w0, rtol=1e-4)


def test_truncation_reaches_w_avg_in_the_first_eight_layers_only():
    ws, w_avg = jax.random.normal(KEY, (2, 12, 3)), jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(truncate(ws, w_avg, 1.0), ws)
    none = truncate(ws, w_avg, 0.0)
    np.testing.assert_array_equal(none[:, :8], jnp.broadcast_to(w_avg, (2, 8, 3)))
    np.testing.assert_array_equal(none[:, 8:], ws[:, 8:])
    np.testing.assert_allclose(truncate(ws, w_avg, 0.7)[:, :8], w_avg + 0.7 * (ws[:, :8] - w_avg), atol=1e-6)


def test_mixing_takes_the_second_latent_from_a_uniform_layer_on():
    ws = np.asarray(mix_styles(KEY, FIRST, SECOND, 6, 0.9))
    assert ws.shape == (4000, 6, 3)
    own = 6 - ws[..., 0].sum(axis=1)  # layers of the first latent
    assert np.all(np.diff(ws, axis=1) >= 0) and own.min() == 1
    share = np.bincount(own.astype(int), minlength=7)[1:] / len(own)
    np.testing.assert_allclose(share, [0.18] * 5 + [0.1], atol=0.025)


@pytest.mark.parametrize(("probability", "mixed"), [(0.0, 0.0), (1.0, 1.0)])
def test_mixing_can_be_off_or_always_on(probability, mixed):
    ws = mix_styles(KEY, FIRST, SECOND, 4, probability)
    assert float(ws[:, 0].max()) == 0.0
    assert float(ws[:, -1].mean()) == mixed
