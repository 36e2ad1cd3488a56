"""Batches: where a stream stands follows from the images seen alone."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tsgan_jax import labels
from tsgan_jax.data.pipeline import SliceSet, mask_batches, pair_batches, pool_maps
from tsgan_jax.data.slices import pool_classes
from tsgan_jax.images import to_unit

WINDOW = (-1000.0, 400.0)


def slice_set(n: int = 7, side: int = 8) -> SliceSet:
    """Slice i holds HU of i everywhere in its left upper corner, so that a batch tells which slices are in it."""
    rng = np.random.default_rng(0)
    ct = rng.integers(-1000, 400, (n, side, side)).astype(np.int16)
    ct[:, 0, 0] = ct[:, 0, -1] = np.arange(n)
    empty = np.zeros(n, np.float32)
    return SliceSet(
        ct=ct,
        mask=rng.integers(0, 6, (n, side, side)).astype(np.uint8),
        seriesuid=tuple(f"s{i}" for i in range(n)),
        fold=np.zeros(n, np.int32),
        slice_index=np.zeros(n, np.int32),
        z_mm=empty,
        pixel_mm=empty + 1,
        native_mm=np.ones((n, 2), np.float32),
        nodules=((),) * n,
    )


def order(slices: SliceSet, count: int, **options: object) -> list[int]:
    """The slices of the first `count` images of a stream."""
    settings = {"batch_size": 1, "seed": 0, "images_seen": 0, "window": (-1000.0, 1000.0), **options}
    batches = itertools.islice(pair_batches(slices, **settings), count)
    return [round(float(batch.ct[0, 0, 0, 0]) * 1000) for batch in batches]


def shares(slices: SliceSet, resolution: int) -> np.ndarray:
    """Class shares float16 [n, r, r, 6] of the masks."""
    return pool_maps(np.eye(labels.NUM_CLASSES, dtype=np.float32)[slices.mask], resolution)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_every_epoch_is_a_permutation_of_its_own(n: int) -> None:
    epochs = np.reshape(order(slice_set(n), 4 * n), (4, n))
    np.testing.assert_array_equal(np.sort(epochs, 1), np.tile(np.arange(n), (4, 1)))
    if n >= 7:
        assert len({tuple(epoch) for epoch in epochs}) == 4
        assert order(slice_set(n), 4 * n, seed=1) != epochs.ravel().tolist()


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("seen", [3, 6, 21, 30])
def test_a_resume_goes_on_where_the_stream_stood(batch_size: int, seen: int) -> None:
    """Starting at image k equals dropping the first k images, mirroring included, whatever the batch size was."""
    slices = slice_set()
    makers: list[Callable[[int], Iterator]] = [
        lambda k: pair_batches(slices, batch_size, 5, k, WINDOW, mirror=True),
        lambda k: mask_batches(shares(slices, 4), batch_size, 5, k, labels.MIRROR),
    ]
    for make in makers:
        unbroken = list(itertools.islice(make(0), seen // batch_size + 4))[seen // batch_size :]
        resumed = list(itertools.islice(make(seen), 4))
        for one, other in zip(unbroken, resumed, strict=True):
            for a, b in zip(vars(one).values(), vars(other).values(), strict=True):
                np.testing.assert_array_equal(a, b)


def test_batch_size_does_not_change_the_order() -> None:
    slices = slice_set()
    singles = [b.mask[0] for b in itertools.islice(pair_batches(slices, 1, 3, 0, WINDOW), 12)]
    fours = np.concatenate([b.mask for b in itertools.islice(pair_batches(slices, 4, 3, 0, WINDOW), 3)])
    np.testing.assert_array_equal(singles, fours)


def test_pairs_are_of_one_slice_in_the_window() -> None:
    slices = slice_set()
    batch = next(pair_batches(slices, 7, 2, 0, WINDOW))
    assert batch.mask.dtype == np.uint8 and batch.ct.dtype == np.float32 and batch.ct.shape == (7, 8, 8, 1)
    for mask, ct in zip(batch.mask, batch.ct, strict=True):
        (index,) = np.flatnonzero((slices.mask == mask).all((1, 2)))
        np.testing.assert_array_equal(ct[..., 0], to_unit(slices.ct[index], WINDOW))


@pytest.mark.parametrize("resolution", [2, 4, 8])
def test_masks_are_pooled_shares(resolution: int) -> None:
    slices = slice_set()
    (batch,) = itertools.islice(mask_batches(shares(slices, resolution), 7, 0, 0), 1)
    assert batch.maps.dtype == np.float32 and batch.maps.shape == (7, resolution, resolution, 6)
    expected = np.stack([pool_classes(mask, resolution) for mask in slices.mask])
    places = [np.flatnonzero((expected == one).all((1, 2, 3))) for one in batch.maps]
    assert sorted(int(place[0]) for place in places) == list(range(7))
    if resolution == 8:
        assert set(np.unique(batch.maps)) == {0.0, 1.0}


def test_mirroring_swaps_the_lungs_names_in_half_of_the_images() -> None:
    slices = slice_set(n=1, side=8)
    mask = slices.mask[0]
    mirrored = labels.MIRROR[mask[:, ::-1]]
    pairs = list(itertools.islice(pair_batches(slices, 1, 0, 0, WINDOW, mirror=True), 200))
    flips = [bool((pair.mask[0] == mirrored).all()) for pair in pairs]
    assert 60 < sum(flips) < 140
    for pair, flipped in zip(pairs, flips, strict=True):
        ct = slices.ct[0][:, ::-1] if flipped else slices.ct[0]
        np.testing.assert_array_equal(pair.mask[0], mirrored if flipped else mask)
        np.testing.assert_array_equal(pair.ct[0, ..., 0], to_unit(ct, WINDOW))
    drawn = list(itertools.islice(mask_batches(shares(slices, 4), 1, 0, 0, labels.MIRROR), 200))
    for batch, flipped in zip(drawn, flips, strict=True):
        np.testing.assert_array_equal(batch.maps[0], pool_classes(mirrored if flipped else mask, 4))
    for plain in itertools.islice(pair_batches(slices, 1, 0, 0, WINDOW), 5):
        np.testing.assert_array_equal(plain.mask[0], mask)


def test_unpaired_batches_hold_every_mask_and_ct_once_an_epoch_but_not_together() -> None:
    slices = slice_set(16)
    slices.mask[:] = np.arange(16)[:, None, None] % 6

    def epoch(paired: bool) -> list[tuple[bytes, bytes]]:
        drawn = itertools.islice(pair_batches(slices, 1, 3, 0, WINDOW, paired=paired), len(slices))
        return [(batch.mask.tobytes(), batch.ct.tobytes()) for batch in drawn]

    together, apart = epoch(True), epoch(False)
    for part in (0, 1):
        assert sorted(pair[part] for pair in together) == sorted(pair[part] for pair in apart)
    assert len(set(together) & set(apart)) < len(slices) / 2


def test_the_slices_themselves_are_never_changed() -> None:
    slices = slice_set()
    mask, ct = slices.mask.copy(), slices.ct.copy()
    for batch in itertools.islice(pair_batches(slices, 3, 0, 0, WINDOW, mirror=True), 9):
        assert not np.shares_memory(batch.mask, slices.mask)
    np.testing.assert_array_equal(slices.mask, mask)
    np.testing.assert_array_equal(slices.ct, ct)


def test_streams_are_fast_enough() -> None:
    """Far below what two cores deliver, far above what training consumes."""
    slices = slice_set(n=64, side=128)
    for batches in (mask_batches(shares(slices, 128), 16, 0, 0), pair_batches(slices, 16, 0, 0, WINDOW)):
        next(batches)
        start = time.process_time()
        for _ in itertools.islice(batches, 20):
            pass
        assert time.process_time() - start < 320 / 100
