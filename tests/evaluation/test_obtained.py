"""Discs of known size on a drawn CT are found with their size, side and place; the table says what was met."""

import numpy as np
import pytest
from scipy import ndimage

from tsgan_jax.evaluation.obtained import CLOSE_MM, Compared, obtained, table
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, RIGHT_LUNG
from tsgan_jax.masks.places import PLACES, located
from tsgan_jax.masks.requested import NoduleRequest, with_requested

N, MM, FINE = 64, 2.8125, 8
Y, X = (np.indices((N * FINE, N * FINE)) + 0.5) / FINE - 0.5
HU = np.array([-1000, 30, -850, -850])


def ellipse(x, height, width):
    return ((Y - 32) / height) ** 2 + ((X - x) / width) ** 2 <= 1


SCENE = np.full(Y.shape, BACKGROUND)
for code, region in ((BODY, ellipse(32, 28, 31)), (LEFT_LUNG, ellipse(47, 19, 12)), (RIGHT_LUNG, ellipse(17, 19, 12))):
    SCENE[region] = code
MASK = SCENE[FINE // 2 :: FINE, FINE // 2 :: FINE].astype(np.uint8)


def pictured(wanted, seed, blur=0.6, bright=20.0):
    """(mask, CT, centre, true diameter) of a disc where a nodule is drawn in a mask, cut off by the lung's outline."""
    mask = with_requested(MASK, MM, wanted, [], np.random.default_rng(seed))
    (drawn,) = located(mask, MM)
    disc = np.hypot(Y - drawn.centre[1], X - drawn.centre[0]) * MM <= drawn.diameter_mm / 2
    disc &= (LEFT_LUNG if wanted.side == "left" else RIGHT_LUNG) == SCENE
    hu = np.where(disc, bright, HU[SCENE]).reshape(N, FINE, N, FINE).mean((1, 3))
    return mask, ndimage.gaussian_filter(hu, blur), drawn.centre, 2 * np.sqrt(disc.sum() / np.pi) / FINE * MM


@pytest.mark.parametrize("place", PLACES)
def test_discs_are_found_with_their_size_side_and_place(place):
    errors, places = [], []
    for mm in (6.0, 8.0, 12.0):
        for seed, side in enumerate(("left", "right") * 3):
            mask, hu, centre, true_mm = pictured(NoduleRequest(mm, side, place), seed)
            found = obtained(hu, mask, MM, centre, mm)
            errors.append(found.diameter_mm - true_mm)
            places.append(found.place)
            assert found.side == side
            assert np.hypot(*np.subtract(found.centre, centre)) * MM < 2
            assert found.lung_hu == pytest.approx(-850, abs=60) and found.lung_hu + 300 < found.hu < 30
    assert abs(np.mean(errors)) < 0.6 and np.percentile(np.abs(errors), 90) < CLOSE_MM
    assert np.mean([one == place for one in places]) > 0.9


def test_what_the_ct_does_not_show_is_not_found():
    wanted = NoduleRequest(8.0, "left", "central")
    mask, hu, centre, _ = pictured(wanted, 0, bright=-790.0)
    assert obtained(hu, mask, MM, centre, 8.0) is None
    elsewhere = obtained(pictured(wanted, 1)[1], mask, MM, centre, 8.0)
    assert elsewhere is None or abs(elsewhere.diameter_mm - 8) > 2


def test_the_size_is_the_ct_s_and_not_the_mask_s():
    mask, hu, centre, true_mm = pictured(NoduleRequest(12.0, "left", "central"), 0)
    smaller = np.where(mask == NODULE, LEFT_LUNG, mask).astype(np.uint8)
    x, y = (round(at) for at in centre)
    smaller[y : y + 2, x : x + 2] = NODULE
    found = obtained(hu, smaller, MM, centre, 12.0)
    assert found.diameter_mm == pytest.approx(true_mm, abs=1)


def test_the_table_has_a_row_a_bin_and_one_of_all():
    some = []
    for mm, place in ((5.0, "central"), (7.0, "central"), (7.5, "central"), (7.0, "any")):
        mask, hu, centre, _ = pictured(NoduleRequest(mm, "left", "central"), 1)
        drawn = {"diameter_mm": mm, "centre": centre}
        got = None if mm == 7.5 else obtained(hu, mask, MM, centre, mm)
        some.append(Compared({"diameter_mm": mm, "side": "left", "place": place}, drawn, got, MM))
    made = table(some)
    assert [row[:4] for row in made.rows] == [
        ("below 6 mm", "left", "central", "1"),
        ("6-8 mm", "left", "central", "2"),
        ("6-8 mm", "left", "any", "1"),
        ("all", "", "", "4"),
    ]
    found = dict(zip(made.columns, made.rows[1], strict=True))
    assert (found["found"], found["side right"], found["mask within"]) == ("50%", "50%", "100%")
    assert dict(zip(made.columns, made.rows[2], strict=True))["place right"] == "100%"
