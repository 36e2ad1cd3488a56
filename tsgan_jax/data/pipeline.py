"""Batches of prepared slices.  The position in a stream is a function of the images seen, so a resume is exact."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsgan_jax import labels
from tsgan_jax.config import DataConfig
from tsgan_jax.data.nodules import Box
from tsgan_jax.data.slices import StoredNodule, other_folds
from tsgan_jax.errors import UserError
from tsgan_jax.images import Window, check_mask, to_unit
from tsgan_jax.types import MaskBatch, PairBatch

_MIRROR_STREAM = 0x6D6972
_UNPAIRED = 0x756E70


@dataclass(frozen=True)
class SliceSet:
    """Prepared slices in memory.

    ct: int16 HU [n, R, R]; mask: uint8 [n, R, R]; the other fields have one entry per slice.
    pixel_mm: float32 [n], side of a stored pixel; native_mm: float32 [n, 2], height and width of a scanned pixel.
    """

    ct: np.ndarray
    mask: np.ndarray
    seriesuid: tuple[str, ...]
    fold: np.ndarray
    slice_index: np.ndarray
    z_mm: np.ndarray
    pixel_mm: np.ndarray
    native_mm: np.ndarray
    nodules: tuple[tuple[StoredNodule, ...], ...]

    def __len__(self) -> int:
        return len(self.mask)


def training_folds(config: DataConfig) -> tuple[int, ...]:
    """The folds for training: all but config.test_folds."""
    return other_folds(config.test_folds)


def load(config: DataConfig, folds: Sequence[int]) -> SliceSet:
    """The prepared slices of some folds, in the order of the folds.

    Raises UserError when they are not prepared or have no slice.
    """
    from tsgan_jax.data.dataset import read_fold
    from tsgan_jax.data.luna16 import open_prepared

    builder = open_prepared(config)
    found = {fold: read_fold(builder, fold) for fold in folds if f"fold_{fold}" in builder.info.splits}
    rows = [row for of_fold in found.values() for row in of_fold]
    if not rows:
        raise UserError(f"folds {list(folds)} have no slice; filled are {', '.join(sorted(builder.info.splits))}")

    def column(name: str) -> np.ndarray:
        return np.stack([row[name] for row in rows])

    return SliceSet(
        ct=column("ct"),
        mask=check_mask(column("mask")[..., 0], f"{builder.data_dir}: prepared masks").astype(np.uint8),
        seriesuid=tuple(row["seriesuid"].decode() for row in rows),
        fold=np.array([fold for fold, of_fold in found.items() for _ in of_fold], np.int32),
        slice_index=column("slice_index"),
        z_mm=column("z_mm"),
        pixel_mm=column("pixel_mm"),
        native_mm=column("native_mm"),
        nodules=tuple(_nodules(row["nodules"]) for row in rows),
    )


def pool_maps(maps: np.ndarray, resolution: int) -> np.ndarray:
    """Encoded masks [n, R, R, c] averaged to [n, r, r, c], r = `resolution`, as float16.

    float16 halves the memory (2.5 GB for LUNA16 at 512 px) and moves an outline by less than 0.01 pixels.
    """
    n, side, _, channels = maps.shape
    factor = side // resolution
    blocks = maps.reshape(n, resolution, factor, resolution, factor, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32).astype(np.float16)


def mask_batches(
    maps: np.ndarray, batch_size: int, seed: int, images_seen: int, mirror: np.ndarray | None = None
) -> Iterator[MaskBatch]:
    """Endless batches of encoded masks, float32 [b, r, r, c] of maps float16 [n, r, r, c], from image `images_seen` on.

    mirror: the order of channels in a mirrored map; then half of the images, chosen by their number, are mirrored.
    """

    def gather(index: np.ndarray, flipped: np.ndarray) -> tuple[np.ndarray]:
        chosen = maps[index].astype(np.float32)
        if mirror is not None:
            chosen[flipped] = chosen[flipped][:, :, ::-1, mirror]
        return (chosen,)

    for (chosen,) in _stream(gather, (np.float32,), len(maps), batch_size, seed, images_seen, mirror is not None):
        yield MaskBatch(maps=chosen)


def pair_batches(
    slices: SliceSet,
    batch_size: int,
    seed: int,
    images_seen: int,
    window: Window,
    mirror: bool = False,
    paired: bool = True,
) -> Iterator[PairBatch]:
    """Endless batches of masks, uint8 [b, h, w], and CT in the window, float32 [b, h, w, 1], from `images_seen` on.

    mirror: as in `mask_batches`.  paired: a mask and the CT of its slice; else masks in an independent order.
    """
    if not paired:
        drawn = (pair_batches(slices, batch_size, one, images_seen, window, mirror) for one in (seed ^ _UNPAIRED, seed))
        yield from (PairBatch(mask=masks.mask, ct=images.ct) for masks, images in zip(*drawn, strict=True))
        return

    def gather(index: np.ndarray, flipped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask, ct = slices.mask[index], slices.ct[index]
        mask[flipped] = labels.MIRROR[mask[flipped][:, :, ::-1]]
        ct[flipped] = ct[flipped][:, :, ::-1]
        return mask, to_unit(ct, window)[..., None]

    for mask, ct in _stream(gather, (np.uint8, np.float32), len(slices), batch_size, seed, images_seen, mirror):
        yield PairBatch(mask=mask, ct=ct)


def _stream(
    gather: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]],
    dtypes: tuple[type, ...],
    count: int,
    batch_size: int,
    seed: int,
    images_seen: int,
    mirror: bool,
) -> Iterator[tuple[Any, ...]]:
    """Batches of `gather(index [b], flipped [b])`, prefetched.

    Image j of the stream is the slice at place j mod n of a permutation of epoch j // n; there is no other state.
    """
    from tsgan_jax.data.dataset import tf

    count64 = tf.constant(count, tf.int64)

    def place(image: Any) -> tuple[Any, Any]:
        epoch = image // count64
        index = tf.random.experimental.index_shuffle(image % count64, [epoch, seed], count64 - 1)
        chance = tf.random.stateless_uniform([], seed=[seed ^ _MIRROR_STREAM, image])
        return index, chance < 0.5 if mirror else tf.constant(False)

    def fetch(index: Any, flipped: Any) -> Any:
        return tf.numpy_function(gather, [index, flipped], dtypes, stateful=False)

    data = tf.data.Dataset.range(images_seen, np.iinfo(np.int64).max).map(place)
    data = data.batch(batch_size, drop_remainder=True).map(fetch).prefetch(2)
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = 2
    options.threading.max_intra_op_parallelism = 1
    yield from data.with_options(options).as_numpy_iterator()


def _nodules(rows: dict[str, np.ndarray]) -> tuple[StoredNodule, ...]:
    columns = (rows[name].tolist() for name in ("box", "box_native", "centre", "diameter_mm", "area"))
    return tuple(
        StoredNodule(Box(*box), Box(*native), (x, y), diameter, area)
        for box, native, (x, y), diameter, area in zip(*columns, strict=True)
    )
