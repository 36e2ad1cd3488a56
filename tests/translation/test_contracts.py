"""What every stage 2 method promises (translation/api.py), tried on each of the registry and on the template."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from phantom_pairs import phantom_batch
from translator_methods import BATCH, FACTORIES, NOISELESS, SEEDLESS, SIZE, STEPS_TO_CHANGE_ALL, STEPS_TO_OVERFIT

from tsgan_jax.train.learner import Player, without_optimizers
from tsgan_jax.translation.api import Translator

BATCH_OF_PAIRS = phantom_batch(BATCH, SIZE)


class Compiled:
    """A method with its three functions compiled once for all tests."""

    def __init__(self, name: str, method: Translator) -> None:
        self.name = name
        self.method = method
        self.init = jax.jit(method.init)
        self.step = jax.jit(method.step, donate_argnums=0)
        self.translate = jax.jit(method.translate)


@functools.cache
def compiled(name: str) -> Compiled:
    return Compiled(name, FACTORIES[name]())


@pytest.fixture(params=FACTORIES)
def method(request: pytest.FixtureRequest) -> Compiled:
    return compiled(request.param)


def players(state: Any) -> dict[str, Player]:
    return {name: value for name, value in vars(state).items() if isinstance(value, Player)}


def copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def same(a: Any, b: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


def losses_of(method: Compiled, seed: int, steps: int = 3) -> list[dict[str, float]]:
    state, logs = method.init(jax.random.key(seed)), []
    for i in range(steps):
        state, log = method.step(state, phantom_batch(BATCH, SIZE, seed=i))
        logs.append({name: float(value) for name, value in log.items()})
    return logs


def test_step_returns_the_kind_of_state_it_was_given(method: Compiled) -> None:
    state = jax.eval_shape(method.method.init, jax.random.key(0))
    after, metrics = jax.eval_shape(method.method.step, state, BATCH_OF_PAIRS)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for a, b in zip(*map(jax.tree.leaves, (state, after)), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert all(m.shape == () and m.dtype == jnp.float32 for m in metrics.values())


def test_donated_steps_change_every_player_and_count(method: Compiled) -> None:
    steps = STEPS_TO_CHANGE_ALL.get(method.name, 1)
    state = method.init(jax.random.key(0))
    before = copied(state)
    assert players(before)
    for _ in range(steps):
        state, metrics = method.step(state, BATCH_OF_PAIRS)
        assert all(np.isfinite(float(m)) for m in metrics.values())
    for name, player in players(state).items():
        assert not same(player.params, players(before)[name].params), name
    assert (int(state.step), int(state.images_seen)) == (steps, steps * BATCH)
    assert same(state.key, before.key)
    assert same(getattr(state, "frozen", None), getattr(before, "frozen", None))


def test_the_seed_decides(method: Compiled) -> None:
    first = losses_of(method, seed=7)
    assert losses_of(method, seed=7) == first
    assert (losses_of(method, seed=8) == first) == (method.name in SEEDLESS)


def test_save_restore_step_is_step(method: Compiled) -> None:
    state, _ = method.step(method.init(jax.random.key(1)), BATCH_OF_PAIRS)
    plain = state.replace(key=jax.random.key_data(state.key))
    saved = flax.serialization.to_bytes(plain)
    target = method.init(jax.random.key(2))
    restored = flax.serialization.from_bytes(target.replace(key=jax.random.key_data(target.key)), saved)
    restored = jax.tree.map(jnp.asarray, restored.replace(key=jax.random.wrap_key_data(jnp.asarray(restored.key))))
    second = phantom_batch(BATCH, SIZE, seed=1)
    straight, straight_log = method.step(state, second)
    resumed, resumed_log = method.step(restored, second)
    assert same(straight, resumed)
    assert same(straight_log, resumed_log)


def test_translate_gives_images_decided_by_mask_and_key(method: Compiled) -> None:
    state, masks = method.init(jax.random.key(0)), phantom_batch(3, SIZE).mask
    keys = jax.random.split(jax.random.key(5), 3)
    images = method.translate(state, masks, keys)
    assert images.shape == (3, SIZE, SIZE) and images.dtype == jnp.float32
    assert float(jnp.abs(images).max()) <= 1.0
    np.testing.assert_array_equal(images, method.translate(state, masks, keys))
    order = jnp.array([2, 0])
    np.testing.assert_allclose(method.translate(state, masks[order], keys[order]), images[order], rtol=1e-4, atol=1e-5)


def test_translate_reads_weights_only(method: Compiled) -> None:
    """`generation` leaves the optimisers' state and frozen weights in the checkpoint."""
    state = jax.eval_shape(method.method.init, jax.random.key(0))
    masks, keys = phantom_batch(1, SIZE).mask, jax.random.split(jax.random.key(5), 1)
    images = jax.eval_shape(method.method.translate, without_optimizers(state), masks, keys)
    assert images.shape == (1, SIZE, SIZE)


@pytest.mark.parametrize("name", FACTORIES)
def test_another_key_gives_another_image_where_there_is_noise(name: str) -> None:
    method = compiled(name)
    state, masks = method.init(jax.random.key(0)), phantom_batch(1, SIZE).mask
    one, other = (method.translate(state, masks, jax.random.split(jax.random.key(seed), 1)) for seed in (0, 1))
    assert bool((one != other).any()) == (name not in NOISELESS)


@pytest.mark.slow
def test_overfits_one_batch(method: Compiled) -> None:
    state = method.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), BATCH)

    def error(state: Any) -> float:
        return float(jnp.abs(method.translate(state, BATCH_OF_PAIRS.mask, keys) - BATCH_OF_PAIRS.ct[..., 0]).mean())

    start = error(state)
    for _ in range(STEPS_TO_OVERFIT.get(method.name, 120)):
        state, _ = method.step(state, BATCH_OF_PAIRS)
    assert error(state) < 0.1 < start


QUICK = ("template", "dl_pix2pix")  # two programs are compiled for each


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.long) for n in FACTORIES])
def test_two_devices_give_the_step_of_one(name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    script = Path(__file__).with_name("two_devices.py")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, script, name], cwd=root, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "equal\n"
