"""Masks that stage 1 is held against: real training masks, and training masks deformed by no network."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.config import GenerationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluate.mask_statistics import Gate, gate_of
from tsgan_jax.evaluate.mask_table import (
    DEFORM,
    MEASURED,
    REAL_TEST,
    REAL_TRAINING,
    STAGE_1,
    Masks,
    compare_masks,
    records,
    spread,
)
from tsgan_jax.evaluate.records import Record
from tsgan_jax.evaluate.sources import GeneratedSet
from tsgan_jax.masks.plausibility import judge

if TYPE_CHECKING:
    from tsgan_jax.data.pipeline import SliceSet

DrawOne = Callable[[int, int], NDArray[np.uint8]]
"""(attempt, index) to a mask [h, h]."""

Drawn = tuple[list[NDArray[np.uint8]], Gate]
"""Masks that the gate accepted, and what it did meanwhile."""


def judge_sources(
    generated: GeneratedSet,
    test: "SliceSet",
    training: "SliceSet",
    settings: GenerationConfig,
    method: str,
    made_from: dict[str, Any],
    nearest: int,
) -> list[Record]:
    """Records of the kind "mask sources": stage 1's masks beside deformed and real ones, as many of each.

    Deformed masks pass the gate as the set's have; real masks stand as they are, as in every other figure.  Where
    nothing can be deformed there is a record that says why, and the other columns.
    """
    pixel_mm = generated.pixel_mm
    drawn = [one.mask for one in generated.spread(MEASURED)]
    sources: dict[str, Masks] = {STAGE_1: drawn}
    gates = {STAGE_1: gate_of(generated.manifest)}
    missing: list[Record] = []
    try:
        sources[DEFORM], gates[DEFORM] = deformed(training, len(drawn), settings.seed, settings.attempts, pixel_mm)
    except UserError as error:
        missing.append(Record("mask sources", method, DEFORM, "any", None, 0, reason=str(error)))
    sources[REAL_TRAINING] = spread(training.mask, len(drawn))
    rows = compare_masks(sources, test.mask, pixel_mm, gates=gates, nearest=nearest)
    counts = {REAL_TEST: len(test), **{name: len(masks) for name, masks in sources.items()}}
    about = {"k": nearest, "pixel_mm_of_all": "the generated set's"}
    return records(rows, counts, method, made_from, about) + missing


def through_gate(draw: DrawOne, count: int, attempts: int, pixel_mm: float) -> Drawn:
    """Masks 0 to count - 1, each drawn until the gate accepts it, at most `attempts` times, as a set's masks are."""
    accepted, images = [], []
    for index in range(count):
        refused: list[tuple[str, ...]] = []
        for attempt in range(attempts):
            mask = draw(attempt, index)
            verdict = judge(mask, pixel_mm)
            if verdict.accepted:
                accepted.append(mask)
                break
            refused.append(verdict.reasons)
        images.append({"accepted": len(refused) < attempts, "refused": refused})
    return accepted, gate_of({"images": images})


def deformed(slices: "SliceSet", count: int, seed: int, attempts: int, pixel_mm: float) -> Drawn:
    """`count` deformed masks of training slices; pixel_mm: the side of a pixel that the gate takes them to have.

    Raises UserError where the training masks give nothing to make masks from.
    """
    from tsgan_jax.masks.deform import Deformer

    deformer = Deformer.of_masks(slices.mask, slices.pixel_mm)
    if not len(deformer.masks) or not deformer.nodules:
        raise UserError(f"none of the {len(slices)} training masks has anatomy and nodules that pass the gate")
    return through_gate(lambda attempt, index: deformer.draw(seed, attempt, index), count, attempts, pixel_mm)
