"""Stage 1's networks: mapping, mixing and truncation (T2, T6), growth at the ends of a fade (T3), populations (T4)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tsgan_jax.masks.growth import overlay, plan
from tsgan_jax.masks.networks import Mapping, channels, layer_noise, mix_styles, networks_of, num_layers, truncate
from tsgan_jax.nn.equalized import initialise
from tsgan_jax.nn.resample import downsample, upsample

from .tiny import tiny

KEY = jax.random.key(0)
FIRST, SECOND = jnp.zeros((4000, 3)), jnp.ones((4000, 3))
STABLE4, FADE8, STABLE8 = plan(tiny())
X = jax.random.normal(KEY, (4, 8, 8, 6))
ZERO, HALF, ONE = jnp.float32(0.0), jnp.float32(0.5), jnp.float32(1.0)


def test_mapping_ignores_the_length_of_z():
    mapping = Mapping(z_dim=6, w_dim=5, layers=3)
    z = jax.random.normal(KEY, (2, 6))
    params = initialise(mapping, KEY, z)
    assert sorted(params) == ["dense0", "dense1", "dense2"]
    assert float(params["dense1"]["kernel"].std()) == pytest.approx(100.0, rel=0.5)  # 25 draws
    w = mapping.apply({"params": params}, z)
    assert w.shape == (2, 5)
    np.testing.assert_allclose(mapping.apply({"params": params}, 10.0 * z), w, rtol=1e-4)


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


def inputs(resolution, n=3):
    ws = jax.random.normal(jax.random.key(1), (n, num_layers(resolution), 8))
    noise = jax.vmap(lambda k: layer_noise(k, resolution))(jax.random.split(jax.random.key(2), n))
    return ws, noise


@functools.cache
def synthesis(phase, seed, **changes):
    """(its function of parameters, latents, noise and alpha; parameters with noise that counts)."""
    module = networks_of(tiny(**changes), phase).synthesis
    params = initialise(module, jax.random.key(seed), *inputs(phase.resolution, 1), ONE)
    louder = jax.tree.map_with_path(lambda path, x: x + 0.3 if path[-1].key == "noise" else x, params)
    return jax.jit(lambda params, *given: module.apply({"params": params}, *given)), louder


def test_channels_and_layers_are_those_of_the_paper():
    assert [channels(r, 8192, 512) for r in (4, 32, 64, 128, 256, 512)] == [512, 512, 256, 128, 64, 32]
    assert [num_layers(r) for r in (4, 8, 512)] == [2, 4, 16]


def test_noise_is_an_independent_map_for_each_layer():
    assert [n.shape for n in layer_noise(KEY, 16)] == [(r, r, 1) for r in (4, 4, 8, 8, 16, 16)]
    small, large = (n.ravel() for n in layer_noise(KEY, 64)[-2:])
    assert abs(np.corrcoef(small, large)[0, 1]) < 0.05
    assert float(large.std()) == pytest.approx(1.0, abs=0.05)


def test_output_is_class_shares_or_distances():
    apply, params = synthesis(FADE8, 0)
    shares = apply(params, *inputs(8), HALF)
    assert shares.shape == (3, 8, 8, 6) and shares.dtype == jnp.float32
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0, rtol=1e-5)
    apply, params = synthesis(FADE8, 0, representation="distance")
    maps = np.asarray(apply(params, *inputs(8), HALF))
    assert maps.shape == (3, 8, 8, 5) and maps.dtype == np.float32
    assert -1 < maps.min() < 0 < maps.max() < 1


def test_blocks_are_named_by_resolution_and_a_small_network_is_part_of_a_larger_one():
    small, large = (synthesis(phase, 0)[1] for phase in (STABLE4, FADE8))
    assert set(large) == {
        *("b4_const", "b4_style0", "b4_conv1", "b4_style1", "b4_torgb"),
        *("b8_conv0", "b8_style0", "b8_conv1", "b8_style1", "b8_torgb"),
    }
    shapes = [{path: leaf.shape for path, leaf in flatten_dict(each).items()} for each in (small, large)]
    assert shapes[0].items() <= shapes[1].items()


def test_fade_starts_at_the_doubled_old_map_and_ends_at_the_new_one():
    old_apply, old = synthesis(STABLE4, 0)
    apply, fresh = synthesis(FADE8, 1)
    grown = overlay(fresh, old)
    ws, noise = inputs(8)
    before = upsample(old_apply(old, ws[:, :2], noise[:2], ONE))
    np.testing.assert_array_equal(apply(grown, ws, noise, ZERO), before)
    stable_apply, stable = synthesis(STABLE8, 0)
    after = stable_apply(overlay(stable, grown), ws, noise, ONE)
    np.testing.assert_allclose(apply(grown, ws, noise, ONE), after, rtol=1e-5)
    np.testing.assert_allclose(apply(grown, ws, noise, HALF), (before + after) / 2, atol=1e-6)


def test_every_layer_listens_to_its_latent_and_its_noise():
    apply, params = synthesis(STABLE8, 0)
    ws, noise = inputs(8)
    base = apply(params, ws, noise, ONE)
    for layer in range(4):
        assert float(abs(apply(params, ws.at[:, layer].add(1.0), noise, ONE) - base).max()) > 1e-4
        changed = tuple(n + 1.0 * (i == layer) * jnp.arange(n.shape[1])[:, None, None] for i, n in enumerate(noise))
        assert float(abs(apply(params, ws, changed, ONE) - base).max()) > 1e-4


def test_bfloat16_stays_close_to_float32():
    (apply, params), (half, _) = synthesis(STABLE8, 0), synthesis(STABLE8, 0, precision="bfloat16")
    full, low = (function(params, *inputs(8), ONE) for function in (apply, half))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, full, atol=0.1)


@functools.cache
def critic(phase, seed):
    """(its function of parameters, maps, alpha and number of populations; parameters)."""
    module = networks_of(tiny(), phase).discriminator
    params = initialise(module, jax.random.key(seed), X[:1, : phase.resolution, : phase.resolution], ONE)

    def apply(params, *given, parts=1):
        return module.apply({"params": params}, *given, parts)

    return jax.jit(apply, static_argnames="parts"), jax.tree.map(lambda x: x + 0.1, params)


def test_one_score_for_each_example():
    apply, params = critic(STABLE8, 0)
    scores = apply(params, X, ONE)
    assert scores.shape == (4,) and scores.dtype == jnp.float32
    assert len(set(np.asarray(scores).tolist())) == 4


def test_critics_fade_starts_at_the_halved_input_and_ends_at_the_new_block():
    old_apply, old = critic(STABLE4, 0)
    apply, fresh = critic(FADE8, 1)
    grown = overlay(fresh, old)
    start, end = (apply(grown, X, alpha) for alpha in (ZERO, ONE))
    np.testing.assert_allclose(start, old_apply(old, downsample(X), ONE), rtol=1e-5)
    stable_apply, stable = critic(STABLE8, 0)
    np.testing.assert_allclose(end, stable_apply(overlay(stable, grown), X, ONE), rtol=1e-5)
    assert float(abs(end - start).max()) > 1e-3


def test_populations_in_one_batch_do_not_see_each_other():
    apply, params = critic(STABLE8, 0)
    other = 5.0 * X[::-1]
    together = apply(params, jnp.concatenate([X, other]), ONE, parts=2)
    for part, alone in zip(jnp.split(together, 2), (X, other), strict=True):
        np.testing.assert_allclose(part, apply(params, alone, ONE), rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_below_the_group_size_work(batch):
    apply, params = critic(STABLE8, 0)
    assert np.isfinite(apply(params, X[:batch], ONE)).all()


def test_score_depends_on_the_variety_of_the_batch():
    apply, params = critic(STABLE8, 0)
    alike = jnp.broadcast_to(X[:1], X.shape)
    assert float(abs(apply(params, X, ONE)[0] - apply(params, alike, ONE)[0])) > 1e-4
