"""Synthesis network: shapes, names, growth at the ends of a fade (T3)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tsgan_jax.masks.growth import overlay, plan
from tsgan_jax.masks.mapping import num_layers
from tsgan_jax.masks.synthesis import channels, layer_noise, synthesis_of
from tsgan_jax.nn.equalized import initialise
from tsgan_jax.nn.resample import upsample

from .tiny import tiny

STABLE4, FADE8, STABLE8 = plan(tiny())


def inputs(resolution, n=3):
    ws = jax.random.normal(jax.random.key(1), (n, num_layers(resolution), 8))
    noise = jax.vmap(lambda k: layer_noise(k, resolution))(jax.random.split(jax.random.key(2), n))
    return ws, noise


def network(phase, seed, **changes):
    module = synthesis_of(tiny(**changes), phase)
    params = initialise(module, jax.random.key(seed), *inputs(phase.resolution, 1), jnp.float32(1.0))
    return module, louder(params)


def louder(params):
    """Weights of noise off zero, so that the noise counts in the comparison."""
    return jax.tree.map_with_path(lambda path, x: x + 0.3 if path[-1].key == "noise" else x, params)


def test_channels_are_those_of_the_paper():
    assert [channels(r, 8192, 512) for r in (4, 32, 64, 128, 256, 512)] == [512, 512, 256, 128, 64, 32]


def test_noise_has_one_map_for_each_layer():
    assert [n.shape for n in layer_noise(jax.random.key(0), 16)] == [(r, r, 1) for r in (4, 4, 8, 8, 16, 16)]


def test_noise_maps_are_independent():
    small, large = (n.ravel() for n in layer_noise(jax.random.key(0), 64)[-2:])
    assert abs(np.corrcoef(small, large)[0, 1]) < 0.05
    assert float(large.std()) == pytest.approx(1.0, abs=0.05)


def test_output_is_class_shares():
    module, params = network(FADE8, 0)
    shares = module.apply({"params": params}, *inputs(8), jnp.float32(0.3))
    assert shares.shape == (3, 8, 8, 6) and shares.dtype == jnp.float32
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0, rtol=1e-5)


def test_output_is_five_distances_where_these_represent_a_mask():
    module, params = network(FADE8, 0, representation="distance")
    maps = np.asarray(module.apply({"params": params}, *inputs(8), jnp.float32(0.3)))
    assert maps.shape == (3, 8, 8, 5) and maps.dtype == np.float32
    assert -1 < maps.min() < 0 < maps.max() < 1


def test_blocks_are_named_by_resolution():
    names = set(network(FADE8, 0)[1])
    assert names == {
        *("b4_const", "b4_style0", "b4_conv1", "b4_style1", "b4_torgb"),
        *("b8_conv0", "b8_style0", "b8_conv1", "b8_style1", "b8_torgb"),
    }


def test_a_small_network_is_part_of_the_fading_larger_one():
    small, large = (flatten_dict(network(phase, 0)[1]) for phase in (STABLE4, FADE8))
    assert {path: leaf.shape for path, leaf in small.items()}.items() <= {
        path: leaf.shape for path, leaf in large.items()
    }.items()


def test_fade_starts_at_the_doubled_old_map_and_ends_at_the_new_one():
    old_module, old = network(STABLE4, 0)
    module, fresh = network(FADE8, 1)
    grown = overlay(fresh, old)
    ws, noise = inputs(8)
    before = upsample(old_module.apply({"params": old}, ws[:, :2], noise[:2], jnp.float32(1.0)))
    np.testing.assert_array_equal(module.apply({"params": grown}, ws, noise, jnp.float32(0.0)), before)
    stable_module, stable = network(STABLE8, 2)
    after = stable_module.apply({"params": overlay(stable, grown)}, ws, noise, jnp.float32(1.0))
    np.testing.assert_allclose(module.apply({"params": grown}, ws, noise, jnp.float32(1.0)), after, rtol=1e-5)
    half = module.apply({"params": grown}, ws, noise, jnp.float32(0.5))
    np.testing.assert_allclose(half, (before + after) / 2, atol=1e-6)


def test_every_layer_listens_to_its_latent_and_its_noise():
    module, params = network(STABLE8, 0)
    ws, noise = inputs(8, 1)
    base = module.apply({"params": params}, ws, noise, jnp.float32(1.0))
    for layer in range(4):
        other = module.apply({"params": params}, ws.at[:, layer].add(1.0), noise, jnp.float32(1.0))
        assert float(abs(other - base).max()) > 1e-4
        changed = tuple(n + 1.0 * (i == layer) * jnp.arange(n.shape[1])[:, None, None] for i, n in enumerate(noise))
        assert float(abs(module.apply({"params": params}, ws, changed, jnp.float32(1.0)) - base).max()) > 1e-4


def test_bfloat16_stays_close_to_float32():
    module, params = network(STABLE8, 0)
    half, _ = network(STABLE8, 0, precision="bfloat16")
    full = module.apply({"params": params}, *inputs(8), jnp.float32(1.0))
    low = half.apply({"params": params}, *inputs(8), jnp.float32(1.0))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, full, atol=0.1)
