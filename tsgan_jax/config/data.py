"""The base class of config sections and types of values; `data`: a LUNA16 tree or the phantom, and prepared slices."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

Resolution = Literal[4, 8, 16, 32, 64, 128, 256, 512]
Precision = Literal["float32", "bfloat16"]
Decay = Annotated[float, Field(ge=0, lt=1)]
Layer = Annotated[str, Field(pattern=r"^relu[1-5]_[1-4]$")]

SEEDS = 2**32  # JAX's keys have 32 bits; a larger seed would silently be truncated
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]


class Section(BaseModel):
    """A frozen section of the config that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PhantomConfig(Section):
    """The procedural chest that replaces a LUNA16 tree when `data.root` is not given."""

    patients: PositiveInt = 60
    slices: PositiveInt = 3  # per volume; every one crosses a nodule
    size: Annotated[int, Field(ge=48)] = 256  # pixels of a slice; spacing follows from the patient's width
    nodule_mm: tuple[float, float] = (3.0, 30.0)  # smallest and largest diameter
    seed: Seed = 0

    @model_validator(mode="after")
    def _diameters_rise(self) -> "PhantomConfig":
        if not 3.0 <= self.nodule_mm[0] < self.nodule_mm[1] - 1 <= 29.0:
            raise ValueError(f"nodule_mm must rise by more than 1 within 3 to 30 mm, got {list(self.nodule_mm)}")
        return self


class DataConfig(Section):
    """A LUNA16 tree and its prepared slices (section 3.1)."""

    root: Path | None = None  # LUNA16 tree
    phantom: PhantomConfig | None = None  # written and used if there is no root
    prepared: Path = Path("prepared")  # folder of prepared slices, shared by runs
    resolution: Resolution = 512
    hu_window: tuple[float, float] = (-1000.0, 400.0)  # HU mapped to [-1, 1]; A30
    test_fold: int | tuple[int, ...] = 0  # one or several, never used in training; A27

    @field_validator("test_fold", mode="before")
    @classmethod
    def _some_folds_train(cls, value: object) -> object:
        """One fold is always written as a number, several in rising order, so that equal splits compare equal."""
        folds: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        if any(isinstance(fold, bool) or fold not in range(5) for fold in folds) or not 1 <= len(set(folds)) <= 4:
            raise ValueError(
                "give one fold, 0 to 4, or a list of at most four of them, so that one remains for training"
            )
        return folds[0] if len(set(folds)) == 1 else tuple(sorted(set(folds)))

    @property
    def test_folds(self) -> tuple[int, ...]:
        """The folds that no generator is trained on."""
        return (self.test_fold,) if isinstance(self.test_fold, int) else self.test_fold

    @model_validator(mode="after")
    def _window_rises(self) -> "DataConfig":
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError(f"hu_window must rise, got {list(self.hu_window)}")
        return self
