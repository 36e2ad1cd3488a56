"""PSNR and SSIM against scikit-image (T21), on the whole slice, in the lungs and round nodules."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from chests import slice_set
from scipy import ndimage
from skimage import metrics

from tsgan_jax.data.pipeline import SliceSet
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.similarity import measure_similarity
from tsgan_jax.images import to_uint8, to_unit
from tsgan_jax.labels import BODY, LEFT_LUNG, NODULE

WINDOW = (-1000.0, 400.0)
SIDE = 72
RECORD = partial(Record, "similarity", "a")
RNG = np.random.default_rng(2)


def ct(n: int = 3) -> np.ndarray:
    """Smooth HU with noise, int16 [n, r, r]."""
    smooth = ndimage.gaussian_filter(RNG.normal(0, 4000, (n, SIDE, SIDE)), (0, 4, 4))
    return (smooth - 300 + RNG.normal(0, 20, smooth.shape)).clip(-1024, 1500).astype(np.int16)


def slices(hu: np.ndarray, scans: str = "abc") -> SliceSet:
    mask = np.full(hu.shape, BODY, np.uint8)
    mask[:, 12:60, 20:50] = LEFT_LUNG
    mask[:1, 20:24, 30:34] = mask[1:2, 50:53, 21:23] = mask[1:2, 20:22, 40:43] = NODULE
    return slice_set(hu, mask, scans)


def by_name(records: list[Record]) -> dict[tuple[str, str], Record]:
    return {(record.subject, record.metric): record for record in records}


REAL = ct()
GENERATED = (REAL + RNG.normal(40, 150, REAL.shape)).astype(np.float32)
TEST = slices(REAL)


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Record]:
    return by_name(measure_similarity(partial(RECORD, fold=1), TEST, GENERATED, WINDOW))


def twelve_bit(hu: np.ndarray) -> np.ndarray:
    return (to_unit(hu, WINDOW).astype(np.float64) + 1) / 2 * 4095


def skimage_ssim(a: np.ndarray, b: np.ndarray, gaussian: bool) -> tuple[float, np.ndarray]:
    """Mean and map of 8-bit images; Wang's settings as scikit-image's documentation gives them."""
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if gaussian else {}
    return metrics.structural_similarity(a, b, data_range=255, full=True, **wang)


def test_whole_slices_as_scikit_image(found: dict) -> None:
    assert len(found) == 9 and all(record.n == 3 and record.fold == 1 for record in found.values())
    pairs = list(zip(REAL, GENERATED, strict=True))
    expected = [metrics.peak_signal_noise_ratio(twelve_bit(a), twelve_bit(b), data_range=4095) for a, b in pairs]
    assert found["full", "PSNR"].value == pytest.approx(np.mean(expected), abs=1e-4)
    for name, gaussian in (("SSIM", True), ("SSIM-uniform7", False)):
        values = [skimage_ssim(to_uint8(a, WINDOW), to_uint8(b, WINDOW), gaussian)[0] for a, b in pairs]
        assert found["full", name].value == pytest.approx(np.mean(values), abs=1e-5)


def test_lungs_are_the_means_over_their_pixels(found: dict) -> None:
    inside, pairs = np.isin(TEST.mask, (LEFT_LUNG, NODULE)), list(zip(REAL, GENERATED, strict=True))
    errors = [
        np.square(twelve_bit(a) - twelve_bit(b))[i].mean() for a, b, i in zip(REAL, GENERATED, inside, strict=True)
    ]
    assert found["lungs", "PSNR"].value == pytest.approx(np.mean(10 * np.log10(4095**2 / np.array(errors))), abs=1e-4)
    for name, gaussian, edge in (("SSIM", True, 5), ("SSIM-uniform7", False, 3)):
        assert inside[:, edge:-edge, edge:-edge].sum() == inside.sum()
        maps = [skimage_ssim(to_uint8(a, WINDOW), to_uint8(b, WINDOW), gaussian)[1] for a, b in pairs]
        values = [m[i].mean() for m, i in zip(maps, inside, strict=True)]
        assert found["lungs", name].value == pytest.approx(np.mean(values), abs=1e-5)


def test_nodules_are_squares_of_64_pixels(found: dict) -> None:
    corners = [(0, 0, 0), (1, 8, 0), (1, 0, 8)]  # slice, first row, first column; moved inside the image
    values = []
    for i, y, x in corners:
        a, b = (twelve_bit(hu[i, y : y + 64, x : x + 64]) for hu in (REAL, GENERATED))
        values.append(metrics.peak_signal_noise_ratio(a, b, data_range=4095))
    assert found["nodules", "PSNR"].value == pytest.approx(np.mean(values), abs=1e-4)
    assert found["nodules", "PSNR"].n == 3 and found["nodules", "PSNR"].details["scans"] == 2


def test_another_chest_is_the_floor_and_intervals_hold_the_value(found: dict) -> None:
    for record in found.values():
        assert record.floor < record.value
        assert record.interval[0] <= record.value <= record.interval[1]
    alone = by_name(measure_similarity(RECORD, slices(REAL, "aaa"), GENERATED, WINDOW))
    assert all(record.floor is None and record.interval is None for record in alone.values())


def test_equal_images_have_ssim_1_and_no_psnr() -> None:
    records = by_name(measure_similarity(RECORD, TEST, REAL, WINDOW))
    psnr_record, ssim_record = records["full", "PSNR"], records["full", "SSIM"]
    assert psnr_record.value is None and "infinite" in psnr_record.reason and psnr_record.details["equal"] == 3
    assert ssim_record.value == pytest.approx(1, abs=1e-6) and ssim_record.reason is None


def test_subjects_that_are_absent_have_reasons_and_leave_the_rest() -> None:
    bare = replace(TEST, mask=np.full_like(TEST.mask, BODY))
    records = by_name(measure_similarity(RECORD, bare, GENERATED, WINDOW))
    assert records["full", "PSNR"].value is not None
    for subject in ("lungs", "nodules"):
        assert records[subject, "SSIM"].value is None
        assert records[subject, "SSIM"].reason == f"no real slice has {subject} to compare"


def test_every_real_slice_needs_its_image() -> None:
    for wrong in (GENERATED[:2], GENERATED[[0, 1, 2, 0]]):
        with pytest.raises(ValueError):
            measure_similarity(RECORD, TEST, wrong, WINDOW)


def test_an_empty_fold_has_reasons() -> None:
    empty = replace(slices(REAL[:0], ""), nodules=())
    assert all(record.value is None and record.reason for record in measure_similarity(RECORD, empty, REAL[:0], WINDOW))
