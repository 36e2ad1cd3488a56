"""Counts and sizes of small objects follow the real masks', place and shape the maps."""

import json

import numpy as np
import pytest
from scipy import ndimage

from tsgan_jax.labels import NODULE, TRACHEA
from tsgan_jax.masks import decoding, distance
from tsgan_jax.masks.calibration import NONE, _levels, calibrate
from tsgan_jax.masks.decoding import Calibration
from tsgan_jax.masks.small_objects import Objects, from_json, real_objects, to_json

SIDE = 64


def decode(maps, size, rules):
    """Masks as arrays of the host."""
    return np.asarray(decoding.decode(maps, size, rules))


def chest(nodules, trachea=None):
    """A mask uint8 [64, 64]: two lungs in a body, discs (row, column, radius in pixels) of nodule and trachea."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = (((rows - 32) / 26) ** 2 + ((columns - 32) / 30) ** 2 < 1).astype(np.uint8)
    for label, centre in ((2, 46), (3, 18)):
        mask[((rows - 32) / 18) ** 2 + ((columns - centre) / 10) ** 2 < 1] = label
    for label, discs in ((TRACHEA, [trachea] if trachea else []), (NODULE, nodules)):
        for row, column, radius in discs:
            mask[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = label
    return mask


def many(count, seed=0):
    """Masks with one nodule each, of three sizes, every fourth with a second one in the other lung."""
    rng = np.random.default_rng(seed)
    masks = []
    for i in range(count):
        place = [(rng.integers(24, 42), rng.integers(15, 22), (1.5, 2.5, 4.0)[i % 3])]
        if i % 4 == 0:
            place.append((rng.integers(24, 42), rng.integers(43, 50), 2.0))
        masks.append(chest(place, (32, 32, 2.0) if i % 2 else None))
    return np.stack(masks)


def objects(mask, label):
    """(areas, centres) of the patches of a class."""
    patches, count = ndimage.label(mask == label, np.ones((3, 3)))
    areas = np.bincount(patches.ravel())[1:]
    return sorted(areas), ndimage.center_of_mass(patches > 0, patches, range(1, count + 1))


def test_real_objects_are_counted_and_measured():
    real = real_objects(many(120))
    assert real[NODULE].present == pytest.approx((1.0, 0.25))
    assert real[TRACHEA].present == pytest.approx((0.5,))
    assert real[NODULE].areas[0] == 9 / SIDE**2 and real[NODULE].areas[-1] == 49 / SIDE**2


def test_faint_peaks_become_objects_of_the_real_count_and_size():
    """Maps of which every height of a nodule or trachea is cut to a third, as a young generator draws them."""
    masks = many(120)
    maps = distance.encode(masks)
    faint = maps.copy()
    faint[..., 3:] = (faint[..., 3:] + 1) / 3 - 1
    assert not (distance.decode(faint, SIDE) >= TRACHEA).any()  # by sign all are lost
    real = real_objects(masks)
    drawn = decode(faint, SIDE, calibrate(faint, SIDE, real))
    for label in (TRACHEA, NODULE):
        made, wanted = ([len(objects(mask, label)[0]) for mask in stack] for stack in (drawn, masks))
        assert np.mean(made) == pytest.approx(np.mean(wanted), abs=0.05)
        mine, theirs = (np.concatenate([objects(mask, label)[0] for mask in stack]) for stack in (drawn, masks))
        np.testing.assert_allclose(np.quantile(mine, (0.25, 0.5, 0.75)), np.quantile(theirs, (0.25, 0.5, 0.75)), atol=4)


def test_place_is_the_peaks():
    masks = many(60)
    maps = distance.encode(masks)
    drawn = decode(maps, SIDE, calibrate(maps, SIDE, real_objects(masks)))
    for made, wanted in zip(drawn, masks, strict=True):
        for centre in objects(made, NODULE)[1]:
            nearest = min(np.hypot(*np.subtract(centre, other)) for other in objects(wanted, NODULE)[1])
            assert nearest < 1.5


def test_objects_lie_as_deep_in_the_lungs_as_real_ones():
    """Each map has a high peak amid a lung and a lower one at a lung's edge; half of the real nodules are there."""
    deep, shallow = (32, 18, 3.0), (32, 53, 3.0)
    masks = np.stack([chest([deep if i % 2 else shallow]) for i in range(60)])
    maps = distance.encode(np.stack([chest([deep, shallow])] * 60))
    nodule = maps[..., 4]
    nodule[:, :, 33:] = (nodule[:, :, 33:] + 1) / 2 - 1  # the shallow one is fainter, by various amounts
    nodule[:, :, :33] += np.linspace(0, 0.3, 60, dtype=np.float32)[:, None, None]
    real = real_objects(masks)[NODULE]

    def shares(objects):
        drawn = decode(maps, SIDE, calibrate(maps, SIDE, {NODULE: objects}))
        return [np.mean(drawn[:, row, column] == NODULE) for row, column, _ in (deep, shallow)]

    assert shares(Objects(real.present, real.areas)) == [1.0, 0.0]  # by height alone
    np.testing.assert_allclose(shares(real), (0.5, 0.5), atol=0.1)


def test_further_objects_are_no_farther_from_the_first_than_real_ones():
    masks = np.stack([chest([]) for _ in range(20)])
    for mask in masks:  # two bronchi
        mask[31:34, 28:31] = mask[31:34, 34:37] = TRACHEA
    real = real_objects(masks)[TRACHEA]
    assert real.spread == pytest.approx(6 / SIDE)
    maps = distance.encode(masks)
    maps[:, 31:34, 34:37, 3] = -0.9  # the network's second peak is elsewhere
    maps[:, 12, 32, 3] = 0.5
    drawn = decode(maps, SIDE, calibrate(maps, SIDE, {TRACHEA: real}))
    assert not (drawn[:, 12, 32] == TRACHEA).any()
    assert (drawn[:, 32, 29] == TRACHEA).all()


def test_an_object_is_one_piece_inside_the_picture():
    masks = np.stack([chest([(32, 18, 3.0)])] * 3)
    maps = distance.encode(masks)
    maps[0, :, :, 4] = np.random.default_rng(0).uniform(-1, 1, (SIDE, SIDE))  # noise: peaks everywhere
    real = {NODULE: Objects((1.0,), (20 / SIDE**2, 20 / SIDE**2))}
    drawn = decode(maps, SIDE, calibrate(maps, SIDE, real))
    assert all(len(objects(mask, NODULE)[0]) == 1 for mask in drawn)


def test_a_peak_between_higher_hills_does_not_take_the_ground_round_it():
    """Its highest pixels are the hills', not itself."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    hills = [0.9 - 0.01 * np.hypot(rows - 32, columns - at) for at in (17, 47)]
    channel = np.where(hills[0] > 0.78, hills[0], np.where(hills[1] > 0.78, hills[1], -0.5))
    channel[32, 32] = 0.25
    maps = np.full((1, SIDE, SIDE, len(distance.CHANNELS)), 0.5, np.float32)
    maps[0, ..., -1] = channel
    rules = {NODULE: Calibration(Objects((1.0,) * 3, (160 / SIDE**2,) * 2), 0.0, (-1.0,) * 3, (0.0, 1.0))}
    masks = decode(maps, SIDE, rules)
    assert (masks == NODULE).sum() == 320 and masks[0, 32, 32] != NODULE


def test_a_disc_of_the_area_of_its_peaks_rank_is_drawn_where_the_map_is_flat_and_at_the_frame():
    """The maps of a batch are decoded as each alone."""
    maps = np.full((3, SIDE, SIDE, len(distance.CHANNELS)), 0.5, np.float32)
    maps[..., -1] = -0.5
    for one, place in zip(maps, ((0, 0), (40, 20), (63, 30)), strict=True):
        one[(*place, -1)] = -0.49
    areas = tuple(np.linspace(20, 100, 5) / SIDE**2)
    rules = {NODULE: Calibration(Objects((1.0,), areas), 0.0, (-0.5,), tuple(np.linspace(-0.5, -0.46, 5)))}
    masks = decode(maps, SIDE, rules)
    assert [(mask == NODULE).sum() for mask in masks] == [40, 40, 40]
    rows, columns = np.nonzero(masks[1] == NODULE)
    assert np.hypot(rows - 40, columns - 20).max() < 1.1 * np.sqrt(40 / np.pi)
    for one, mask in zip(maps, masks, strict=True):
        np.testing.assert_array_equal(decode(one[None], SIDE, rules)[0], mask)


def test_a_class_that_real_masks_lack_is_not_drawn():
    masks = np.stack([chest([(32, 18, 3.0)])] * 4)
    real = real_objects(masks)
    assert TRACHEA not in real
    maps = distance.encode(many(4))
    assert not (decode(maps, SIDE, calibrate(maps, SIDE, real)) == TRACHEA).any()


def test_objects_survive_json():
    real = real_objects(many(12))
    assert from_json(json.loads(json.dumps(to_json(real)))) == real


def test_levels_give_the_shares_asked_for_whatever_the_heights():
    """A second peak counts only where the first does."""
    rng = np.random.default_rng(0)
    heights = -np.sort(-(rng.uniform(-1, 1, (4000, 3)) ** 3), axis=1)
    levels, chosen = _levels(heights, (0.6, 0.15, 0.015))
    counts = np.cumprod(heights >= levels, axis=1).sum(1)
    np.testing.assert_allclose([(counts >= k).mean() for k in (1, 2, 3)], (0.6, 0.15, 0.015), atol=0.002)
    np.testing.assert_array_equal(chosen.sum(1), counts)


def test_a_further_peak_is_as_high_as_a_first_one():
    """Where the network draws too few second peaks, lower ones, which may be anywhere, are no objects."""
    heights = np.array([[0.9, 0.8], [0.8, -0.5], [0.7, -0.6], [-0.7, -0.9]])
    levels, chosen = _levels(heights, (0.75, 0.5))
    assert levels[1] == levels[0]
    assert chosen.tolist() == [[True, True], [True, False], [True, False], [False, False]]


def test_maps_without_enough_peaks_have_what_they_can():
    heights = np.array([[0.5, NONE], [0.1, NONE], [NONE, NONE]])
    levels, chosen = _levels(heights, (1.0, 0.5))
    assert chosen.tolist() == [[True, False], [True, False], [False, False]]
    assert levels[0] <= 0.1
