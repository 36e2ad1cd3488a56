"""Features measure anatomy; precision and recall tell likeness from variety, on equally many masks."""

from functools import partial

import numpy as np
import pytest
from chests import chests

from tsgan_jax.evaluation.mask_variety import FEATURES, compared, mask_features, measure_variety, scaled
from tsgan_jax.evaluation.records import Record
from tsgan_jax.labels import BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA

RECORD = partial(Record, "masks", "ours")
TEST, TRAINING = (mask_features(chests(seeds).mask, 5.0) for seeds in (range(500, 560), range(120)))


def drawn():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:18, 2:18] = BODY
    mask[4:14, 3:8], mask[4:12, 10:15] = RIGHT_LUNG, LEFT_LUNG
    mask[3, 8:10] = TRACHEA
    mask[5:7, 4:6] = NODULE
    mask[5:8, 11:14] = NODULE  # the largest
    mask[13, 13] = NODULE  # a speck
    return mask


def named(mask, pixel_mm=2.0):
    return dict(zip(FEATURES, mask_features([mask], pixel_mm)[0], strict=True))


def figures(ours, **more):
    return {record.metric: record for record in measure_variety(RECORD, ours, TEST, TRAINING, bootstraps=30, **more)}


def test_features_of_a_drawn_mask():
    found = named(drawn())
    assert found["body: size"] == 16 * 2 and found["body: x"] == found["body: y"] == 9.5 * 2
    assert found["body: width"] == pytest.approx(2 * np.arange(16).std())
    rows, columns = np.nonzero(drawn() == RIGHT_LUNG)
    expected = [np.sqrt(46) * 2, 2 * columns.mean(), 2 * rows.mean(), 2 * columns.std(), 2 * rows.std()]
    parts = ("size", "x", "y", "width", "height")
    assert [found[f"right lung: {part}"] for part in parts] == pytest.approx(expected)
    assert (found["trachea: size"], found["trachea: x"], found["trachea: y"]) == (pytest.approx(2 * 2**0.5), 17, 6)
    assert found["nodules: number"] == 2 and found["largest nodule: size"] == 6
    assert found["largest nodule: x"] == (12.5 - 2) / 16 and found["largest nodule: y"] == (6.5 - 2) / 16


def test_what_is_absent_has_no_place():
    found = named(np.zeros((8, 8), np.uint8))
    present = {name for name, value in found.items() if np.isfinite(value)}
    assert present == {
        *("body: size", "left lung: size", "right lung: size", "trachea: size", "nodules: number")
    } and not any(found[name] for name in present)


def test_features_count_in_deviations_of_real_masks():
    real = np.array([[1.0, 7.0, np.nan, 0.0], [3.0, 7.0, 2.0, np.nan], [5.0, 7.0, 4.0, np.nan]])
    held, other = scaled(real, real, np.array([[np.nan, 9.0, 3.0, 5.0]]))
    assert held.shape == (3, 2)  # the second is the same in all real masks, and so is the fourth
    np.testing.assert_allclose(held[:, 0], np.array([-2, 0, 2]) / np.sqrt(8 / 3))
    np.testing.assert_allclose(held[:, 1], [0, -1, 1])
    np.testing.assert_allclose(other, [[0, 0]])


def test_masks_of_the_same_kind_reach_the_floor():
    for record in figures(mask_features(chests(range(900, 1020)).mask, 5.0)).values():
        assert 0.5 < record.floor <= 1 and abs(record.value - record.floor) < 0.15
        assert record.interval[0] <= record.value <= record.interval[1]
        assert record.details["n_each"] == 60


def test_copies_of_a_few_masks_have_no_recall():
    found = figures(TRAINING[:4].repeat(30, 0))
    assert found["recall"].value < 0.05 and found["recall"].interval[1] < 0.3 < 0.6 < found["recall"].floor
    assert found["precision"].value > 0.3


def test_masks_unlike_real_ones_have_no_precision():
    masks = np.roll(chests(range(60)).mask, 12, 2)
    assert figures(mask_features(masks, 5.0))["precision"].value == 0


def test_more_masks_do_not_raise_the_figures():
    many = mask_features(chests(range(2000, 2400)).mask, 5.0)
    held, few, more = scaled(TEST, TEST, many[:60], many)
    assert np.abs(np.subtract(compared(held, few, 60), compared(held, more, 60))).max() < 0.15
    assert compared(held, more, 60) == compared(held, more, 60)


def test_whole_scans_are_drawn_again():
    alone = figures(TRAINING)["recall"].interval
    shared = figures(TRAINING, scans=[f"scan{place // 10}" for place in range(60)])["recall"].interval
    assert alone != shared and figures(TRAINING, scans=["one"] * 60)["recall"].interval is None


def test_too_few_masks_give_a_reason():
    for record in figures(TRAINING[:3]).values():
        assert record.value is None and "3 masks of one kind" in record.reason


def test_real_masks_that_are_all_the_same_give_a_reason():
    (one, _) = measure_variety(RECORD, TRAINING, TEST[:1].repeat(9, 0), TRAINING)
    assert one.value is None and "are equal" in one.reason
