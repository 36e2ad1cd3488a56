"""Features of a set of images, computed in one pass and in constant memory.

Mean and covariance are those of all images.  Kernel distance, precision and recall
need the features themselves, which are kept for at most `KEPT` random images.  Real images are cached by content.
"""

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.distances import FeatureStatistics
from tsgan_jax.evaluation.networks import FeatureNetwork, Images, batched
from tsgan_jax.files import replacing

KEPT = 2000
ROWS = 64
"""Images between two updates of the covariance."""


@dataclass(frozen=True)
class Features:
    """Features of one set of images from one network.

    count: images; statistics: of all of them, None for an empty set; kept: float32 [min(count, KEPT), d], in the order
    of the images if all are kept; places [len(kept)]: the positions of those images; images_sha256: of their content.
    """

    count: int
    statistics: FeatureStatistics | None
    kept: NDArray[np.float32]
    places: NDArray[np.int64]
    images_sha256: str

    @property
    def whole(self) -> bool:
        """Whether every image's features are kept."""
        return self.count == len(self.kept)


def gather(network: FeatureNetwork, images: Images, cache: Path | None = None) -> Features:
    """Features of images, from the cache if it has the same images.

    cache: a folder; with it the images are read twice, first for their hash.  Raises UserError for a
    network whose features are not finite.
    """
    if cache is None:
        return _gather(network, images)
    digest = hashlib.sha256()
    for image in images:
        _take(digest, image)
    key = hashlib.sha256(f"{network.label} {network.sha256} {digest.hexdigest()} {KEPT}".encode()).hexdigest()[:32]
    path = cache / f"{key}.npz"
    found = _read(path, digest.hexdigest()[:32])
    if found is None:
        found = _gather(network, images)
        _write(path, found)
    return found


def _gather(network: FeatureNetwork, images: Images) -> Features:
    digest = hashlib.sha256()
    statistics: FeatureStatistics | None = None
    kept = np.empty((KEPT, network.dim), np.float32)
    places = np.empty(KEPT, np.int64)
    rng, count = np.random.default_rng(0), 0

    def hashed() -> Iterator[NDArray[np.uint8]]:
        for image in images:
            _take(digest, image)
            yield image

    for batch in batched(hashed(), ROWS):
        rows = network.features(batch)
        if not np.isfinite(rows).all():
            raise UserError(f"{network.file}: features are not finite; the file is not a trained {network.label}")
        part = FeatureStatistics.of(rows)
        statistics = part if statistics is None else statistics.merge(part)
        for row in rows:  # reservoir sampling: every image is kept with the same probability
            place = count if count < KEPT else int(rng.integers(0, count + 1))
            if place < KEPT:
                kept[place], places[place] = row, count
            count += 1
    held = min(count, KEPT)
    return Features(count, statistics, kept[:held].copy(), places[:held].copy(), digest.hexdigest()[:32])


def _take(digest: "hashlib._Hash", image: NDArray[np.uint8]) -> None:
    digest.update(f"{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)


def _write(path: Path, found: Features) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"count": found.count, "kept": found.kept, "places": found.places}
    if found.statistics is not None and not found.whole:
        arrays |= {"mean": found.statistics.mean, "scatter": found.statistics.scatter}
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)


def _read(path: Path, images_sha256: str) -> Features | None:
    """The cached features; None if they are missing or damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        count, kept = int(arrays["count"]), arrays["kept"]
        if "mean" in arrays:
            statistics: FeatureStatistics | None = FeatureStatistics(count, arrays["mean"], arrays["scatter"])
        else:
            statistics = FeatureStatistics.of(kept) if count else None
        return Features(count, statistics, kept, arrays["places"], images_sha256)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
