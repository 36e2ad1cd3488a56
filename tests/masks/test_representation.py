"""Label maps as what stage 1's networks see, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation.chests import chest
from tsgan_jax import labels
from tsgan_jax.data.pipeline import pool_maps
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA
from tsgan_jax.masks import distance
from tsgan_jax.masks.representation import representation_of

from .tiny import tiny

SIDE = 128
ONE_HOT, DISTANCE = (representation_of(tiny(representation=name)) for name in ("one_hot", "distance"))
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def masks():
    """Drawn chests, every one with all classes."""
    return np.stack([chest(seed, SIDE)[0] for seed in range(8)])


def disc(x, y, radius, code, mask=None):
    """A disc painted into a mask [SIDE, SIDE], empty unless one is given."""
    mask = np.zeros((SIDE, SIDE), np.uint8) if mask is None else mask.copy()
    rows, columns = np.ogrid[:SIDE, :SIDE]
    mask[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = code
    return mask


def channel(maps, code):
    return maps[..., distance.CHANNELS.index(code)]


@pytest.mark.parametrize("maps", [ONE_HOT, DISTANCE], ids=["one_hot", "distance"])
def test_maps_are_of_the_right_type_and_in_range(maps, masks):
    encoded = maps.encode(masks)
    assert encoded.shape == (*masks.shape, maps.channels) and encoded.dtype == np.float32
    activated = np.asarray(maps.activate(5.0 * jax.random.normal(KEY, (10, maps.channels))))
    low, high = (0.0, 1.0) if maps is ONE_HOT else (-1.0, 1.0)
    for values in (encoded, activated):
        assert low <= values.min() and values.max() <= high
        assert values.max() > 0.9 and values.min() < 0.1


@pytest.mark.parametrize("maps", [ONE_HOT, DISTANCE], ids=["one_hot", "distance"])
def test_mirroring_maps_is_mirroring_masks(maps, masks):
    mirrored = labels.MIRROR[masks[:, :, ::-1]]
    assert (mirrored != masks[:, :, ::-1]).any()
    np.testing.assert_array_equal(maps.encode(mirrored), maps.encode(masks)[:, :, ::-1, maps.mirror])


@pytest.mark.parametrize("maps", [ONE_HOT, DISTANCE], ids=["one_hot", "distance"])
@pytest.mark.parametrize("resolution", [32, 16])
def test_maps_of_a_lower_resolution_give_masks_of_full_size(maps, resolution, masks):
    decoded = maps.decode(pool_maps(maps.encode(masks), resolution), SIDE)
    assert decoded.shape == masks.shape and decoded.dtype == np.uint8
    assert (decoded != masks).mean() < 0.08
    assert all((decoded == code).any(axis=(1, 2)).all() for code in (BACKGROUND, BODY, LEFT_LUNG, RIGHT_LUNG))


def test_one_hot_masks_come_back_exactly(masks):
    np.testing.assert_array_equal(ONE_HOT.decode(ONE_HOT.encode(masks), SIDE), masks)


def test_of_pooled_shares_the_largest_is_taken():
    mask = np.array([[[BODY, BODY], [NODULE, BODY]]], np.uint8).repeat(2, 1)
    np.testing.assert_array_equal(
        ONE_HOT.decode(pool_maps(ONE_HOT.encode(mask[:, :2]), 1), 2), np.full((1, 2, 2), BODY)
    )


def test_distances_come_back_but_for_a_few_pixels_in_ten_thousand(masks):
    decoded = DISTANCE.decode(DISTANCE.encode(masks), SIDE)
    assert (decoded != masks).mean() < 3e-4
    assert all((decoded == code).any(axis=(1, 2)).all() for code in range(6))


@pytest.mark.parametrize("diameter", [2, 3])
def test_a_nodule_of_two_or_three_pixels_survives_pooling(diameter):
    """Wherever it lies on the grid of the pooled pixels."""
    for x, y in np.ndindex(4, 4):
        mask = disc(40 + x / 2, 60 + y / 2, diameter / 2, NODULE, disc(64, 64, 50, BODY))
        decoded = DISTANCE.decode(pool_maps(DISTANCE.encode(mask[None]), SIDE // 2), SIDE)[0]
        nodule, found = mask == NODULE, decoded == NODULE
        assert (nodule != found).sum() <= 1, (x, y)


def test_an_absent_organ_is_at_its_lowest_everywhere(masks):
    mask = np.where(np.isin(masks[:1], (NODULE, LEFT_LUNG)), BODY, masks[:1])
    encoded = DISTANCE.encode(mask)
    np.testing.assert_array_equal(channel(encoded, NODULE), -1.0)
    np.testing.assert_array_equal(channel(encoded, LEFT_LUNG), -1.0)
    assert channel(encoded, RIGHT_LUNG).max() > 0
    assert set(np.unique(DISTANCE.decode(encoded, SIDE))) == {BACKGROUND, BODY, RIGHT_LUNG, TRACHEA}


def test_a_mask_of_nothing_but_background_comes_back():
    empty = np.zeros((1, SIDE, SIDE), np.uint8)
    encoded = DISTANCE.encode(empty)
    np.testing.assert_array_equal(encoded, -1.0)
    np.testing.assert_array_equal(DISTANCE.decode(encoded, SIDE), empty)


def test_of_several_organs_at_a_pixel_the_first_in_precedence_is_drawn():
    """Five discs about one centre, each drawn as if alone: the smaller, the higher its precedence."""
    radii = {BODY: 50, RIGHT_LUNG: 40, LEFT_LUNG: 30, TRACHEA: 20, NODULE: 10}
    assert [code for code in labels.PRECEDENCE[::-1] if code] == list(radii)
    alone = {code: DISTANCE.encode(disc(64, 64, radius, code)[None]) for code, radius in radii.items()}
    maps = np.stack([channel(alone[code], code) for code in distance.CHANNELS], axis=-1)
    expected = np.zeros((SIDE, SIDE), np.uint8)
    for code, radius in radii.items():
        expected = disc(64, 64, radius, code, expected)
    wrong = DISTANCE.decode(maps, SIDE)[0] != expected
    assert wrong.sum() < 30  # at the outlines of trachea and nodule; each ring has 300 or more


def test_a_lung_is_drawn_where_the_body_is():
    maps = np.full((1, SIDE, SIDE, 5), -1.0, np.float32)
    channel(maps, BODY)[:, :, :64] = 1.0
    channel(maps, LEFT_LUNG)[:, 20:40] = 1.0
    decoded = DISTANCE.decode(maps, SIDE)[0]
    assert (decoded[20:40, :64] == LEFT_LUNG).all()
    assert (decoded[:, 64:] == BACKGROUND).all()


def test_a_lung_is_filled_where_a_nodule_touches_it():
    chest_wall = disc(64, 64, 60, BODY)
    lung = disc(40, 64, 20, RIGHT_LUNG, disc(90, 64, 16, LEFT_LUNG, chest_wall))
    inside, outside = disc(40, 64, 5, NODULE), disc(64, 110, 5, NODULE)
    mask = np.where(inside | outside, NODULE, lung).astype(np.uint8)
    encoded, whole = DISTANCE.encode(mask[None]), DISTANCE.encode(lung[None])
    for code in (RIGHT_LUNG, LEFT_LUNG, BODY):
        np.testing.assert_array_equal(channel(encoded, code), channel(whole, code))
    assert (channel(encoded, NODULE)[0][(inside | outside) > 0] > 0).all()


def test_the_critic_sees_exact_one_hot_samples_of_shares(masks):
    shares = jax.nn.softmax(jax.random.normal(KEY, (2, 16, 16, 6)))
    shown = np.asarray(ONE_HOT.critic_input(KEY, shares))
    assert set(np.unique(shown)) == {-1.0, 1.0}
    np.testing.assert_array_equal(shown.sum(axis=-1), -4.0)  # one class at 1, five at -1
    real = jnp.asarray(ONE_HOT.encode(masks))
    np.testing.assert_array_equal(ONE_HOT.critic_input(KEY, real), 2.0 * real - 1.0)
    np.testing.assert_array_equal(ONE_HOT.critic_input(None, real), 2.0 * real - 1.0)


def test_without_discretisation_the_critic_sees_the_shares():
    shares = jax.nn.softmax(jax.random.normal(KEY, (2, 16, 16, 6)))
    plain = representation_of(tiny(discretisation="none"))
    np.testing.assert_array_equal(plain.critic_input(KEY, shares), 2.0 * shares - 1.0)


def test_the_critic_sees_distances_as_they_are():
    maps = jax.random.normal(KEY, (2, 16, 16, 5))
    np.testing.assert_array_equal(DISTANCE.critic_input(KEY, maps), maps)
