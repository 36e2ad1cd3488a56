"""Regions of a slice: the lungs, and squares round nodules."""

import numpy as np

from tsgan_jax.evaluation.regions import View, cut, nodule_squares, owners
from tsgan_jax.labels import BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA


def a_mask() -> np.ndarray:
    mask = np.full((80, 90), BODY, np.uint8)
    mask[20:60, 10:35], mask[20:60, 55:80], mask[10:14, 40:44] = RIGHT_LUNG, LEFT_LUNG, TRACHEA
    mask[40:43, 60:64] = NODULE
    return mask


def test_lungs_keep_their_nodules_and_not_the_trachea() -> None:
    mask, image = a_mask(), np.full((80, 90), 77, np.uint8)
    (shown,) = cut(image, mask, "lungs")
    assert (shown[20:60, 10:35] == 77).all() and (shown[40:43, 60:64] == 77).all()
    assert (shown == 77).sum() == 2 * 40 * 25
    assert cut(image, np.full_like(mask, BODY), "lungs") == []


def test_squares_stand_round_nodules_and_inside_the_image() -> None:
    mask = a_mask()
    mask[0, 0] = NODULE
    corner, middle = nodule_squares(mask, side=20)
    assert corner == (slice(0, 20), slice(0, 20))
    assert middle == (slice(31, 51), slice(52, 72))
    assert nodule_squares(mask)[1] == (slice(9, 73), slice(26, 90))
    assert nodule_squares(mask[:30, :30])[0] == (slice(0, 30), slice(0, 30))
    assert nodule_squares(np.zeros((8, 8), np.uint8)) == []


def test_touching_corners_are_one_nodule() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[10, 10] = mask[11, 11] = NODULE
    assert len(nodule_squares(mask, 8)) == 1


def test_a_view_can_be_gone_through_again_and_knows_its_slices() -> None:
    mask = a_mask()
    two = mask.copy()
    two[50:52, 20:22] = NODULE
    slices = [(np.zeros_like(mask), mask), (np.ones_like(mask), two), (np.ones_like(mask), np.zeros_like(mask))]
    view = View(lambda: iter(slices), "nodules")
    assert [image.max() for image in view] == [image.max() for image in view] == [0, 1, 1]
    assert owners(slices, "nodules", "abc") == ["a", "b", "b"]
    assert owners(slices, "lungs", "abc") == ["a", "b"]
