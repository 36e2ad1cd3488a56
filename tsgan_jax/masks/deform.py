"""Masks without a network: real masks, warped smoothly, with nodules of the real population at other places.

The simplest source of new masks, and so the baseline that a learned generator must beat.  Anatomy comes from one
training slice: its nodules are taken out, it is warped (warp.py), and as many nodules as a real slice has are put in
(nodules.py).  Nothing is mirrored: the heart stays on its side.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.masks import nodules, warp
from tsgan_jax.masks.nodules import RealNodule, nodules_of, with_nodule, without_nodules
from tsgan_jax.masks.plausibility import NO_NODULE, check
from tsgan_jax.masks.warp import warped


@dataclass(frozen=True)
class Deformer:
    """What masks are made from; `draw` makes one.

    masks: uint8 [n, h, h], the training masks whose anatomy passes the gate, nodules taken out; slices: int [n], which
    training masks they are; pixel_mm: float [n], side of a pixel.  nodules: the real ones of 3 to 30 mm at a lung;
    counts: int [m], how many of them a training mask has, masks without any left out because the gate refuses them.
    """

    masks: NDArray[np.uint8]
    slices: NDArray[np.int64]
    pixel_mm: NDArray[np.float64]
    nodules: tuple[RealNodule, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of_masks(cls, masks: NDArray[np.uint8], pixel_mm: NDArray[np.floating]) -> Self:
        """From training masks uint8 [n, h, h] with the codes of `labels`; pixel_mm: [n].

        Where no mask is usable, `masks` is empty, and where no nodule is, `nodules`: then nothing can be drawn.
        """
        bare = np.stack([without_nodules(mask) for mask in masks])
        spacing = np.asarray(pixel_mm, float)
        sound = [set(check(mask, mm).reasons) <= {NO_NODULE} for mask, mm in zip(bare, spacing, strict=True)]
        found = [nodules_of(mask, float(mm)) for mask, mm in zip(masks, spacing, strict=True)]
        return cls(
            masks=bare[sound],
            slices=np.flatnonzero(sound),
            pixel_mm=spacing[sound],
            nodules=tuple(nodule for some in found for nodule in some),
            counts=np.array([len(some) for some in found if some], int),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """How much it was made from, and the constants of the draw."""
        chosen = {
            warp: ("KNOTS", "DISPLACEMENT", "SMOOTHING", "SCALE", "ASPECT", "DEGREES", "SHIFT"),
            nodules: ("PLACE_JITTER", "DEPTH_JITTER_MM", "SCALE", "TRIES", "SUITS"),
        }
        constants = {
            module.__name__.rpartition(".")[2]: {name.lower(): getattr(module, name) for name in names}
            for module, names in chosen.items()
        }
        return {"usable": len(self.masks), "real_nodules": len(self.nodules), **constants}

    def source(self, seed: int, index: int) -> int:
        """Which of `masks` mask `index` of a set is made from: all once in an order given by the seed, then again."""
        return int(np.random.default_rng(seed).permutation(len(self.masks))[index % len(self.masks)])

    def draw(self, seed: int, attempt: int, index: int) -> NDArray[np.uint8]:
        """Mask `index` of a set, uint8 [h, h]: a function of the three numbers alone.

        Another attempt has the same source, another warp and other nodules.
        """
        rng = np.random.default_rng([seed, attempt, index])
        place = self.source(seed, index)
        mask = warped(self.masks[place], rng)
        for _ in range(rng.choice(self.counts)):
            nodule = self.nodules[rng.integers(len(self.nodules))]
            mask = with_nodule(mask, float(self.pixel_mm[place]), nodule, rng)
        return mask
