"""`evaluation`: what images and masks are measured with."""

from pathlib import Path
from typing import Literal

from pydantic import (
    PositiveInt,
)

from tsgan_jax.config.section import Layer, Section


class EvaluationConfig(Section):
    """What images and masks are measured with (section 4.2, Eq. 11 to 13; A31 to A44)."""

    features: Literal["inception", "vgg19"] = "inception"
    inception_weights: Path | None = None  # pytorch-fid's file
    vgg_weights: Path | None = None  # none: translation.vgg_weights, where the method has them
    vgg_layer: Layer = "relu3_4"
    count: PositiveInt | None = None  # synthetic images used; none: all of the set
    bootstrap: PositiveInt = 200  # resamplings behind each interval
    kid_subset: PositiveInt = 1000
    nearest: PositiveInt = 3  # k of precision and recall
