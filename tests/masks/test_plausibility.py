"""A drawn chest is accepted; each fault drawn into it is named."""

import numpy as np
import pytest

from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA
from tsgan_jax.masks import plausibility
from tsgan_jax.masks.plausibility import check, nodule_components

PIXEL_MM = 2.7


def ellipse(mask, x, y, rx, ry, code):
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask[((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2 <= 1] = code


@pytest.fixture
def chest():
    mask = np.zeros((128, 128), np.uint8)
    ellipse(mask, 64, 64, 55, 42, BODY)
    ellipse(mask, 40, 64, 16, 28, RIGHT_LUNG)
    ellipse(mask, 88, 64, 16, 28, LEFT_LUNG)
    ellipse(mask, 40, 60, 2, 2, NODULE)
    return mask


def test_a_chest_is_accepted(chest):
    assert check(chest, PIXEL_MM) == plausibility.Verdict(True, ())


def swap_lungs(mask):
    return mask[:, ::-1]


def remove_left(mask):
    return np.where(mask == LEFT_LUNG, BODY, mask)


def remove_nodule(mask):
    return np.where(mask == NODULE, RIGHT_LUNG, mask)


def only_speckles(mask):
    mask = remove_nodule(mask)
    mask[60, 40] = mask[60, 90] = NODULE
    return mask


def huge_nodule(mask):
    ellipse(mask, 40, 64, 7, 7, NODULE)
    return mask


def nodule_in_the_spine(mask):
    ellipse(mask, 64, 95, 2, 2, NODULE)
    return mask


def split_body(mask):
    mask[:, 62:66] = BACKGROUND
    return mask


def trachea_at_the_edge(mask):
    mask[40:60, 0] = TRACHEA
    return mask


def trachea_in_a_lung(mask):
    ellipse(mask, 88, 50, 3, 3, TRACHEA)
    return mask


def trachea_round_a_nodule(mask):
    mask[58:63, 43] = TRACHEA
    return mask


def huge_lung(mask):
    return np.where((mask == BODY) & (np.arange(128) > 20), LEFT_LUNG, mask)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (np.zeros_like, plausibility.NO_BODY),
        (swap_lungs, plausibility.LUNGS_SWAPPED),
        (remove_left, plausibility.LUNG_MISSING[LEFT_LUNG]),
        (remove_nodule, plausibility.NO_NODULE),
        (only_speckles, plausibility.NO_NODULE),
        (huge_nodule, plausibility.NODULE_TOO_LARGE),
        (nodule_in_the_spine, plausibility.NODULE_OUTSIDE_LUNG),
        (split_body, plausibility.BODY_IN_PIECES),
        (trachea_at_the_edge, plausibility.ORGAN_OUTSIDE_BODY),
        (trachea_in_a_lung, plausibility.TRACHEA_IN_LUNG),
        (trachea_round_a_nodule, plausibility.TRACHEA_IN_LUNG),
        (huge_lung, plausibility.LUNG_TOO_LARGE[LEFT_LUNG]),
    ],
)
def test_a_fault_is_the_only_reason(chest, fault, reason):
    assert check(fault(chest).astype(np.uint8), PIXEL_MM) == plausibility.Verdict(False, (reason,))


def test_speckles_beside_a_nodule_are_ignored(chest):
    chest[100, 64] = NODULE
    assert check(chest, PIXEL_MM).accepted


def test_a_nodule_at_the_lung_wall_touches_the_lung(chest):
    ellipse(chest, 22, 64, 2, 2, NODULE)
    assert check(chest, PIXEL_MM).accepted


@pytest.mark.parametrize("x", [64, 58])
def test_trachea_between_the_lungs_or_at_the_hilum_is_where_it_belongs(chest, x):
    ellipse(chest, x, 60, 4, 3, TRACHEA)
    assert check(chest, PIXEL_MM).accepted


def test_components_are_measured(chest):
    chest[100, 64:66] = NODULE
    disc, speckle = nodule_components(chest, PIXEL_MM)
    assert (disc.pixels, disc.box, disc.at_lung, disc.is_speckle) == (13, (38, 58, 5, 5), True, False)
    assert disc.diameter_mm == pytest.approx(2 * np.sqrt(13 / np.pi) * 2.7)
    assert (speckle.pixels, speckle.at_lung, speckle.is_speckle) == (2, False, True)


def test_lung_around_tells_a_solitary_nodule_from_one_on_the_wall(chest):
    ellipse(chest, 22, 64, 2, 2, NODULE)
    by_place = {nodule.box[:2]: nodule.lung_around for nodule in nodule_components(chest, PIXEL_MM)}
    (on_the_wall,) = (share for place, share in by_place.items() if place != (38, 58))
    assert by_place[38, 58] == 1.0 and 0.2 < on_the_wall < 0.8


def test_small_pixels_raise_the_pixels_that_a_nodule_needs(chest):
    assert check(chest, 0.7).reasons == (plausibility.NO_NODULE,)  # 13 pixels are 2.8 mm


def test_corner_neighbours_are_one_component():
    mask = np.full((8, 8), LEFT_LUNG, np.uint8)
    mask[2, 2] = mask[3, 3] = mask[4, 2] = NODULE
    (component,) = nodule_components(mask, 1.0)
    assert component.pixels == 3
