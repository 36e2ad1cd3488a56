"""Writing of images by threads while the device computes the next batch."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.generation.sources import MaskSource
from tsgan_jax.images import Window, to_hu, to_uint8
from tsgan_jax.types import Array


@dataclass
class Candidate:
    """An image in progress: its mask, if one is accepted, and the reasons for refusing earlier attempts."""

    index: int
    mask: NDArray[np.uint8] | None = None
    refused: list[list[str]] = field(default_factory=list)


class Writer:
    """Write one batch while the device computes the next; at most two batches are in memory.

    Exit without an exception waits for all files.
    """

    def __init__(
        self, directory: SetDirectory, pool: ThreadPoolExecutor, window: Window, masks: MaskSource, seed: int
    ) -> None:
        self._directory, self._pool = directory, pool
        self._window, self._masks, self._seed = window, masks, seed
        self._computing: tuple[list[Candidate], Array] | None = None
        self._files: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for file in self._files:
                file.cancel()
            return
        self._hand_over(None)
        self._await_files()

    def put(self, batch: list[Candidate], ct: Array) -> None:
        """Accept a batch whose CT is being computed; the previous batch goes to the threads."""
        self._hand_over((batch, ct))

    def _hand_over(self, following: tuple[list[Candidate], Array] | None) -> None:
        self._await_files()
        computed, self._computing = self._computing, following
        if computed is None:
            return
        batch, ct = computed
        values = np.asarray(ct)
        self._files = [self._pool.submit(self._write, c, unit) for c, unit in zip(batch, values, strict=False)]

    def _await_files(self) -> None:
        for file in self._files:
            file.result()
        self._files = []

    def _write(self, candidate: Candidate, unit: NDArray[np.float32]) -> None:
        if not np.isfinite(unit).all():
            raise UserError(f"image {candidate.index}: the translator's CT is not finite; its training has diverged")
        assert candidate.mask is not None
        hu = np.rint(to_hu(unit, self._window)).astype(np.int16)
        index, pixel_mm = candidate.index, self._masks.pixel_mm(candidate.index)
        labelled = SetImage(to_uint8(hu, self._window), hu, candidate.mask, pixel_mm)
        facts = {"seed": self._seed, "attempt": len(candidate.refused), "refused": candidate.refused}
        self._directory.add(index, f"{index:06d}", labelled, **facts, **self._masks.facts(index))
