"""`bin/bench --roofline`: what a step costs, and the least time that two GPUs can need for it.

FLOPs and bytes are XLA's own count of the program before any fusion: each operation reads and writes its arrays.  The
time by FLOPs is a lower bound.  A GPU fuses elementwise operations, so its bytes and the time by bytes are lower than
these.  Neither knows the launch of kernels, which dominates steps of a few milliseconds.  Nothing is run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from tsgan_jax.config import DLPix2PixConfig, MasksConfig
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.networks import layer_noise, networks_of
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.translation.dl_pix2pix import dl_pix2pix
from tsgan_jax.types import MaskBatch, PairBatch

IMAGES_PER_EPOCH = 949
SAMPLED_AT_ONCE = 16


@dataclass(frozen=True)
class Card:
    """Peak rates from the maker's data sheet: FLOP/s of dense matrix products, bytes/s of memory."""

    name: str
    float32: float  # TF32 tensor cores, which XLA takes for float32 products by default
    bfloat16: float
    memory: float


CARDS = (
    Card("H100 SXM", 495e12, 989e12, 3.35e12),
    Card("RTX 3090", 35.6e12, 71e12, 0.936e12),
)


@dataclass(frozen=True)
class Work:
    """One compiled function: images of a call, calls of the paper's whole training (0 for a generator)."""

    name: str
    precision: str
    images: int
    calls: int
    flops: float
    bytes: float

    def seconds(self, card: Card) -> tuple[float, float]:
        """(by FLOPs, by bytes)."""
        return self.flops / getattr(card, self.precision), self.bytes / card.memory


def measured(name: str, precision: str, images: int, calls: int, function: Callable[..., Any], *shapes: Any) -> Work:
    """XLA's count for a function of arrays of these shapes, with the convolutions that a GPU gets."""
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        cost = jax.jit(function).lower(*shapes).cost_analysis()
    return Work(name, precision, images, calls, cost["flops"], cost["bytes accessed"])


def masks() -> Iterator[Work]:
    """Stage 1 of configs/luna16_paper.yaml: the step of every phase, and sampling."""
    config = MasksConfig()
    phases = plan(config)
    for phase in phases:
        learner, side = stylegan(config, phase), phase.resolution
        shape = (phase.batch_size, side, side, representation_of(config).channels)
        state = jax.eval_shape(learner.init, jax.random.key(0))
        name = f"stage 1, {side} px{' fade' if phase.fade else ''}"
        batch = jax.eval_shape(lambda shape=shape: MaskBatch(jnp.zeros(shape)))
        yield measured(name, "float32", phase.batch_size, phase.images // phase.batch_size, learner.step, state, batch)
    networks, resolution = networks_of(config, phases[-1]), phases[-1].resolution

    def sample(params: Any, key: Any) -> Any:
        z = jax.random.normal(key, (SAMPLED_AT_ONCE, config.z_dim))
        w = networks.mapping.apply({"params": params["mapping"]}, z)
        ws = jnp.repeat(w[:, None], 2 * (resolution.bit_length() - 2), axis=1)
        noise = jax.vmap(lambda k: layer_noise(k, resolution))(jax.random.split(key, SAMPLED_AT_ONCE))
        return networks.synthesis.apply({"params": params["synthesis"]}, ws, noise, jnp.float32(1))

    yield measured(f"masks, {resolution} px", "float32", SAMPLED_AT_ONCE, 0, sample, state.ema, jax.random.key(0))


def translation(precision: str) -> Iterator[Work]:
    """Stage 2 at 512 px without VGG-19 (its FLOPs are known apart), and its generator."""
    config = DLPix2PixConfig(precision=precision, perceptual=False)
    made, side = dl_pix2pix(config, IMAGES_PER_EPOCH), config.resolution
    state = jax.eval_shape(made.init, jax.random.key(0))
    for name, n, calls in (
        ("stage 2", config.batch_size, config.epochs * IMAGES_PER_EPOCH),
        ("CT", SAMPLED_AT_ONCE, 0),
    ):
        pair = jax.eval_shape(
            lambda n=n: PairBatch(jnp.zeros((n, side, side), jnp.uint8), jnp.zeros((n, side, side, 1)))
        )
        if calls:
            yield measured(f"{name}, {side} px", precision, n, calls // n, made.step, state, pair)
        else:
            keys = jax.random.split(jax.random.key(0), n)
            yield measured(f"{name}, {side} px", precision, n, 0, made.translate, state, pair.mask, keys)


def table(rows: list[Work]) -> Iterator[str]:
    """Lines of a Markdown table, and the paper's training in hours by both bounds."""
    yield "| step | precision | batch | TFLOP | GB | " + " | ".join(f"{card.name} ms" for card in CARDS) + " |"
    yield "|---" * (5 + len(CARDS)) + "|"
    for row in rows:
        times = (f"{1e3 * min(both):.3g} to {1e3 * max(both):.3g}" for both in map(row.seconds, CARDS))
        yield (
            f"| {row.name} | {row.precision} | {row.images} | {row.flops / 1e12:.3g} | {row.bytes / 1e9:.3g} | "
            + " | ".join(times)
            + " |"
        )
    yield ""
    for card in CARDS:
        for precision in ("float32", "bfloat16"):
            chosen = [row for row in rows if row.name.startswith("stage 1") or row.precision == precision]
            low, high = (sum(row.calls * pick(row.seconds(card)) for row in chosen) / 3600 for pick in (min, max))
            yield f"{card.name}, stage 2 in {precision}: the paper's training takes {low:.3g} to {high:.3g} hours."


def main() -> None:
    """Print the table of the paper's settings."""
    rows = [*masks(), *translation("float32"), *translation("bfloat16")]
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
