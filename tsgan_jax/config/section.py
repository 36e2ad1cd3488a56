"""The base class of config sections, a frozen model, and types of values."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Resolution = Literal[4, 8, 16, 32, 64, 128, 256, 512]
Precision = Literal["float32", "bfloat16"]
Decay = Annotated[float, Field(ge=0, lt=1)]
Layer = Annotated[str, Field(pattern=r"^relu[1-5]_[1-4]$")]

SEEDS = 2**32
"""JAX's keys have 32 bits; a larger seed would silently be truncated."""

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]


class Section(BaseModel):
    """A frozen section of the config that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
