"""TSGAN in JAX: labelled lung-nodule CT slices from noise, in two stages (arXiv 2602.02171).

The functions below are the public API.  Each is loaded on first use, so that `import tsgan_jax` is fast and does not
initialise an accelerator.

    config = tsgan_jax.load_config("configs/luna16.yaml", ["data.root=/data/LUNA16"])
    phase = tsgan_jax.plan(config.masks)[-1]
    learner = tsgan_jax.stylegan(config.masks, phase)              # Learner(init, step)
    translator = tsgan_jax.translator(config.translation)          # Translator(init, step, translate)
    networks = tsgan_jax.load_run("runs/luna16")                   # both networks, trained
    masks = networks.masks(key, indices)                           # uint8 [n, h, w], before any gate
    ct = networks.ct(masks, key)                                   # float32 HU [n, h, w]
    pairs = networks.pairs(seed=0, indices=range(8))               # the first images of bin/generate's set
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_PUBLIC = {
    "Config": "tsgan_jax.config",
    "load_config": "tsgan_jax.config.reading",
    "UserError": "tsgan_jax.errors",
    "Learner": "tsgan_jax.train.learner",
    "plan": "tsgan_jax.masks.growth",
    "stylegan": "tsgan_jax.masks.learner",
    "MaskGenerator": "tsgan_jax.masks.sample",
    "sample_masks": "tsgan_jax.masks.sample",
    "Translator": "tsgan_jax.translation.api",
    "translator": "tsgan_jax.translation.registry",
    "translate": "tsgan_jax.generation.generate",
    "generate": "tsgan_jax.generation.generate",
    "Networks": "tsgan_jax.generation.networks",
    "Request": "tsgan_jax.generation.requests",
    "load_run": "tsgan_jax.generation.networks",
}

__all__ = [
    "Config",
    "Learner",
    "MaskGenerator",
    "Networks",
    "Request",
    "Translator",
    "UserError",
    "__version__",
    "data",
    "generate",
    "load_config",
    "load_run",
    "nn",
    "plan",
    "sample_masks",
    "stylegan",
    "translate",
    "translator",
]

if TYPE_CHECKING:
    from tsgan_jax import data, nn
    from tsgan_jax.config import Config
    from tsgan_jax.config.reading import load_config
    from tsgan_jax.errors import UserError
    from tsgan_jax.generation.generate import generate, translate
    from tsgan_jax.generation.networks import Networks, load_run
    from tsgan_jax.generation.requests import Request
    from tsgan_jax.masks.growth import plan
    from tsgan_jax.masks.learner import stylegan
    from tsgan_jax.masks.sample import MaskGenerator, sample_masks
    from tsgan_jax.train.learner import Learner
    from tsgan_jax.translation.api import Translator
    from tsgan_jax.translation.registry import translator


def __getattr__(name: str) -> object:
    if name in ("data", "nn"):
        return import_module(f"tsgan_jax.{name}")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tsgan_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
