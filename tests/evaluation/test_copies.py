"""The copy audit finds what was planted and nothing else (T25)."""

from functools import partial

import numpy as np
import pytest
from chests import PIXEL_MM, chest, chests

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.copies import audit, records, threshold_of
from tsgan_jax.evaluation.nearest import Archive, ct_level, mask_level
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.sources import GeneratedSlice
from tsgan_jax.labels import MIRROR

WINDOW = (-1000.0, 400.0)
TRAINING, HELD_OUT = chests(range(60)), chests(range(1000, 1040))


def mirrored(mask, hu):
    return MIRROR[mask][:, ::-1], hu[:, ::-1]


def noised(mask, hu):
    rng = np.random.default_rng(5)
    changed = rng.random(mask.shape) < 0.02
    noise = rng.normal(0, 0.04 * (WINDOW[1] - WINDOW[0]), hu.shape)
    return np.where(changed, rng.integers(0, 6, mask.shape), mask).astype(np.uint8), (hu + noise).astype(np.int16)


def shifted(mask, hu):
    return np.roll(mask, (3, -5), (0, 1)), np.roll(hu, (3, -5), (0, 1))


def all_at_once(mask, hu):
    return shifted(*noised(*mirrored(mask, hu)))


PLANTS = [lambda mask, hu: (mask, hu), mirrored, noised, shifted, all_at_once]


@pytest.fixture(scope="module")
def planted():
    """Ten honest slices, then five disguises of each of three training slices; audited."""
    made = [chest(seed) for seed in range(2000, 2010)]
    made += [plant(TRAINING.mask[i], TRAINING.ct[i]) for i in (4, 17, 38) for plant in PLANTS]
    slices = [GeneratedSlice(f"{place:03d}.png", *pair, PIXEL_MM) for place, pair in enumerate(made)]
    return audit(iter(slices), TRAINING, HELD_OUT, WINDOW)


@pytest.mark.parametrize("level", [0, 1])
def test_every_planted_copy_is_flagged_and_no_honest_slice(planted, level):
    flagged = np.array(planted[level].distances) < planted[level].threshold
    assert not flagged[:10].any() and flagged[10:].all()
    assert planted[level].flagged == 15


def test_held_out_slices_are_not_flagged():
    """Neither by the threshold of other held-out scans, nor when they are passed off as generated ones."""
    ours = chests(range(3000, 3020))
    slices = [GeneratedSlice("x.png", *pair, PIXEL_MM) for pair in zip(ours.mask, ours.ct, strict=True)]
    for found in audit(slices, TRAINING, HELD_OUT, WINDOW):
        assert found.flagged == 0 and found.false_alarms == 0


@pytest.mark.parametrize("level", [0, 1])
def test_pairs_name_the_training_slice_and_how_it_was_disguised(planted, level):
    by_name = {one.name: match for one, match in planted[level].pairs}
    assert len(by_name) == 12 and all(match.distance < planted[level].threshold for match in by_name.values())
    distances = [match.distance for _, match in planted[level].pairs]
    assert distances == sorted(distances)
    exact, turned, moved = (by_name.get(f"{10 + place:03d}.png") for place in (0, 1, 3))
    assert exact.index == turned.index == moved.index == 4
    assert turned.mirrored and not exact.mirrored
    assert moved.shift == (-3 / 64, 5 / 64) and exact.shift == (0, 0)


def test_records_state_threshold_control_and_interval(planted):
    mask_share, mask_distance, ct_share, _ = records(partial(Record, "copies", "ours"), planted, bootstraps=20)
    assert mask_share.value == ct_share.value == 15 / 25 and mask_share.n == 25
    assert mask_share.interval[0] < 0.6 < mask_share.interval[1]
    assert mask_share.floor == 0 and mask_share.details["threshold"] == planted[0].threshold
    assert mask_distance.floor == np.median(planted[0].held_out)
    assert {r.subject for r in (mask_share, ct_share)} == {"mask", "ct"}


def test_the_threshold_is_half_of_the_nearest_hundredth():
    assert threshold_of(np.arange(101.0)) == 0.5


def test_one_held_out_scan_is_too_few():
    with pytest.raises(UserError, match="two or more held-out scans"):
        audit([], TRAINING, chests([7]), WINDOW)


def test_nothing_generated_is_refused():
    with pytest.raises(UserError, match="no generated slice"):
        audit([], chests(range(3)), chests(range(10, 14)), WINDOW)


@pytest.mark.parametrize(("level", "image"), [(mask_level(), "mask"), (ct_level(WINDOW), "ct")])
def test_nearest_agrees_with_a_plain_search(level, image):
    """Against loops over mirrorings, shifts and slices with scipy's own smoothing."""
    from scipy import ndimage

    few = chests(range(6), side=16)
    query = getattr(chests([99], side=16), image)[0]
    reach = 2

    def smooth(planes):
        return ndimage.fourier_gaussian(np.fft.fft2(planes), (0, 1, 1))

    best = np.inf
    for planes in (level.planes(query[None]), level.mirrored(level.planes(query[None]))):
        for slice_ in getattr(few, image):
            there = np.fft.ifft2(smooth(level.planes(slice_[None])[0])).real
            for shift in [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]:
                here = np.fft.ifft2(smooth(np.roll(planes[0], shift, (1, 2)))).real
                best = min(best, ((here - there) ** 2).sum() / 256)
    expected = np.sqrt(best) if level.rooted else best
    assert Archive(level, getattr(few, image)).nearest(query).distance == pytest.approx(expected, rel=2e-2)


def test_a_large_slice_is_compared_at_64_px():
    big = chests(range(4), side=256)
    match = Archive(ct_level(WINDOW), big.ct).nearest(np.roll(big.ct[2], 8, 1))
    assert match.index == 2 and match.shift == (0, -8 / 256) and match.distance < 1e-3
