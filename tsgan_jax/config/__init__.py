"""The config of an experiment: frozen, validated before JAX is imported, with the paper's settings as defaults.

Sections and equations are those of arXiv 2602.02171; A-numbers are interpretations of its ambiguities, listed
in docs/paper.md.  `load_config` (reading.py) reads YAML files into these models.
"""

from tsgan_jax.config.data import SEEDS, DataConfig, PhantomConfig, Precision, Section
from tsgan_jax.config.experiment import (
    DEFORMED_MASKS,
    MASKS_OF,
    REAL_MASKS,
    Config,
    DetectionConfig,
    Detector,
    EvaluationConfig,
    GenerationConfig,
    MasksConfig,
)
from tsgan_jax.config.translation import (
    CONTROLNET_STYLE,
    VGG_LAYERS,
    AdversarialConfig,
    AttentionGANConfig,
    ControlNetConfig,
    CycleGANConfig,
    DLPix2PixConfig,
    GauGANConfig,
    Pix2PixConfig,
    TranslationConfig,
    TranslatorConfig,
)

__all__ = [
    "CONTROLNET_STYLE",
    "DEFORMED_MASKS",
    "MASKS_OF",
    "REAL_MASKS",
    "SEEDS",
    "VGG_LAYERS",
    "AdversarialConfig",
    "AttentionGANConfig",
    "Config",
    "ControlNetConfig",
    "CycleGANConfig",
    "DLPix2PixConfig",
    "DataConfig",
    "DetectionConfig",
    "Detector",
    "EvaluationConfig",
    "GauGANConfig",
    "GenerationConfig",
    "MasksConfig",
    "PhantomConfig",
    "Pix2PixConfig",
    "Precision",
    "Section",
    "TranslationConfig",
    "TranslatorConfig",
]
