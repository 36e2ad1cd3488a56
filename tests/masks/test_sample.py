"""Masks are a function of (generator, key, index, truncation)."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import ndimage

from tsgan_jax import labels
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.sample import chunk_size, class_maps, enclosed, generator_of, sample_masks

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
    maps = class_maps(generator, KEY, np.arange(3))
    assert abs(maps[0] - maps[1]).max() > 1e-3
    assert abs(maps - class_maps(generator, jax.random.key(6), np.arange(3))).max() > 1e-3
    assert abs(maps - class_maps(generator, KEY, np.arange(3), truncation=1.0)).max() > 1e-3


@pytest.mark.parametrize("smooth", [False, True])
def test_class_maps_are_shares_and_masks_their_largest(generator, smooth):
    maps = class_maps(generator, KEY, np.arange(4))
    np.testing.assert_allclose(maps.sum(axis=-1), 1.0, rtol=1e-5)
    if smooth:
        maps = ndimage.convolve(maps, np.outer([1, 2, 1], [1, 2, 1])[None, ..., None] / 16, mode="constant")
    weighted = maps * np.array(generator.weights)
    drawn = sample_masks(replace(generator, smooth=smooth, fill=False), KEY, np.arange(4))
    np.testing.assert_array_equal(drawn, weighted.argmax(axis=-1))


def test_background_amid_the_body_takes_the_next_class(generator):
    maps = class_maps(generator, KEY, np.arange(16))
    plain = sample_masks(replace(generator, smooth=False, fill=False), KEY, np.arange(16))
    holes = np.stack([ndimage.binary_fill_holes(mask > 0) & (mask == 0) for mask in plain])
    assert holes.any()
    maps[holes, labels.BACKGROUND] = -1
    weighted = maps * np.array(generator.weights)
    drawn = sample_masks(replace(generator, smooth=False, fill=True), KEY, np.arange(16))
    np.testing.assert_array_equal(drawn, np.where(holes, weighted.argmax(axis=-1), plain))


def test_enclosed_is_what_filling_holes_fills():
    region = np.random.default_rng(0).random((20, 24, 31)) < 0.6
    spiral = np.zeros((24, 31), bool)
    for ring in range(1, 11):
        spiral[ring, 1 : 31 - ring] = ring % 2
    region = np.concatenate([region, [spiral, ~spiral, np.ones_like(spiral), np.zeros_like(spiral)]])
    holes = [ndimage.binary_fill_holes(~one) & one for one in region]
    np.testing.assert_array_equal(enclosed(region), holes)


def test_how_a_mask_is_drawn_is_the_configs_choice():
    for smooth in (True, False):
        config = tiny(smooth=smooth, fill=not smooth, drawn_weight=2.5, drawn_trachea_weight=0.75)
        phase = plan(config)[-1]
        state = stylegan(config, phase).init(jax.random.key(0))
        generator = generator_of(state, config, phase)
        assert (
            generator.smooth is smooth and generator.fill is not smooth and generator.weights == (1, 1, 1, 1, 0.75, 2.5)
        )


def test_full_truncation_leaves_the_average_latent(generator):
    """With psi 0 and noise off two images are one (8 px has four layers, all of them truncated)."""
    quiet = jax.tree.map_with_path(lambda path, x: 0 * x if path[-1].key == "noise" else x, generator.params)
    still = type(generator)(generator.mapping, generator.synthesis, quiet, generator.w_avg, generator.alpha)
    maps = class_maps(still, KEY, np.arange(2), truncation=0.0)
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)


def test_chunks_shrink_with_resolution():
    assert [chunk_size(r) for r in (4, 64, 128, 512)] == [16, 16, 8, 2]


def test_no_indices_are_refused(generator):
    with pytest.raises(ValueError, match="no indices"):
        sample_masks(generator, KEY, [])
