"""Comparison of stage 1's masks before the gate with deformed training masks and real masks.

It needs only stage 1, no stage 2 and no set.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.config import GenerationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.mask_table import (
    DEFORM,
    MEASURED,
    PSIS,
    REAL_TEST,
    REAL_TRAINING,
    STAGE_1,
    SWEPT,
    SWEPT_ROWS,
    Masks,
    compare_masks,
    psi_name,
    records,
    spread,
)
from tsgan_jax.evaluation.records import Kind, Record
from tsgan_jax.generation.sources import mask_drawer
from tsgan_jax.masks.deform import Deformer
from tsgan_jax.masks.sample import MaskGenerator
from tsgan_jax.train.learner import stream

if TYPE_CHECKING:
    from tsgan_jax.data.pipeline import SliceSet


@dataclass(frozen=True)
class Comparison:
    """The sources of masks, and the real masks to compare with.

    generator: of stage 1; settings: seed and truncation of the masks; test, training: real slices.  pixel_mm: side
    of a pixel, used for all masks; nearest: k of precision and recall.  method, made_from: fields of the records.
    """

    generator: MaskGenerator
    settings: GenerationConfig
    test: "SliceSet"
    training: "SliceSet"
    pixel_mm: float
    nearest: int
    method: str
    made_from: dict[str, Any]


def measure_sources(case: Comparison) -> list[Record]:
    """Records of the kind "mask sources": MEASURED masks of stage 1, deformed ones, real training masks.

    If no mask can be deformed, a record has the reason and the other columns are still computed.
    """
    sources: dict[str, Masks] = {STAGE_1: drawn(case, MEASURED, case.settings.truncation)}
    missing: list[Record] = []
    try:
        sources[DEFORM] = deformed(case.training, case.settings.seed, MEASURED)
    except UserError as error:
        missing.append(Record("mask sources", case.method, DEFORM, "any", None, 0, reason=str(error)))
    sources[REAL_TRAINING] = spread(case.training.mask, MEASURED)
    return _compared(case, "mask sources", sources, {"truncation": case.settings.truncation}) + missing


def measure_truncations(case: Comparison) -> list[Record]:
    """Records of the kind "mask truncation": SWEPT masks of stage 1 at each of PSIS, from the same noise, and real
    training masks."""
    sources: dict[str, Masks] = {REAL_TRAINING: spread(case.training.mask, SWEPT)}
    sources |= {psi_name(psi): drawn(case, SWEPT, psi) for psi in PSIS}
    found = _compared(case, "mask truncation", sources, {})
    return [one for one in found if one.metric in SWEPT_ROWS]


def drawn(case: Comparison, count: int, truncation: float) -> NDArray[np.uint8]:
    """Stage 1's masks [count, h, h], equal to a set's first attempts at images 0 to count - 1."""
    key = stream(jax.random.key(case.settings.seed), "masks")
    return mask_drawer(case.generator, key, truncation)(0, list(range(count)))


def deformed(slices: "SliceSet", seed: int, count: int) -> NDArray[np.uint8]:
    """Deformed masks [count, h, h] of training slices; UserError if no training mask can be used."""
    deformer = Deformer.of_masks(slices.mask, slices.pixel_mm)
    if not len(deformer.masks) or not deformer.nodules:
        raise UserError(f"none of the {len(slices)} training masks has anatomy and nodules that pass the gate")
    return np.stack([deformer.draw(seed, 0, index) for index in range(count)])


def _compared(case: Comparison, kind: Kind, sources: dict[str, Masks], more: dict[str, Any]) -> list[Record]:
    """The table of the sources as records."""
    rows = compare_masks(sources, case.test.mask, case.pixel_mm, case.nearest)
    about = {"k": case.nearest, "pixel_mm_of_all": case.pixel_mm, "resolution": case.generator.synthesis.resolution}
    counts = {name: len(masks) for name, masks in sources.items()}
    return records(kind, rows, counts | {REAL_TEST: len(case.test)}, case.method, case.made_from, about | more)
