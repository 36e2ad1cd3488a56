"""Masks are a function of (generator, key, index, truncation)."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from tsgan_jax import labels
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.networks import networks_of
from tsgan_jax.masks.sample import calibration_of, chunk_size, generator_of, sample_maps, sample_masks
from tsgan_jax.masks.small_objects import Objects

from .tiny import tiny

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def generator():
    config = tiny()
    phase = plan(config)[-1]
    state = jax.jit(stylegan(config, phase).init)(jax.random.key(0))
    loud = jax.tree.map_with_path(lambda path, x: x + 0.5 if path[-1].key == "noise" else x, state.ema)
    return generator_of(state.replace(ema=loud), config, phase)


def test_a_mask_is_the_same_in_any_batch(generator):
    indices = np.arange(100, 100 + 2 * chunk_size(8) + 3)
    together = sample_masks(generator, KEY, indices)
    assert together.shape == (len(indices), 8, 8) and together.dtype == np.uint8
    for at in (0, chunk_size(8), len(indices) - 1):
        np.testing.assert_array_equal(sample_masks(generator, KEY, [indices[at]])[0], together[at])
    np.testing.assert_array_equal(sample_masks(generator, KEY, indices[::-1]), together[::-1])


def test_index_key_and_truncation_matter(generator):
    maps = sample_maps(generator, KEY, np.arange(3))
    assert abs(maps[0] - maps[1]).max() > 1e-3
    assert abs(maps - sample_maps(generator, jax.random.key(6), np.arange(3))).max() > 1e-3
    assert abs(maps - sample_maps(generator, KEY, np.arange(3), truncation=0.5)).max() > 1e-3


def test_masks_are_decoded_maps(generator):
    maps = sample_maps(generator, KEY, np.arange(4))
    np.testing.assert_allclose(maps.sum(axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(sample_masks(generator, KEY, np.arange(4)), maps.argmax(axis=-1))


def test_masks_may_be_larger_than_the_network():
    config = tiny(resolution=32, grow_to=8, representation="distance")
    phase = plan(config)[-1]
    drawn = generator_of(stylegan(config, phase).init(jax.random.key(0)), config, phase)
    assert sample_maps(drawn, KEY, [0]).shape == (1, 8, 8, 5)
    assert sample_masks(drawn, KEY, [0]).shape == (1, 32, 32)


def test_calibration_is_of_the_generator_and_the_truncation_alone():
    config = tiny(resolution=32, grow_to=8, representation="distance", calibrate=True)
    phase = plan(config)[-1]
    real = {labels.NODULE: Objects((1.0, 0.25), (0.01, 0.02))}
    drawn = generator_of(stylegan(config, phase).init(jax.random.key(0)), config, phase, real)
    with_nodule = (sample_masks(drawn, KEY, np.arange(8)) == labels.NODULE).any((1, 2))
    assert with_nodule.mean() > 0.6  # the levels are those of other masks
    assert calibration_of(drawn, 1.0) == calibration_of(replace(drawn), 1.0) != calibration_of(drawn, 0.5)


def test_full_truncation_leaves_the_average_latent(generator):
    """With psi 0 and noise off two images are one (8 px has four layers, all of them truncated)."""
    quiet = jax.tree.map_with_path(lambda path, x: 0 * x if path[-1].key == "noise" else x, generator.params)
    still = replace(generator, params=quiet)
    maps = sample_maps(still, KEY, np.arange(2), truncation=0.0)
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)


def test_chunks_shrink_with_resolution():
    assert [chunk_size(r) for r in (4, 64, 128, 512)] == [16, 16, 8, 2]


def test_no_indices_are_refused(generator):
    with pytest.raises(ValueError, match="no indices"):
        sample_masks(generator, KEY, [])


@pytest.mark.parametrize("representation", ["one_hot", "distance"])
def test_a_generator_made_again_is_not_compiled_again(representation):
    config = tiny(representation=representation)
    phase = plan(config)[-1]
    one, other = (networks_of(tiny(representation=representation), phase) for _ in range(2))
    assert one == other and hash(one) == hash(other)
