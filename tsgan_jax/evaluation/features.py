"""Features of a set of images; those of real images are cached by content."""

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.networks import FeatureNetwork, Images
from tsgan_jax.files import replacing

ROWS = 64
"""Images that are read at a time."""


@dataclass(frozen=True)
class Features:
    """rows: float32 [n, d], in the order of the images; images_sha256: of the images."""

    rows: NDArray[np.float32]
    images_sha256: str

    def __len__(self) -> int:
        return len(self.rows)


def gather(network: FeatureNetwork, images: Images, cache: Path | None = None) -> Features:
    """Features of images, from the cache if it has the same images; the images are not kept in memory.

    cache: a folder; with it the images are read twice, first for their hash.  Raises UserError for a
    network whose features are not finite.
    """
    if cache is None:
        return _gather(network, images)
    digest = hashlib.sha256()
    for _ in _hashed(images, digest):
        pass
    key = hashlib.sha256(f"{network.label} {network.sha256} {digest.hexdigest()}".encode()).hexdigest()[:32]
    path = cache / f"{key}.npy"
    try:
        return Features(np.load(path, allow_pickle=False), digest.hexdigest()[:32])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # missing or damaged
        found = _gather(network, images)
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, found.rows)
    return found


def _gather(network: FeatureNetwork, images: Images) -> Features:
    digest = hashlib.sha256()
    rows, hashed = [np.empty((0, network.dim), np.float32)], _hashed(images, digest)
    while batch := list(islice(hashed, ROWS)):
        rows.append(network.features(np.stack(batch)))
        if not np.isfinite(rows[-1]).all():
            raise UserError(f"{network.file}: features are not finite; the file is not a trained {network.label}")
    return Features(np.concatenate(rows), digest.hexdigest()[:32])


def _hashed(images: Images, digest: "hashlib._Hash") -> Iterator[NDArray[np.uint8]]:
    """The images; the digest takes each."""
    for image in images:
        digest.update(f"{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
        yield image
