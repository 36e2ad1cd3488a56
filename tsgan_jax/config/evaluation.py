"""`evaluation`: settings of the evaluation of images and masks."""

from pathlib import Path
from typing import Literal

from pydantic import (
    PositiveInt,
)

from tsgan_jax.config.section import Layer, Section


class EvaluationConfig(Section):
    """Evaluation of images and masks (section 4.2, Eq. 11 to 13; A31 to A44)."""

    features: Literal["inception", "vgg19"] = "inception"
    inception_weights: Path | None = None  # pytorch-fid's file
    vgg_weights: Path | None = None  # None: translation.vgg_weights, if the method has them
    vgg_layer: Layer = "relu3_4"
    count: PositiveInt | None = None  # synthetic images used; None: all of the set
    bootstrap: PositiveInt = 200  # resamplings for each interval
    kid_subset: PositiveInt = 1000
    nearest: PositiveInt = 3  # k of precision and recall
