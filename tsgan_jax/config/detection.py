"""`detection`: detectors trained with and without the set."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tsgan_jax.config.section import Section

Detector = Literal["yolov5n", "yolov5s", "yolov5m", "yolov8n", "yolov8s", "yolov8m"]


class DetectionConfig(Section):
    """Training of detectors with and without the set (section 4.5, Eq. 14 to 16; A35 to A40)."""

    models: tuple[Detector, ...] = ("yolov8n", "yolov5n")  # yolov5*: ultralytics' anchor-free YOLOv5u; A44
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 6  # section 4.1
    image_size: Annotated[int, Field(ge=64, multiple_of=32)] = 512  # side that images are scaled to
    schedule: tuple[Annotated[int, Field(ge=0)], ...] = (0, 500, 1000, 1500, 2000, 2500)  # synthetic images added
    controls: tuple[Literal["augmented", "repeated"], ...] = ("augmented", "repeated")
    seeds: PositiveInt = 1  # trainings of each, with different seeds
    learning_rate: PositiveFloat = 0.002
    weights: dict[Detector, Path] = {}  # local files of starting weights; others start from random weights
    bootstrap: Annotated[int, Field(ge=20)] = 1000  # resamplings of scans for each interval
    python: Path | None = None  # interpreter with ultralytics; None: .venv-detect
    timeout_minutes: PositiveFloat = 600.0  # of one training
    device: str = "auto"

    @model_validator(mode="after")
    def _schedule_rises(self) -> "DetectionConfig":
        if not self.models or not self.schedule or list(self.schedule) != sorted(set(self.schedule)):
            raise ValueError(f"models must not be empty and schedule must rise, got {list(self.schedule)}")
        return self
