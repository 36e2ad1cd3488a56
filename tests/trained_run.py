"""A run directory with untrained networks of a few pixels, as bin/train leaves it."""

from pathlib import Path

import jax
from jax import Array

from tsgan_jax.config import Config
from tsgan_jax.config.reading import dump_config, load_config
from tsgan_jax.files import write_sealed
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.train.checkpoint import Checkpoints
from tsgan_jax.translation.registry import translator

CONFIG = """
data: {resolution: 16}
masks: {z_dim: 8, w_dim: 8, mapping_layers: 2, fmap_base: 64, fmap_max: 8, steps_per_resolution: 2}
translation: {method: pix2pix, generator_width: 4, critic_width: 4, critic_layers: 2}
generation: {count: 5, batch_size: 2, attempts: 3, seed: 7}
"""


def config_at(run: Path) -> Config:
    """Writes the config of the run."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(CONFIG)
    config = load_config(run / "config.yaml")
    (run / "config.yaml").write_text(dump_config(config))
    return config


def save_masks(run: Path, config: Config, step: int, key: Array, phase: int = -1) -> None:
    """A checkpoint of stage 1 in phase number `phase`."""
    phases = plan(config.masks)
    phase %= len(phases)
    state = jax.jit(stylegan(config.masks, phases[phase]).init)(key)
    _save(run, "masks", state, step, {"phase": phase, "images_seen": phases[phase].end})


def save_translation(run: Path, config: Config, step: int, key: Array) -> None:
    """A checkpoint of stage 2."""
    _save(
        run, "translation", jax.jit(translator(config.translation).init)(key), step, {"phase": 0, "images_seen": step}
    )


def make_run(run: Path) -> Config:
    """A run with both stages trained."""
    config = config_at(run)
    save_masks(run, config, 4, jax.random.key(3))
    save_translation(run, config, 6, jax.random.key(4))
    return config


def _save(run: Path, stage: str, state: object, step: int, meta: dict) -> None:
    checkpoints = Checkpoints(run / stage / "checkpoints", keep=3)
    assert checkpoints.save(state, meta, step)
    checkpoints.wait()
    write_sealed(run / stage / "manifest.json", {"finished": True, "pixel_mm": 2.5})
