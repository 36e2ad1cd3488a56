"""`set:RESOLUTION:COUNT`: a set of COUNT images, files included, next to the compiled networks alone.

The quickstart's networks with random parameters.  Their masks are no chests, so the gate judges them and all are taken.

    python -m benchmarks.sets 64 1000
"""

import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.serve import peak_mib
from tsgan_jax.config.reading import load_config
from tsgan_jax.generation import candidates
from tsgan_jax.generation.generate import generate
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.plausibility import Verdict, check
from tsgan_jax.masks.sample import MaskGenerator, generator_of, sample_maps
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.registry import translator

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
WINDOW = (-1000.0, 400.0)
BATCH = 32


def networks(resolution: int) -> tuple[MaskGenerator, Translator, object]:
    """(generator, translator, its state)."""
    config = load_config(CONFIG, [f"data.resolution={resolution}"])
    phase = plan(config.masks)[-1]
    generator = generator_of(jax.jit(stylegan(config.masks, phase).init)(jax.random.key(0)), config.masks, phase)
    method = translator(config.translation)
    return generator, method, jax.jit(method.init)(jax.random.key(1))


def take_all(mask: np.ndarray, pixel_mm: float) -> Verdict:
    """The gate, which takes every mask."""
    check(mask, pixel_mm)
    return Verdict(True, ())


def bare(generator: MaskGenerator, method: Translator, state: object, resolution: int, count: int) -> float:
    """Images a second of the two compiled networks, nothing decoded, judged or written."""
    translate = jax.jit(method.translate)
    masks = np.random.default_rng(0).integers(0, 6, (BATCH, resolution, resolution)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(2), BATCH)

    def batch(start: int) -> jax.Array:
        sample_maps(generator, jax.random.key(3), np.arange(start, start + BATCH))
        return translate(state, jnp.asarray(masks), keys)

    jax.block_until_ready(batch(0))
    begun = time.perf_counter()
    jax.block_until_ready([batch(start) for start in range(0, count, BATCH)][-1])
    return -(-count // BATCH) * BATCH / (time.perf_counter() - begun)


def main(resolution: int, count: int) -> None:
    """Print one line; the peak is of the set alone."""
    parts = networks(resolution)
    candidates.check = take_all
    settings = {"window": WINDOW, "pixel_mm": 340.0 / resolution, "seed": 0}
    with tempfile.TemporaryDirectory() as folder:
        generate(*parts, count=2 * BATCH, out=Path(folder) / "first", **settings)  # compiles
        begun = time.perf_counter()
        generate(*parts, count=count, out=Path(folder) / "set", **settings)
        speed = count / (time.perf_counter() - begun)
    peak = peak_mib()
    alone = bare(*parts, resolution, count)
    share = f"{speed:.1f} images/s, networks alone {alone:.1f} images/s ({speed / alone:.0%})"
    print(f"set:{resolution}:{count}  {share}, peak {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
