"""Deformed masks: a function of three numbers, possible chests, the real population's nodules at other places."""

import numpy as np
import pytest
from scipy import ndimage

from tests.evaluation.chests import chest
from tsgan_jax import labels
from tsgan_jax.masks import warp
from tsgan_jax.masks.deform import Deformer
from tsgan_jax.masks.nodules import nodules_of, with_nodule, without_nodules
from tsgan_jax.masks.plausibility import check, nodule_components

SIDE = 96
MM = 3.0
LUNGS = (labels.LEFT_LUNG, labels.RIGHT_LUNG)


@pytest.fixture(scope="module")
def masks():
    return np.stack([chest(seed, SIDE)[0] for seed in range(24)])


@pytest.fixture(scope="module")
def deformer(masks):
    return Deformer.of_masks(masks, np.full(len(masks), MM, np.float32))


@pytest.fixture(scope="module")
def drawn(deformer):
    return np.stack([deformer.draw(7, 0, index) for index in range(96)])


def sizes(masks):
    """Areas of all nodules in pixels."""
    return [component.pixels for mask in masks for component in nodule_components(mask, MM)]


def test_a_mask_follows_from_seed_attempt_and_index(deformer, drawn):
    for index in (30, 5, 95, 5):
        assert np.array_equal(deformer.draw(7, 0, index), drawn[index])
    for others in ((8, 0, 5), (7, 1, 5), (7, 0, 29)):
        assert not np.array_equal(deformer.draw(*others), drawn[5])


def test_every_source_is_used_once_before_one_comes_again(deformer, drawn):
    count = len(deformer.masks)
    turns = [[deformer.source(7, index) for index in range(turn * count, (turn + 1) * count)] for turn in range(2)]
    assert sorted(turns[0]) == list(range(count)) and turns[0] == turns[1]
    assert turns[0] != [deformer.source(8, index) for index in range(count)]
    assert not np.array_equal(drawn[0], drawn[count])  # the same anatomy under another warp


def test_masks_are_possible_chests(drawn):
    assert drawn.dtype == np.uint8 and drawn.max() < labels.NUM_CLASSES
    assert np.mean([check(mask, MM).accepted for mask in drawn]) > 0.95


def test_organs_are_neither_torn_nor_lost(deformer, drawn):
    """Each drawn chest has one body, two lungs and a trachea, all in one piece, of about their own size."""
    for index, mask in enumerate(drawn):
        source = deformer.masks[deformer.source(7, index)]
        bare = without_nodules(mask)
        for code in (labels.BODY, *LUNGS, labels.TRACHEA):
            ours, theirs = (one != 0 if code == labels.BODY else one == code for one in (bare, source))
            assert ndimage.label(ours, np.ones((3, 3)))[1] == 1
            assert 0.6 < ours.sum() / theirs.sum() < 1.6


def test_no_training_mask_comes_back(masks, drawn):
    """Nor its anatomy."""
    anatomy = np.stack([without_nodules(mask) for mask in masks])
    for mask in drawn:
        assert (masks != mask).mean((1, 2)).min() > 0.005
        assert (anatomy != without_nodules(mask)).mean((1, 2)).min() > 0.005


def test_nodules_are_those_of_the_population(masks, drawn):
    ours, theirs = sizes(drawn), sizes(masks)
    assert abs(len(ours) / len(drawn) - len(theirs) / len(masks)) < 0.1
    np.testing.assert_allclose(np.percentile(ours, (10, 50, 90)), np.percentile(theirs, (10, 50, 90)), rtol=0.35)
    assert max(ours) <= 1.3 * max(theirs)
    around = [[c.lung_around for mask in side for c in nodule_components(mask, MM)] for side in (drawn, masks)]
    assert abs(np.mean(around[0]) - np.mean(around[1])) < 0.1


def test_nodules_lie_elsewhere_than_the_sources_own(deformer, masks, drawn):
    moved = [
        np.hypot(*np.subtract(*(np.argwhere(one == labels.NODULE).mean(0) for one in (mask, source))))
        for index, mask in enumerate(drawn)
        for source in [masks[deformer.slices[deformer.source(7, index)]]]
    ]
    assert np.median(moved) > 5


def test_the_place_in_the_lung_and_the_pleura_is_kept():
    """A nodule on the outer edge of the right lung lies there again, in another chest."""
    mask = without_nodules(chest(0, SIDE)[0])
    row, column = np.argwhere(mask == labels.RIGHT_LUNG)[0][0] + 12, np.argwhere(mask == labels.RIGHT_LUNG)[:, 1].min()
    marked = mask.copy()
    marked[row : row + 3, column : column + 3] = labels.NODULE
    (nodule,) = nodules_of(marked, MM)
    assert nodule.lung == labels.RIGHT_LUNG and nodule.place[1] < 0.2
    other = without_nodules(chest(1, SIDE)[0])
    for seed in range(20):
        (found,) = nodules_of(with_nodule(other, MM, nodule, np.random.default_rng(seed)), MM)
        assert found.lung == labels.RIGHT_LUNG
        assert np.abs(np.subtract(found.place, nodule.place)).max() < 0.4
        assert abs(found.depth_mm - nodule.depth_mm) < 3 * MM


def test_a_nodule_takes_lung_and_body_alone_and_keeps_apart_from_others(masks):
    mask, others = masks[0], [nodule for one in masks for nodule in nodules_of(one, MM)]
    for seed in range(30):
        rng = np.random.default_rng(seed)
        out = with_nodule(mask, MM, others[rng.integers(len(others))], rng)
        taken = out != mask
        assert set(mask[taken]) <= {labels.BODY, *LUNGS} and set(out[taken]) <= {labels.NODULE}
        assert len(nodule_components(out, MM)) == len(nodule_components(mask, MM)) + bool(taken.any())


def test_sizes_are_kept_in_millimetres(masks):
    """On a grid half as wide a nodule has four times as many pixels."""
    nodule = max(nodules_of(masks[0], MM), key=lambda one: one.contour.sum())
    fine = without_nodules(masks[0]).repeat(2, 0).repeat(2, 1)
    grown = [sizes([with_nodule(fine, MM / 2, nodule, np.random.default_rng(seed))]) for seed in range(10)]
    assert 3 < np.mean(grown) / nodule.contour.sum() < 5


def test_a_nodules_hole_is_filled_with_what_is_round_it(masks):
    for mask in masks:
        bare = without_nodules(mask)
        assert not (bare == labels.NODULE).any() and np.array_equal(bare[mask != 5], mask[mask != 5])
    mask = without_nodules(masks[0])
    for code in (labels.BODY, *LUNGS):
        deep = ndimage.binary_erosion(mask == code, iterations=4)
        row, column = np.argwhere(deep)[deep.sum() // 2]
        marked = mask.copy()
        marked[row - 1 : row + 2, column - 1 : column + 2] = labels.NODULE
        assert np.array_equal(without_nodules(marked), mask)


def test_slices_without_a_possible_chest_or_without_nodules(masks):
    some = masks[:4].copy()
    some[0][some[0] == labels.LEFT_LUNG] = labels.BODY
    some[1] = without_nodules(some[1])
    deformer = Deformer.of_masks(some, np.full(4, MM))
    assert deformer.slices.tolist() == [1, 2, 3]  # a chest without nodules is a chest
    assert all((deformer.draw(0, 0, index) == labels.NODULE).any() for index in range(6))
    assert Deformer.of_masks(without_nodules(masks[0])[None], np.array([MM])).nodules == ()
    assert len(Deformer.of_masks(np.ones_like(some), np.full(4, MM)).masks) == 0


def test_a_body_cut_by_the_frame_stays_cut(masks):
    """The bottom of a body that goes beyond the frame is not seen after the warp either."""
    mask = without_nodules(masks[0])
    lowest = np.flatnonzero(mask.any(1)).max()
    cut = np.roll(mask, SIDE - lowest + 6, axis=0) != 0
    cut[:20] = False
    beyond = []
    for seed in range(30):
        rows, columns = warp._source_places(cut, np.random.default_rng(seed))
        at = np.clip(np.rint((rows, columns)), 0, SIDE - 1).astype(int)
        beyond.append(rows[cut[tuple(at)]].max() - (SIDE - 1))
        assert warp.warped(cut.astype(np.uint8), np.random.default_rng(seed))[-1].any()
    assert max(beyond) < 1e-9 and min(beyond) < 0  # moved only where it has to be


def test_distances_change_sign_on_the_outline():
    region = np.zeros((12, 12), bool)
    region[4:7, 3:9] = True
    distance = warp.signed_distance(region, 3)
    assert np.array_equal(distance > 0, region)
    assert (distance[5, 4], distance[4, 5]) == (1.5, 0.5)
    assert (distance[3, 5], distance[2, 5], distance[11, 5]) == (-0.5, -1.5, -3)  # no further than 3
    assert warp.signed_distance(np.ones((5, 5), bool), 3)[2].tolist() == [0.5, 1.5, 2.5, 1.5, 0.5]
