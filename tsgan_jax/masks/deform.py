"""New masks without a network: real masks, smoothly deformed, with real nodules at new places.

This is the simplest source of new masks, and the baseline for a learned generator.  The anatomy is that of one training
slice: its nodules are removed, it is deformed (warp.py), and nodules are put in, as many as real slices have
(nodules.py).  It is not mirrored, so the heart stays on its side.
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
    """The training data for new masks; `draw` makes one mask."""

    masks: NDArray[np.uint8]  # [n, h, h], those with plausible anatomy (plausibility.py), without their nodules
    slices: NDArray[np.int64]  # [n], their indices among the training masks
    pixel_mm: NDArray[np.float64]  # [n], side of a pixel
    nodules: tuple[RealNodule, ...]  # the real ones of 3 to 30 mm at a lung
    counts: NDArray[np.int64]  # [m], number of these in each training mask that has any: one without would be rejected

    @classmethod
    def of_masks(cls, masks: NDArray[np.uint8], pixel_mm: NDArray[np.floating]) -> Self:
        """From training masks uint8 [n, h, h] with the codes of `labels`; pixel_mm: [n].

        If no mask is usable, `masks` is empty; if no nodule is, `nodules` is empty.  Then nothing can be drawn.
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
        """Numbers of usable masks and nodules, and the constants of the deformation."""
        names = {
            warp: "knots displacement smoothing scale aspect degrees shift",
            nodules: "place_jitter depth_jitter_mm scale tries suits",
        }
        chosen = [{name: getattr(module, name.upper()) for name in listed.split()} for module, listed in names.items()]
        return {"usable": len(self.masks), "real_nodules": len(self.nodules), "warp": chosen[0], "nodules": chosen[1]}

    def source(self, seed: int, index: int) -> int:
        """Index in `masks` of the source of a set's mask `index`: each source once, in the seed's order, then again."""
        return int(np.random.default_rng(seed).permutation(len(self.masks))[index % len(self.masks)])

    def draw(self, seed: int, attempt: int, index: int) -> NDArray[np.uint8]:
        """Mask `index` of a set, uint8 [h, h].  It depends only on the three numbers.

        Another attempt has the same source, another deformation and other nodules.
        """
        rng = np.random.default_rng([seed, attempt, index])
        place = self.source(seed, index)
        mask = warped(self.masks[place], rng)
        for _ in range(rng.choice(self.counts)):
            nodule = self.nodules[rng.integers(len(self.nodules))]
            mask = with_nodule(mask, float(self.pixel_mm[place]), nodule, rng)
        return mask
