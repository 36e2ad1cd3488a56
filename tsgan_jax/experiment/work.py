"""How much there is to do, in GFLOP, so that the time left can be told across resolutions and stages.

Rough by design: fitted to measured training steps of the paper's networks, right within about a third.  Only
ratios matter; the rate is measured while training.
"""

from dataclasses import dataclass

from tsgan_jax.config import MasksConfig, TranslationConfig


@dataclass(frozen=True)
class Ahead:
    """Work of a stage, and of it with what the command does after it."""

    stage: float
    overall: float


def masks_work(config: MasksConfig, resolution: int) -> float:
    """GFLOP of one real image in a stage 1 step: every resolution up to this one does r^2 f^2, f its feature maps."""
    levels = [r for r in config.resolutions if r <= resolution]
    return 0.75e-6 * sum(r * r * min(2 * config.fmap_base / r, config.fmap_max) ** 2 for r in levels)


GENERATOR_WORK = {
    "dl_pix2pix": 270.0,
    "pix2pix": 270.0,
    "cyclegan": 7700.0,
    "attentiongan": 8600.0,
    "gaugan": 3600.0,
    "controlnet": 140.0,
}
"""GFLOP of one real image in a step of each method, at 512 px and a width of 64, without VGG-19."""
TYPICAL_WORK = 1000.0
"""Of a method without an entry."""

VGG_WORK = 650.0


def translation_work(config: TranslationConfig) -> float:
    """GFLOP of one real image in a stage 2 step: the method's networks go with width squared, VGG-19 does not."""
    area = (config.resolution / 512) ** 2
    networks = GENERATOR_WORK.get(config.method, TYPICAL_WORK)
    return area * (networks * (config.generator_width / 64) ** 2 + VGG_WORK * config.perceptual_on)
