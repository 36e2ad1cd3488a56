"""Requested nodules: the size to a pixel, the side and place always, inside the lung and apart; where there is room."""

import numpy as np
import pytest
from scipy import ndimage

from tests.evaluation.chests import chest
from tsgan_jax import labels
from tsgan_jax.components import NEIGHBOURS
from tsgan_jax.masks.nodules import nodules_of, without_nodules
from tsgan_jax.masks.places import PERIPHERAL_MM, PLACES, SIDES, located
from tsgan_jax.masks.plausibility import check
from tsgan_jax.masks.requested import NoduleRequest, least_mm, smooth_contour, with_requested

SIDE, MM = 96, 3.0
MASKS = [chest(seed, SIDE)[0] for seed in range(4)]
BANK = [nodule for mask in MASKS for nodule in nodules_of(mask, MM)]


def deepest_mm(mask, side):
    return ndimage.distance_transform_edt(mask == SIDES[side]).max() * MM


@pytest.mark.parametrize("bank", [[], BANK], ids=["random shapes", "real shapes"])
def test_size_side_and_place_are_as_requested(bank):
    made = 0
    for number, mask in enumerate(map(without_nodules, MASKS)):
        for side in SIDES:
            for place in PLACES:
                for mm in (6.0, 15.0):
                    wanted = NoduleRequest(mm, side, place)
                    out = with_requested(mask, MM, wanted, bank, np.random.default_rng(number))
                    if out is None:
                        assert place == "central" and deepest_mm(mask, side) < PERIPHERAL_MM + mm / 2 + 3 * MM
                        continue
                    made += 1
                    (nodule,) = located(out, MM)
                    assert (nodule.side, nodule.place) == (side, place)
                    taken = out != mask
                    assert set(mask[taken]) == {SIDES[side]}, "trachea, body or the other lung were drawn on"
                    assert taken.sum() == max(3, round(np.pi * (mm / 2 / MM) ** 2))
                    assert check(out, MM).accepted
                    touches = (ndimage.binary_dilation(taken, NEIGHBOURS) & (mask != SIDES[side])).any()
                    assert touches == (place == "juxtapleural")
                    assert place == "juxtapleural" or (nodule.depth_mm > PERIPHERAL_MM) == (place == "central")
    assert made > 36


def test_several_nodules_keep_apart_and_a_full_lung_has_no_room():
    mask, rng = without_nodules(MASKS[0]), np.random.default_rng(0)
    count = 0
    while (more := with_requested(mask, MM, NoduleRequest(12, "right"), [], rng)) is not None:
        mask, count = more, count + 1
        assert len(located(mask, MM)) == count
        assert count < 100
    assert count > 3 and all(nodule.side == "right" for nodule in located(mask, MM))
    without = np.where(MASKS[0] == labels.LEFT_LUNG, labels.BODY, MASKS[0]).astype(np.uint8)
    assert with_requested(without, MM, NoduleRequest(8, "left"), [], rng) is None
    for seed in range(8):
        out = with_requested(without_nodules(without), MM, NoduleRequest(8), [], np.random.default_rng(seed))
        assert out is not None and located(out, MM)[0].side == "right"


def test_positions_follow_real_nodules():
    """With one real nodule at the back of the right lung, requested ones lie there; without, anywhere."""
    mask = without_nodules(MASKS[1])
    ys, xs = np.nonzero(ndimage.distance_transform_edt(mask == labels.RIGHT_LUNG) > 3)
    lowest = ys.argmax()
    marked = mask.copy()
    marked[ys[lowest] - 1 : ys[lowest] + 2, xs[lowest] - 1 : xs[lowest] + 2] = labels.NODULE
    bank = nodules_of(marked, MM)

    def rows(bank):
        drawn = [with_requested(mask, MM, NoduleRequest(9), bank, np.random.default_rng(seed)) for seed in range(16)]
        return np.array([located(out, MM)[0].centre[1] for out in drawn])

    assert np.abs(rows(bank) - ys[lowest]).max() < 12 and np.abs(rows([]) - ys[lowest]).max() > 20


def test_diameters_that_a_grid_cannot_hold():
    assert least_mm(MM) == pytest.approx(2 * np.sqrt(3 / np.pi) * MM) and 3 <= least_mm(0.7) < 3.2
    out = with_requested(without_nodules(MASKS[0]), MM, NoduleRequest(3), [], np.random.default_rng(1))
    assert located(out, MM)[0].diameter_mm == pytest.approx(least_mm(MM))


def test_random_shapes_are_compact_and_differ():
    shapes = [smooth_contour(np.random.default_rng(seed)) for seed in range(20)]
    assert len({shape.tobytes() for shape in shapes}) == 20
    for shape in shapes:
        assert ndimage.label(shape)[1] == 1 and not (shape[0].any() or shape[:, 0].any())
        y, x = np.indices(shape.shape) - len(shape) // 2
        radius = np.sqrt(shape.sum() / np.pi)
        assert shape[np.hypot(y, x) < 0.7 * radius].mean() > 0.97
        assert not (shape & (np.hypot(y, x) > 1.5 * radius)).any()


def test_nodules_are_located():
    mask = without_nodules(MASKS[0])
    mask[2:5, 2:5] = labels.NODULE  # in the air
    (nodule,) = located(mask, MM)
    assert (nodule.side, nodule.place, nodule.depth_mm, nodule.centre) == (None, None, None, (3.0, 3.0))
    assert located(without_nodules(mask), MM) == []
