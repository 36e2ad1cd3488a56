"""Slices: the right ones are chosen, resampling moves nothing and loses no nodule; folds are of whole scans."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luna16_trees import chest
from pydantic import ValidationError

from tsgan_jax import labels
from tsgan_jax.config import DataConfig
from tsgan_jax.data.nodules import Nodule, NoduleSection
from tsgan_jax.data.slices import (
    NUM_FOLDS,
    LabelledSlice,
    area_weights,
    central_index,
    chosen_indices,
    fold_of,
    labelled_slices,
    linear_weights,
    other_folds,
    pool_classes,
    resample,
    scan_of,
)
from tsgan_jax.data.volume import HU_MIN, Volume


def volume(shape: tuple[int, int, int] = (9, 48, 64), spacing: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> Volume:
    return Volume("scan", chest(shape), spacing, (-30.0, -20.0, 100.0), 0)


def flat(hu: np.ndarray, anatomy: np.ndarray, *sections: NoduleSection, pixel: tuple = (1.0, 1.0)) -> LabelledSlice:
    return LabelledSlice("scan", 3, 106.0, hu.astype(np.int16), anatomy.astype(np.uint8), pixel, sections)


def nodule_at(x: float, y: float, radius: float) -> NoduleSection:
    return NoduleSection(Nodule("scan", (0.0, 0.0, 0.0), 2 * radius), (x, y), radius)


def test_each_central_slice_once_with_every_nodule_that_crosses_it() -> None:
    here = Nodule("scan", (-10.0, 0.0, 104.3), 6.0)  # slice 2
    same = Nodule("scan", (10.0, 0.0, 103.9), 4.0)  # slice 2 as well
    above = Nodule("scan", (0.0, 5.0, 108.0), 12.0)  # slice 4, reaches down to slice 2
    nodules = [here, same, above]
    scan = volume()
    assert [central_index(scan, n) for n in nodules] == [2, 2, 4]
    assert chosen_indices(scan, nodules) == [2, 4]
    lower, upper = labelled_slices(scan, nodules, np.ones((2, 48, 64), np.uint8))
    assert [s.nodule for s in lower.sections] == nodules and [s.nodule for s in upper.sections] == [above]
    assert lower.z == 104.0 and upper.index == 4
    np.testing.assert_array_equal(lower.hu, scan.hu[2])
    assert lower.sections[0].centre == (20.0, 20.0) and lower.sections[0].radius == pytest.approx(np.sqrt(9 - 0.09))
    mask = lower.mask
    assert mask[20, 20] == mask[20, 40] == mask[25, 30] == labels.NODULE and mask[0, 0] == labels.BODY


def test_a_nodule_between_two_thick_slices_is_drawn_on_its_own() -> None:
    thick = volume(spacing=(8.0, 1.0, 1.0))
    small = Nodule("scan", (-10.0, 0.0, 103.5), 3.0)
    (one,) = labelled_slices(thick, [small], np.ones((1, 48, 64), np.uint8))
    assert one.index == 0 and (one.mask == labels.NODULE).sum() == 1


def test_the_prepared_resolution_of_a_square_slice_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    hu, anatomy = rng.integers(-1000, 400, (48, 48)), rng.integers(0, 5, (48, 48))
    source = flat(hu, anatomy, nodule_at(20.3, 11.8, 3.1), pixel=(0.7, 0.7))
    stored = resample(source, 48)
    np.testing.assert_array_equal(stored.ct, hu)
    np.testing.assert_array_equal(stored.mask, source.mask)
    (nodule,) = stored.nodules
    assert nodule.box == nodule.box_native and stored.pixel_mm == pytest.approx(0.7)
    assert nodule.centre == pytest.approx((20.3, 11.8))


@pytest.mark.parametrize("resolution", [4, 7, 16, 40])
def test_shrinking_is_the_exact_area_average(resolution: int) -> None:
    """Against a plain loop on a grid in which both pixel sizes are whole numbers."""
    hu = np.random.default_rng(1).integers(-1000, 400, (40, 40))
    fine = np.repeat(np.repeat(hu, resolution, 0), resolution, 1)
    expected = fine.reshape(resolution, 40, resolution, 40).mean((1, 3))
    stored = resample(flat(hu, np.zeros((40, 40))), resolution)
    np.testing.assert_allclose(stored.ct, expected, atol=0.51)


@settings(deadline=None, max_examples=30)
@given(st.integers(10, 60), st.integers(10, 60), st.sampled_from([8, 16, 32, 64, 100]))
def test_padding_is_air_and_symmetric(h: int, w: int, resolution: int) -> None:
    stored = resample(flat(np.full((h, w), 100), np.full((h, w), labels.BODY)), resolution)
    side, pixel = max(h, w), max(h, w) / resolution
    rows, columns = (np.flatnonzero((stored.mask == labels.BODY).any(axis)) for axis in (1, 0))
    for found, size in ((rows, h), (columns, w)):
        low, high = (side - size) // 2 / pixel, ((side - size) // 2 + size) / pixel
        assert abs(found[0] - low) <= 1 and abs(found[-1] + 1 - high) <= 1
    assert stored.ct.min() >= HU_MIN and stored.ct.max() <= 100
    if h != w and resolution <= side and abs(h - w) // 2 > 2 * pixel:
        assert stored.ct[0, 0] == HU_MIN and stored.mask[0, 0] == labels.BACKGROUND


def test_pixels_that_are_not_square_become_square() -> None:
    """20 rows of 2 mm and 40 columns of 1 mm cover a square."""
    hu = np.full((20, 40), -1000)
    hu[5:10, 10:20] = 0
    stored = resample(flat(hu, hu == 0, pixel=(2.0, 1.0)), 20)
    assert stored.pixel_mm == 2.0
    expected = np.zeros((20, 20), np.uint8)
    expected[5:10, 5:10] = labels.BODY
    np.testing.assert_array_equal(stored.mask, expected)


def test_enlarging_is_linear_and_keeps_edges_in_place() -> None:
    ramp = np.tile(np.arange(16) * 50 - 400, (16, 1))
    stored = resample(flat(ramp, ramp >= 0), 64)
    inner = stored.ct[32, 2:-2].astype(float)
    np.testing.assert_allclose(np.diff(inner), 12.5, atol=1)
    assert (stored.mask[:, :32] == 0).all() and (stored.mask[:, 32:] == labels.BODY).all()


def test_equal_shares_are_decided_by_precedence() -> None:
    anatomy = np.zeros((4, 4), np.uint8)
    for (y, x), pair in {(0, 0): (1, 0), (0, 2): (2, 1), (2, 0): (4, 3), (2, 2): (2, 3)}.items():
        anatomy[y : y + 2, x], anatomy[y : y + 2, x + 1] = pair
    np.testing.assert_array_equal(resample(flat(np.zeros((4, 4)), anatomy), 2).mask, [[1, 2], [4, 2]])


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 199), st.floats(0, 149), st.floats(0.5, 12), st.sampled_from([8, 32, 64, 128, 256]))
def test_no_nodule_vanishes_at_any_resolution(x: float, y: float, radius: float, resolution: int) -> None:
    source = flat(np.zeros((150, 200)), np.full((150, 200), labels.LEFT_LUNG), nodule_at(x, y, radius))
    stored = resample(source, resolution)
    (nodule,) = stored.nodules
    box = nodule.box
    assert (stored.mask[box.y : box.y + box.h, box.x : box.x + box.w] == labels.NODULE).any()
    assert (stored.mask == labels.NODULE).sum() <= box.w * box.h
    middle = (box.x + box.w / 2 - 0.5, box.y + box.h / 2 - 0.5)
    inside = radius <= min(x, 199 - x, y, 149 - y)
    if inside:
        assert middle == pytest.approx(nodule.centre, abs=1.0)


@given(st.integers(1, 40), st.floats(0.3, 3), st.floats(0, 9), st.integers(1, 40), st.floats(0.3, 3))
def test_area_weights_share_out_every_input_pixel(n: int, step: float, offset: float, r: int, pixel: float) -> None:
    """Each input pixel is handed out once, as far as the output reaches; a row never exceeds a whole pixel."""
    weights = area_weights(n, step, offset, r, pixel)
    assert (weights >= 0).all() and (weights.sum(1) <= 1 + 1e-4).all()
    ends = np.clip(offset + step * np.arange(n + 1), 0, r * pixel)
    np.testing.assert_allclose(weights.sum(0) * pixel, np.diff(ends), atol=1e-3)


@given(st.integers(1, 40), st.integers(1, 80))
def test_linear_weights_reproduce_a_line(n: int, r: int) -> None:
    weights = linear_weights(n, 1.0, 0.0, r, n / r)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    position = np.clip((np.arange(r) + 0.5) * n / r - 0.5, 0, n - 1)
    np.testing.assert_allclose(weights @ np.arange(n), position, atol=1e-3)


@pytest.mark.parametrize("resolution", [1, 4, 8, 32])
def test_pooled_classes_are_shares(resolution: int) -> None:
    mask = np.random.default_rng(2).integers(0, 6, (32, 32)).astype(np.uint8)
    f = 32 // resolution
    one_hot = np.eye(6, dtype=np.float32)[mask]
    expected = one_hot.reshape(resolution, f, resolution, f, 6).mean((1, 3))
    pooled = pool_classes(mask, resolution)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected, atol=1e-6)


def test_pooling_needs_a_divisor() -> None:
    with pytest.raises(ValueError, match="reshape"):
        pool_classes(np.zeros((32, 32), np.uint8), 5)


def test_luna16s_subsets_are_folds_in_pairs() -> None:
    folds = [fold_of("any", subset, range(10)) for subset in range(10)]
    assert folds == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("count", range(2, 13))
def test_other_numbers_of_subsets_are_dealt_out_evenly(count: int) -> None:
    sizes = Counter(fold_of("any", subset, range(count)) for subset in range(count))
    assert len(sizes) == min(count, NUM_FOLDS)
    assert max(sizes.values()) - min(sizes.values()) <= 1


@pytest.mark.parametrize("subsets", [(), (0,), (7,)])
def test_without_subsets_the_name_decides(subsets: tuple) -> None:
    """Any scan stays where it is when others come, and five folds are filled about evenly."""
    subset = subsets[0] if subsets else None
    sizes = Counter(fold_of(f"1.3.6.1.{n}", subset, subsets) for n in range(1000))
    assert set(sizes) == set(range(NUM_FOLDS)) and all(150 < size < 250 for size in sizes.values())


@given(st.text("0123456789.", min_size=1), st.integers(0, 9999), st.integers(0, 9999))
def test_slices_of_a_scan_share_its_fold(uid: str, one: int, other: int) -> None:
    assert fold_of(f"{uid}.s{one:04d}", None, ()) == fold_of(f"{uid}.s{other:04d}", None, ()) == fold_of(uid, None, ())
    assert scan_of(f"{uid}.s{one:04d}") == uid


@pytest.mark.parametrize("fold", range(NUM_FOLDS))
def test_training_folds_are_the_other_four(fold: int) -> None:
    assert sorted((*other_folds((fold,)), fold)) == list(range(NUM_FOLDS))


def test_several_folds_can_be_kept_for_tests() -> None:
    assert other_folds((1, 3)) == (0, 2, 4)
    assert DataConfig(test_fold=3).test_folds == (3,)
    assert DataConfig(test_fold=[3, 1]).test_folds == (1, 3)
    assert DataConfig(test_fold=[2]) == DataConfig(test_fold=2)


@pytest.mark.parametrize("folds", [5, -1, [], [0, 1, 2, 3, 4], [0, 5], "one", True])
def test_folds_that_do_not_exist_or_leave_none_to_train_on_are_refused(folds: object) -> None:
    with pytest.raises(ValidationError, match="give one fold, 0 to 4, or a list of at most four"):
        DataConfig(test_fold=folds)
