"""A trained run's networks for use from Python: masks, CT, and the pairs that `bin/generate` writes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.generation import packed, runs
from tsgan_jax.generation.candidates import candidates
from tsgan_jax.generation.generate import PNG_THREADS, masks_of, set_key, translate
from tsgan_jax.generation.requests import Request
from tsgan_jax.generation.runs import TrainedRun
from tsgan_jax.masks.sample import Indices, MaskGenerator, sample_masks
from tsgan_jax.types import Array, Key


class Pairs(NamedTuple):
    """Labelled images of a set: their indices [n], masks uint8 [n, h, w], CT float32 HU [n, h, w].

    facts: what the set's manifest says of each image's mask; of a request, each nodule as requested and in the mask.
    """

    indices: NDArray[np.int64]
    masks: NDArray[np.uint8]
    ct: NDArray[np.float32]
    facts: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Networks:
    """Both networks of a run.

    trained: with their settings; `trained.pixel_mm` is the side of a pixel.
    """

    trained: TrainedRun

    @property
    def generator(self) -> MaskGenerator:
        """Stage 1; UserError for a run without one."""
        generator = self.trained.generator
        if generator is None:
            kind = self.trained.config.generation.masks
            raise UserError(f"generation.masks is {kind}: the run has no stage 1 to draw masks from")
        return generator

    def masks(self, key: Key, indices: Indices, truncation: float | None = None) -> NDArray[np.uint8]:
        """Masks uint8 [n, h, w] of images `indices` [n] as stage 1 draws them, before any gate.

        Mask i depends on the key and i alone.  truncation: None for the run's.  UserError for a run without a stage 1.
        """
        chosen = self.trained.config.generation.truncation if truncation is None else truncation
        return sample_masks(self.generator, key, indices, chosen)

    def ct(
        self,
        masks: Array | NDArray[np.uint8],
        key: Key,
        batch_size: int | None = None,
        indices: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """CT of masks: uint8 [n, h, w] to float32 HU [n, h, w]; arguments as of `tsgan_jax.translate`."""
        trained = self.trained
        window = trained.config.data.hu_window
        return translate(trained.translator, trained.translator_state, masks, key, window, batch_size, indices)

    def pairs(
        self, seed: int, indices: Sequence[int], truncation: float | None = None, request: Request | None = None
    ) -> Pairs:
        """The images `indices` of the set that `bin/generate --seed SEED` makes: the same masks, the same CT.

        An image of which every mask was refused is missing, as it is there.  request: the nodules wanted, as the
        command's --nodules, --diameter-mm, --side, --place and --balance.
        """
        trained = self.trained
        source = masks_of(trained, seed, truncation, request)
        with ThreadPoolExecutor(PNG_THREADS) as pool:
            attempts = trained.config.generation.attempts
            found = {one.index: one for one in candidates(source, list(indices), attempts, source.at_once, pool)}
        kept = [found[index] for index in indices if found[index].mask is not None]
        masks = np.array([one.mask for one in kept], np.uint8).reshape(-1, source.side, source.side)
        numbers = [one.index for one in kept]
        ct = self.ct(masks, set_key(seed, "ct"), indices=numbers)
        return Pairs(np.array(numbers, int), masks, ct, [source.facts(one.index) | one.facts for one in kept])


def load_run(run: str | Path, say: Callable[[str], None] = print) -> Networks:
    """The networks of a run directory, of a packed folder, or of a network that comes with the package, by its name.

    Raises UserError for a place that has none.
    """
    return Networks(runs.restore(packed.folder_of(str(run)), say))
