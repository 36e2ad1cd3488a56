"""Writing of images by threads while the device computes further batches."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.generation.candidates import Candidate
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.generation.sources import MaskSource
from tsgan_jax.images import Window, to_hu, to_uint8


class Writer:
    """Writes batches, one at a time, by the threads of a pool.

    Exit without an exception waits for all files.
    """

    def __init__(
        self, directory: SetDirectory, pool: ThreadPoolExecutor, window: Window, masks: MaskSource, seed: int
    ) -> None:
        self._directory, self._pool = directory, pool
        self._window, self._masks, self._seed = window, masks, seed
        self._files: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._await_files()
        for file in self._files:
            file.cancel()

    def put(self, batch: list[Candidate], ct: NDArray[np.float32]) -> None:
        """Hand a batch and its CT [n, h, w] in [-1, 1] to the threads, once they have written the one before it."""
        self._await_files()
        self._files = [self._pool.submit(self._write, c, unit) for c, unit in zip(batch, ct, strict=True)]

    def reject(self, candidate: Candidate) -> None:
        """Record an image without an accepted mask."""
        self._directory.reject(candidate.index, seed=self._seed, refused=candidate.refused)

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
        self._directory.add(index, f"{index:06d}", labelled, **facts, **self._masks.facts(index), **candidate.facts)
