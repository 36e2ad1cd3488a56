"""A finished set of labelled slices, read one slice at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax import images
from tsgan_jax.errors import UserError
from tsgan_jax.generation import manifest
from tsgan_jax.generation.manifest import ANNOTATIONS, HU, IMAGES, MASKS


def evenly(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` positions, ascending, evenly spread over 0 to length - 1, with both ends if count is above 1."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))


@dataclass(frozen=True)
class GeneratedSlice:
    """name: its file; mask: uint8 class codes [r, r]; hu: int16 [r, r]; pixel_mm: side of a pixel."""

    name: str
    mask: NDArray[np.uint8]
    hu: NDArray[np.int16]
    pixel_mm: float


class GeneratedSet:
    """A synthetic set on disk; iteration reads its accepted slices in order from disk.

    count: how many of them are used, none for all.  Raises UserError for a set that is missing, unfinished or
    empty, or whose files are not as they were written.
    """

    def __init__(self, path: Path, count: int | None = None) -> None:
        self.path, self.manifest = path, manifest.read_manifest(path)
        if not self.manifest.get("complete") or not (path / ANNOTATIONS).is_file():
            raise UserError(f"{path}: the set is not finished; run bin/generate again to finish it")
        manifest.refuse_changed(path, self.manifest)
        if not self.manifest["images"]:
            raise UserError(f"{path}: the set is empty (made with a count of 0); run bin/generate with a larger one")
        accepted = [record for record in self.manifest["images"] if record["accepted"]]
        if not accepted:
            of_slices = "masks" in self.manifest.get("made_from", {})
            mend = "raise generation.attempts" if of_slices else "stage 1 needs more training"
            raise UserError(f"{path}: the set is empty (every mask was refused); {mend}")
        self.records = accepted[:count]
        self.sha256 = manifest.set_hash(self.manifest)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[GeneratedSlice]:
        return self._read(self.records)

    def spread(self, count: int) -> Iterator[GeneratedSlice]:
        """At most `count` slices, evenly spread over the set."""
        return self._read(self.records[place] for place in evenly(len(self), count))

    def masks(self) -> Iterator[NDArray[np.uint8]]:
        """Class codes [r, r] of each slice."""
        for record in self.records:
            yield images.read_mask(self.path / MASKS / record["file_name"])

    def shown(self) -> Iterator[NDArray[np.uint8]]:
        """8-bit CT in the window, [r, r], of each slice."""
        for record in self.records:
            yield images.read_png(self.path / IMAGES / record["file_name"])

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel of its masks."""
        return float(self.manifest["made_from"]["pixel_mm"])

    def _read(self, records: Iterable[dict[str, Any]]) -> Iterator[GeneratedSlice]:
        for record in records:
            name = record["file_name"]
            mask, hu = images.read_mask(self.path / MASKS / name), images.read_hu(self.path / HU / name)
            yield GeneratedSlice(name, mask, hu, float(record["pixel_mm"]))
