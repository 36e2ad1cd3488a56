"""Every method of the registry, and the template, small enough for a test."""

from collections.abc import Callable

from tsgan_jax.config import DLPix2PixConfig, Pix2PixConfig
from tsgan_jax.translators._template import LevelsConfig, levels
from tsgan_jax.translators.api import Translator
from tsgan_jax.translators.registry import METHODS, translator

SIZE, BATCH = 32, 2
SMALL = {
    "resolution": SIZE,
    "generator_width": 8,
    "critic_width": 8,
    "critic_layers": 2,
    "lia_width": 4,
    "heads": 2,
    "batch_size": BATCH,
    "perceptual": False,
    "learning_rate": 2e-3,
}
CONFIGS = {"dl_pix2pix": DLPix2PixConfig(**SMALL), "pix2pix": Pix2PixConfig(**SMALL)}
"""A method that is in the registry but not here fails the contract tests."""


def _make(name: str) -> Callable[[], Translator]:
    return lambda: translator(CONFIGS[name], images_per_epoch=8)


FACTORIES = {name: _make(name) for name in METHODS} | {"template": lambda: levels(LevelsConfig(), images_per_epoch=8)}
