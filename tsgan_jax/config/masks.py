"""`masks`: stage 1."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from tsgan_jax.config.data import Decay, Precision, Resolution, Section

T = TypeVar("T", int, float)


def _at(setting: T | dict[int, T], resolution: int) -> T:
    """A setting that may be a table by resolution."""
    return setting[resolution] if isinstance(setting, dict) else setting


class MasksConfig(Section):
    """Stage 1, StyleGAN on label maps (section 3.2, Eq. 1 and 2; A18 to A24)."""

    resolution: Resolution = 512  # filled from data.resolution
    precision: Precision = "float32"  # filled from the top level
    grow_to: Resolution = 512  # the networks' last resolution, at most that of the masks
    z_dim: PositiveInt = 512
    w_dim: PositiveInt = 512
    mapping_layers: PositiveInt = 8
    fmap_base: PositiveInt = 8192
    fmap_max: PositiveInt = 512
    steps_per_resolution: PositiveInt | dict[int, PositiveInt] = 10_000  # section 4.1; half fade, half stable: A20
    fade_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.5
    batch_size: dict[int, PositiveInt] = {4: 16, 8: 16, 16: 16, 32: 16, 64: 16, 128: 8, 256: 4, 512: 2}  # A20
    accumulate: PositiveInt | dict[int, PositiveInt] = 1  # parts of a batch, computed in sequence to save memory
    learning_rate: PositiveFloat | dict[int, PositiveFloat] = 0.002  # section 4.1
    adam_betas: tuple[Decay, Decay] = (0.0, 0.99)
    gradient_penalty: NonNegativeFloat = 10.0  # lambda_gp of Eq. 1
    drift: NonNegativeFloat = 0.001  # lambda_drift of Eq. 1
    drift_on: Literal["all", "real"] = "all"  # A18
    representation: Literal["one_hot", "distance"] = "one_hot"  # of label maps; A23; distance: ours
    discretisation: Literal["gumbel", "none"] = "gumbel"  # critic input for one_hot; A23
    temperature: PositiveFloat = 1.0  # of gumbel
    calibrate: bool = False  # match number and size of small objects to real masks; for distance; ours
    style_mixing: Annotated[float, Field(ge=0, le=1)] = 0.9
    ema_half_life: PositiveInt = 10_000  # images
    w_avg_decay: Decay = 0.995
    minibatch_std_group: PositiveInt = 4
    mirror: bool = False  # also train on mirrored slices, left and right lung swapped

    @model_validator(mode="after")
    def _every_resolution_has_its_settings(self) -> "MasksConfig":
        for name in ("batch_size", "steps_per_resolution", "accumulate", "learning_rate"):
            table = getattr(self, name)
            if isinstance(table, dict):
                missing = [r for r in self.resolutions if r not in table]
                if missing:
                    raise ValueError(f"{name} lacks resolution {missing[0]}")
        for r in self.resolutions:
            if self.batch_size[r] % self.parts(r):
                raise ValueError(f"accumulate: {self.parts(r)} parts do not divide the batch of {self.batch_size[r]}")
        return self

    @model_validator(mode="after")
    def _calibration_is_of_distance_maps(self) -> "MasksConfig":
        if self.calibrate and self.representation != "distance":
            raise ValueError("calibrate needs representation: distance")
        return self

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ... up to the networks' last resolution."""
        return tuple(2**p for p in range(2, min(self.grow_to, self.resolution).bit_length()))

    def steps(self, resolution: int) -> int:
        """Training steps at one resolution, its fade included."""
        return _at(self.steps_per_resolution, resolution)

    def parts(self, resolution: int) -> int:
        """Number of parts of a batch at one resolution."""
        return _at(self.accumulate, resolution)

    def rate(self, resolution: int) -> float:
        """Adam's learning rate at one resolution."""
        return _at(self.learning_rate, resolution)
