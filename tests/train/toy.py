"""A learner small enough to train in milliseconds, and a program that trains it in a process of its own.

python toy.py DIRECTORY UNTIL_IMAGES [SECONDS_A_STEP]
"""

import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tsgan_jax.train.checkpoint import Checkpoints, abstract_like
from tsgan_jax.train.devices import data_mesh, replicated
from tsgan_jax.train.hooks import JsonlLog, Save, truncate_log
from tsgan_jax.train.learner import Learner, Player, new_player, step_streams, update_player
from tsgan_jax.train.loop import CompiledStep, Hook, Interrupted, prefetch, run

BATCH = 4
TX = optax.adam(0.05)


@flax.struct.dataclass
class ToyState:
    step: jax.Array
    images_seen: jax.Array
    key: jax.Array
    player: Player
    frozen: Any = None


@flax.struct.dataclass
class ToyBatch:
    x: jax.Array


def toy(width: int = 3, frozen: np.ndarray | None = None) -> Learner:
    """Fits the mean of the data under noise: a quadratic.  frozen: weights of the state that no step changes."""

    def init(key):
        player = new_player(TX, {"w": jax.random.normal(key, (width,))})
        return ToyState(jnp.int32(0), jnp.int32(0), key, player, None if frozen is None else {"v": jnp.array(frozen)})

    def step(state, batch):
        (noise,) = step_streams(state.key, state.step, "noise")

        def loss(params):
            target = batch.x + 0.1 * jax.random.normal(noise, batch.x.shape)
            return jnp.mean((params["w"] - target) ** 2)

        value, grads = jax.value_and_grad(loss)(state.player.params)
        player, norm = update_player(TX, state.player, grads)
        seen = state.images_seen + batch.x.shape[0]
        return state.replace(step=state.step + 1, images_seen=seen, player=player), {"loss": value, "gradient": norm}

    return Learner(init, step)


def batches(images: int, bad: frozenset[int] = frozenset(), width: int = 3) -> Iterator[ToyBatch]:
    """Batch after batch from image `images` on; those whose first image is in `bad` hold a NaN."""
    while True:
        x = np.random.default_rng(images).normal(size=(BATCH, width)).astype(np.float32)
        if images in bad:
            x[0, 0] = np.nan
        yield ToyBatch(x)
        images += BATCH


def initial(learner: Learner, seed: int = 0) -> ToyState:
    return _compiled(learner.init)(jax.random.key(seed))


def load(checkpoints: Checkpoints, learner: Learner) -> ToyState:
    """The newest checkpoint's state, or the initial one."""
    saved = checkpoints.newest()
    if saved is None:
        return initial(learner)
    shapes = abstract_like(jax.eval_shape(learner.init, jax.random.key(0)), replicated(data_mesh(BATCH)))
    return checkpoints.restore(saved, shapes)


def weights(state: ToyState) -> list[bytes]:
    """Every array of a state, bit for bit."""
    plain = state.replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(plain)]


_compiled = cache(jax.jit)


class Slow(Hook):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, info) -> None:
        time.sleep(self.seconds)


def main(directory: Path, until_images: int, seconds: float) -> int:
    learner, mesh = toy(), data_mesh(BATCH)
    checkpoints = Checkpoints(directory / "checkpoints", 2)
    state = load(checkpoints, learner)
    truncate_log(directory / "log.jsonl", int(state.step))
    hooks = [
        JsonlLog(directory / "log.jsonl", {}),
        Save(checkpoints, minutes=20 * seconds / 60 or 60, labels={}),
        Slow(seconds),
    ]
    stream = prefetch(batches(int(state.images_seen)), mesh)
    try:
        state = run(CompiledStep(learner, mesh), state, stream, hooks, until_images=until_images, log_steps=1)
    except Interrupted as stop:
        return 128 + stop.signum
    checkpoints.wait()
    (directory / "final").write_bytes(b"".join(weights(state)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
