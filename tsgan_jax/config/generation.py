"""`generation`: a synthetic set."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    PositiveInt,
)

from tsgan_jax.config.section import Section, Seed

REAL_MASKS = " (real masks)"
DEFORMED_MASKS = " (deformed masks)"
MASKS_OF = {"stylegan": "", "deform": DEFORMED_MASKS, "real": REAL_MASKS}
"""Suffixes of a system's name, by `generation.masks`."""


class GenerationConfig(Section):
    """A synthetic set (section 3.4)."""

    masks: Literal["stylegan", "deform", "real"] = (
        "stylegan"  # from stage 1, deformed or unchanged training slices: A40
    )
    count: Annotated[int, Field(ge=0)] = 2500
    truncation: Annotated[float, Field(ge=0, le=1)] = 1.0  # 1: none, for variety; A20
    seed: Seed = 0
    batch_size: PositiveInt | None = None  # None: as many as fit in the device's memory
    attempts: PositiveInt = 50  # masks drawn for one image before it is rejected
