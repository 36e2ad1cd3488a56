"""The whole config of one experiment, and how its run is kept."""

from pathlib import Path
from typing import Any

from pydantic import (
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tsgan_jax.config.data import DataConfig
from tsgan_jax.config.detection import DetectionConfig
from tsgan_jax.config.evaluation import EvaluationConfig
from tsgan_jax.config.generation import MASKS_OF, GenerationConfig
from tsgan_jax.config.masks import MasksConfig
from tsgan_jax.config.section import Precision, Section, Seed
from tsgan_jax.config.translation import DLPix2PixConfig, TranslationConfig


class RunConfig(Section):
    """How a run keeps and shows itself; changes nothing in the result."""

    save_minutes: PositiveFloat = 5.0
    keep: PositiveInt = 2
    log_steps: PositiveInt = 50
    samples: PositiveInt = 12  # grids per stage 2, and per phase of stage 1 at least one
    tensorboard: bool = False
    evaluate: bool = False  # bin/train ends with what bin/evaluate does


class Config(Section):
    """One experiment."""

    seed: Seed = 0
    precision: Precision = "float32"
    data: DataConfig = DataConfig()
    masks: MasksConfig = MasksConfig()
    translation: TranslationConfig = DLPix2PixConfig()
    generation: GenerationConfig = GenerationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    detection: DetectionConfig | None = None  # none: detectors are not trained
    run: RunConfig = RunConfig()

    @property
    def system(self) -> str:
        """The name that results carry: the method, and the masks where stage 1 does not draw them."""
        return self.translation.system + MASKS_OF[self.generation.masks]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the generated set needs, in the order of training."""
        return ("masks", "translation") if self.generation.masks == "stylegan" else ("translation",)

    @property
    def vgg_weights(self) -> Path | None:
        """VGG-19's file for evaluation: its own, else the one stage 2 was trained with."""
        return self.evaluation.vgg_weights or getattr(self.translation, "vgg_weights", None)

    @model_validator(mode="before")
    @classmethod
    def _stages_inherit(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The stages train at data.resolution in the run's precision; a file states them once."""
        if not isinstance(values, dict):
            return values
        data = values.get("data") or {}
        if not isinstance(data, dict | DataConfig):
            return values  # refused as such
        resolution = data.resolution if isinstance(data, DataConfig) else data.get("resolution", 512)
        shared = {"resolution": resolution, "precision": values.get("precision", "float32")}
        values = dict(values)
        values["masks"] = _filled(values.get("masks"), shared)
        values["translation"] = _filled(values.get("translation"), {"method": "dl_pix2pix", **shared})
        return values


def _filled(section: object, shared: dict[str, Any]) -> object:
    """A stage's mapping with the shared values set where the file is silent."""
    return {**shared, **section} if isinstance(section, dict) else shared if section is None else section
