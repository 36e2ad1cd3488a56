"""CT that obeys its mask scores as real pairs do, CT that does not scores less."""

from functools import partial

import numpy as np
import pytest
from chests import PIXEL_MM, chests

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.adherence import CLASSES, dice, measure_adherence, nodule_contrasts
from tsgan_jax.evaluation.records import Record
from tsgan_jax.labels import LEFT_LUNG, NODULE

REAL = chests(range(5))


def pairs(slices, masks=None):
    masks = slices.mask if masks is None else masks
    return [(mask, hu, PIXEL_MM) for mask, hu in zip(masks, slices.ct, strict=True)]


def measured(generated, real=None):
    record = partial(Record, "adherence", "ours")
    records, contrasts = measure_adherence(record, generated, pairs(REAL) if real is None else real, bootstraps=30)
    return {(record.subject, record.metric): record for record in records}, contrasts


def test_faithful_ct_reaches_the_ceiling():
    found, _ = measured(pairs(chests(range(50, 54))))
    for name in ("body", "left lung", "right lung"):
        record = found[name, "Dice"]
        assert record.value > 0.9 and record.floor > 0.9 and record.n == 4
        assert record.interval[0] <= record.value <= record.interval[1]


def test_ct_of_another_mask_falls_below_the_ceiling():
    found, _ = measured(pairs(REAL, np.roll(REAL.mask, 8, axis=1)))
    for name in ("body", "left lung", "right lung"):
        assert found[name, "Dice"].interval[1] < found[name, "Dice"].floor - 0.1


def test_nodule_pixels_decide_no_lungs_dice():
    mask, hu = REAL.mask[0], REAL.ct[0]
    before = dice(mask, hu, PIXEL_MM)
    mended = np.where(mask == NODULE, -850, hu)
    assert dice(mask, mended, PIXEL_MM)["body"] == before["body"]


def test_a_class_that_is_nowhere_gives_a_reason():
    blank = [(np.zeros((64, 64), np.uint8), np.full((64, 64), -1000, np.int16), PIXEL_MM)] * 2
    found, _ = measured(blank)
    for name in CLASSES:
        assert found[name, "Dice"].value is None and name in found[name, "Dice"].reason
    assert found["nodule contrast", "HU above lung"].value is None
    assert "0 generated, 5 real" in found["nodule contrast", "HU above lung"].reason


def test_contrast_is_the_step_from_lung_to_nodule():
    mask = np.full((40, 40), LEFT_LUNG, np.uint8)
    mask[10:14, 10:14] = NODULE
    mask[30, 30] = NODULE  # a speck
    hu = np.where(mask == NODULE, -100, -800)
    assert nodule_contrasts(mask, hu, 2.0) == [700]


def test_contrast_ignores_what_is_not_lung_and_needs_some_lung():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:14, 10:14] = NODULE
    hu = np.where(mask == NODULE, 0, 50)
    assert nodule_contrasts(mask, hu, 2.0) == []
    mask[:, 15:] = LEFT_LUNG
    hu[:, 15:] = -900
    assert nodule_contrasts(mask, hu, 2.0) == [900]


def test_faint_nodules_are_told_from_real_ones():
    faint = np.where(REAL.mask == NODULE, -700, REAL.ct)
    found, contrasts = measured([(mask, hu, PIXEL_MM) for mask, hu in zip(REAL.mask, faint, strict=True)])
    level, distance = found["nodule contrast", "HU above lung"], found["nodule contrast", "Wasserstein distance, HU"]
    assert level.value == pytest.approx(150, abs=60) and level.floor == pytest.approx(870, abs=60)
    assert distance.value > 600 and distance.floor < 100
    assert len(contrasts["generated"]) == level.n


def test_an_empty_side_is_refused():
    with pytest.raises(UserError, match="0 are generated, 5 real"):
        measured([])
