"""Sources of masks for a set: stage 1, or real training slices (A39, A40)."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.generation.runs import fingerprint
from tsgan_jax.labels import MIRROR
from tsgan_jax.masks.deform import Deformer
from tsgan_jax.masks.plausibility import check
from tsgan_jax.masks.sample import MaskGenerator, chunk_size, sample_masks
from tsgan_jax.types import Key

if TYPE_CHECKING:
    from tsgan_jax.data.pipeline import SliceSet

THREADS = min(16, os.cpu_count() or 1)  # number of masks that are deformed at a time
Draw = Callable[[int, list[int]], NDArray[np.uint8]]  # (attempt, indices [n]) to masks [n, h, w]


class Redrawn(NamedTuple):
    """A drawn mask with changes of its own, as on request (requests.py)."""

    mask: NDArray[np.uint8]
    lacking: tuple[str, ...] = ()  # why it is no use
    facts: dict[str, Any] = {}  # more fields of the image's record


@dataclass(frozen=True)
class MaskSource:
    """Masks by index."""

    draw: Draw
    at_once: int  # a draw's size is best a multiple of it
    side: int  # height and width of a mask
    pixel_mm: Callable[[int], float]  # index to the side of a pixel
    facts: Callable[[int], dict[str, Any]]  # index to the fields about the mask in the image's record
    made_from: dict[str, Any]  # provenance
    weights: Any = None  # of the network that draws them, if one does
    redraw: Callable[[int, int, NDArray[np.uint8]], Redrawn] = lambda attempt, index, mask: Redrawn(mask)


def stylegan_masks(generator: MaskGenerator, key: Key, truncation: float, pixel_mm: float) -> MaskSource:
    """Masks of stage 1; attempt a at image i uses the key `fold_in(key, a)`."""

    def draw(attempt: int, indices: list[int]) -> NDArray[np.uint8]:
        return sample_masks(generator, jax.random.fold_in(key, attempt), jnp.array(indices, jnp.uint32), truncation)

    return MaskSource(
        draw=draw,
        at_once=chunk_size(generator.synthesis.resolution),
        side=generator.size,
        pixel_mm=lambda index: pixel_mm,
        facts=lambda index: {},
        made_from={"truncation": truncation},
        weights=(generator.params, generator.w_avg, generator.alpha),
    )


def real_masks(slices: "SliceSet", seed: int) -> MaskSource:
    """Masks of the n real slices that pass the gate, in an order given by the seed: all, then all mirrored (left and
    right lung swapped), and so on.  Raises UserError if no slice passes the gate.
    """
    usable = [i for i in range(len(slices)) if check(slices.mask[i], float(slices.pixel_mm[i])).accepted]
    if not usable:
        raise UserError(
            f"generation.masks is real, but none of the {len(slices)} training masks passes the plausibility gate; "
            "prepare the data at a higher data.resolution, or set generation.masks=stylegan"
        )
    order = np.random.default_rng(seed).permutation(usable)

    def place(index: int) -> tuple[int, int]:
        """(slice, round)"""
        turn, rest = divmod(index, len(order))
        return int(order[rest]), turn

    def draw(attempt: int, indices: list[int]) -> NDArray[np.uint8]:
        del attempt  # all masks pass the gate
        places = (place(index) for index in indices)
        return np.stack([MIRROR[slices.mask[i][:, ::-1]] if turn % 2 else slices.mask[i] for i, turn in places])

    def facts(index: int) -> dict[str, Any]:
        i, turn = place(index)
        return {"mask_of": {**named(slices, i), "mirrored": bool(turn % 2), "round": turn}}

    return MaskSource(
        draw=draw,
        at_once=1,
        side=slices.mask.shape[1],
        pixel_mm=lambda index: float(slices.pixel_mm[place(index)[0]]),
        facts=facts,
        made_from={
            "masks": {
                "kind": "real",
                "slices": fingerprint((slices.ct, slices.mask)),
                "usable": len(usable),
                "refused": len(slices) - len(usable),
            }
        },
    )


def deformed_masks(slices: "SliceSet", seed: int) -> MaskSource:
    """Deformed masks of real slices, with nodules of all slices at other places (masks/deform.py).

    Every attempt at image i uses slice i mod n of an order given by the seed, and its pixel size.  Raises UserError if
    no slice's anatomy passes the gate, or none has a nodule.
    """
    deformer = Deformer.of_masks(slices.mask, slices.pixel_mm)
    count = len(deformer.masks)
    if not count or not deformer.nodules:
        lacking = "has a nodule of 3 to 30 mm at a lung" if count else "passes the plausibility gate, nodules aside"
        raise UserError(
            f"generation.masks is deform, but none of the {len(slices)} training masks {lacking}; "
            "prepare the data at a higher data.resolution, or set generation.masks=stylegan"
        )

    def slice_of(index: int) -> int:
        return int(deformer.slices[deformer.source(seed, index)])

    def draw(attempt: int, indices: list[int]) -> NDArray[np.uint8]:
        with ThreadPoolExecutor(THREADS) as pool:
            return np.stack(list(pool.map(lambda index: deformer.draw(seed, attempt, index), indices)))

    def facts(index: int) -> dict[str, Any]:
        return {"mask_of": {**named(slices, slice_of(index)), "deformed": True, "round": index // count}}

    return MaskSource(
        draw=draw,
        at_once=THREADS,
        side=slices.mask.shape[1],
        pixel_mm=lambda index: float(slices.pixel_mm[slice_of(index)]),
        facts=facts,
        made_from={
            "masks": {
                "kind": "deform",
                "slices": fingerprint((slices.ct, slices.mask)),
                "refused": len(slices) - count,
                **deformer.facts,
            }
        },
    )


def named(slices: "SliceSet", i: int) -> dict[str, Any]:
    """Series and index of slice `i`, for records."""
    return {
        "seriesuid": slices.seriesuid[i],
        "slice_index": int(slices.slice_index[i]),
        "fold": int(slices.fold[i]),
    }
