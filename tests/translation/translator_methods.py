"""Every method of the registry, and the template, small enough for a test."""

from collections.abc import Callable

from tsgan_jax.config import (
    AttentionGANConfig,
    ControlNetConfig,
    CycleGANConfig,
    DLPix2PixConfig,
    GauGANConfig,
    Pix2PixConfig,
)
from tsgan_jax.translation._template import LevelsConfig, levels
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.registry import METHODS, translator

SIZE, BATCH = 32, 2
SMALL = {
    "resolution": SIZE,
    "generator_width": 8,
    "critic_width": 8,
    "critic_layers": 2,
    "batch_size": BATCH,
    "learning_rate": 2e-3,
}
PIX2PIX = {**SMALL, "lia_width": 4, "heads": 2, "perceptual": False}
OURS = {"resize": True, "appearance": True}
CYCLE = {**SMALL, "residual_blocks": 1, "pool_size": 3}
DIFFUSION = {
    **{key: value for key, value in SMALL.items() if not key.startswith("critic")},
    "generator_width": 24,
    "learning_rate": 4e-3,
    "patch": 2,
    "multipliers": (1, 1),
    "attention_levels": (),
    "sampling_steps": 25,
    "prediction": "clean",
}
CONFIGS = {
    "dl_pix2pix": DLPix2PixConfig(**PIX2PIX),
    "pix2pix": Pix2PixConfig(**PIX2PIX),
    "dl_pix2pix, with ours": DLPix2PixConfig(**PIX2PIX, **OURS),
    "cyclegan": CycleGANConfig(**CYCLE),
    "attentiongan": AttentionGANConfig(**CYCLE, contents=3),
    "gaugan": GauGANConfig(**SMALL, num_ups=3, spade_width=8, critic_learning_rate=4e-3, perceptual=False),
    "controlnet": ControlNetConfig(**DIFFUSION, epochs=200, decay_start=100, prior_fraction=0.3),
}
"""A method that is in the registry but not here fails the contract tests."""

NOISELESS = ("cyclegan", "attentiongan", "gaugan", "template")
"""Methods whose image the mask alone decides; every other one draws from the image's key."""

SEEDLESS = ("template",)
"""Methods in which nothing is drawn, neither first weights nor noise."""

STEPS_TO_CHANGE_ALL = {"controlnet": 241}
"""Steps after which every player has changed, where it is not one: the control waits for the base to be trained."""

STEPS_TO_OVERFIT = {"controlnet": 800, "gaugan": 250}
"""Steps after which one batch is learned, where it is not 120: the control begins after 240 and hears of one amount of
noise an image and step; GauGAN has no L1 loss.
"""


def _make(name: str) -> Callable[[], Translator]:
    return lambda: translator(CONFIGS[name], images_per_epoch=8)


FACTORIES = {name: _make(name) for name in {**METHODS, **CONFIGS}} | {
    "template": lambda: levels(LevelsConfig(), images_per_epoch=8)
}
