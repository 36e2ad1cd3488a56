"""One of the processes that test_processes starts: a learner with statistics of the whole batch, trained in a folder.

python several.py DIRECTORY STEPS SECONDS_A_STEP TIMEOUT COORDINATOR COUNT INDEX
"""

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parents[2]))

import toy

from tsgan_jax.cli._command import ending
from tsgan_jax.cli.train import _interruptible
from tsgan_jax.nn.stylegan import minibatch_std
from tsgan_jax.train import processes
from tsgan_jax.train.checkpoint import Checkpoints, abstract_like
from tsgan_jax.train.devices import data_mesh, place, replicated
from tsgan_jax.train.hooks import JsonlLog, Save
from tsgan_jax.train.learner import Learner, new_player, step_streams, update_player
from tsgan_jax.train.loop import CompiledStep, prefetch, run


def learner() -> Learner:
    """Fits the spread of a batch of four, of which each of two processes has half, under noise."""

    def init(key):
        player = new_player(toy.TX, {"w": jax.random.normal(key, (3,))})
        return toy.ToyState(jnp.int32(0), jnp.int32(0), key, player)

    def step(state, batch):
        (noise,) = step_streams(state.key, state.step, "noise")

        def loss(params):
            spread = minibatch_std((batch.x * params["w"])[:, None, None], toy.BATCH)[..., -1]
            return jnp.mean((spread - 1) ** 2) + 0.1 * jnp.mean(batch.x * params["w"] * jax.random.normal(noise, (3,)))

        value, grads = jax.value_and_grad(loss)(state.player.params)
        player, norm = update_player(toy.TX, state.player, grads)
        seen = state.images_seen + batch.x.shape[0]
        return state.replace(step=state.step + 1, images_seen=seen, player=player), {"loss": value, "gradient": norm}

    return Learner(init, step)


def train(directory: Path, steps: int, seconds: float = 0.0) -> int:
    """Train from the newest checkpoint until so many steps are done."""
    learned, mesh = learner(), data_mesh(toy.BATCH)
    checkpoints = Checkpoints(directory / "checkpoints", 1)
    saved = checkpoints.newest()
    if saved is None:
        state = jax.jit(learned.init, out_shardings=replicated(mesh))(jax.random.key(0))
    else:
        shapes = abstract_like(jax.eval_shape(learned.init, jax.random.key(0)), replicated(mesh))
        state = place(checkpoints.restore(saved, shapes), mesh)
    hooks = [JsonlLog(directory / "log.jsonl", {}), Save(checkpoints, 60, {}), toy.Slow(seconds)]
    stream = prefetch(toy.batches(int(state.images_seen)), mesh)
    until = steps * toy.BATCH
    run(CompiledStep(learned, mesh), state, stream, hooks * processes.is_first(), until_images=until, log_steps=1)
    checkpoints.wait()
    return 0


if __name__ == "__main__":
    directory, steps, seconds, timeout, address, count, index = sys.argv[1:]
    processes.start(processes.Place(address, int(count), int(index)), int(timeout))
    folder = Path(directory)
    code = ending(
        lambda: _interruptible(lambda screen: train(folder, int(steps), float(seconds)), folder), "run it again"
    )
    os._exit(code) if code else sys.exit()
