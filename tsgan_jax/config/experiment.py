"""The whole config of one experiment, and settings of its run."""

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
    """Checkpoints, logs and samples of a run; they do not change the result."""

    save_minutes: PositiveFloat = 5.0
    keep: PositiveInt = 2
    log_steps: PositiveInt = 50
    samples: PositiveInt = 12  # grids per stage 2, and per phase of stage 1 at least one
    tensorboard: bool = False
    evaluate: bool = False  # bin/train also does the work of bin/evaluate


class Config(Section):
    """One experiment."""

    seed: Seed = 0
    precision: Precision = "float32"
    data: DataConfig = DataConfig()
    masks: MasksConfig = MasksConfig()
    translation: TranslationConfig = DLPix2PixConfig()
    generation: GenerationConfig = GenerationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    detection: DetectionConfig | None = None  # None: no detectors are trained
    run: RunConfig = RunConfig()

    @property
    def system(self) -> str:
        """The system's name in results: the method, and the kind of masks if they are not from stage 1."""
        return self.translation.system + MASKS_OF[self.generation.masks]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the generated set needs, in the order of training."""
        return ("masks", "translation") if self.generation.masks == "stylegan" else ("translation",)

    @property
    def vgg_weights(self) -> Path | None:
        """VGG-19's file for evaluation; default: that of stage 2."""
        return self.evaluation.vgg_weights or getattr(self.translation, "vgg_weights", None)

    @model_validator(mode="before")
    @classmethod
    def _stages_inherit(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The stages train at data.resolution in the run's precision; a file states them once."""
        if not isinstance(values, dict):
            return values
        data = values.get("data") or {}
        if not isinstance(data, dict | DataConfig):
            return values  # refused later
        resolution = data.resolution if isinstance(data, DataConfig) else data.get("resolution", 512)
        shared = {"resolution": resolution, "precision": values.get("precision", "float32")}
        values = dict(values)
        values["masks"] = _filled(values.get("masks"), shared)
        values["translation"] = _filled(values.get("translation"), {"method": "dl_pix2pix", **shared})
        return values


def _filled(section: object, shared: dict[str, Any]) -> object:
    """A stage's mapping with the shared values set where the file is silent."""
    return {**shared, **section} if isinstance(section, dict) else shared if section is None else section
