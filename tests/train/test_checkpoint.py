"""Checkpoints against a damaged, a full and a foreign disk."""

import shutil
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tsgan_jax.errors import UserError
from tsgan_jax.train import checkpoint
from tsgan_jax.train.checkpoint import Checkpoints, abstract_like
from tsgan_jax.train.devices import data_mesh, replicated
from tsgan_jax.train.learner import with_frozen


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder after steps 1, 2, 3, of which two are kept."""
    folder = tmp_path_factory.mktemp("written")
    checkpoints = Checkpoints(folder, keep=2)
    for step in (1, 2, 3):
        assert checkpoints.save(state_of(step), {"images_seen": 4 * step}, step)
    checkpoints.wait()
    return folder


@pytest.fixture
def kept(written, tmp_path):
    """Checkpoints in a copy of that folder, and the messages given."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    lines: list[str] = []
    return Checkpoints(tmp_path, keep=2, say=lines.append), lines


@cache
def state_of(step):
    return toy.initial(toy.toy(300), seed=step)


def shapes(width=300):
    return abstract_like(jax.eval_shape(toy.toy(width).init, jax.random.key(0)), replicated(data_mesh(1)))


def payload(folder):
    """The largest file of a checkpoint: array data."""
    return max((p for p in (folder / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_restores_every_bit_and_keeps_the_newest(kept):
    checkpoints, lines = kept
    assert checkpoints.steps() == [2, 3]
    saved = checkpoints.newest()
    assert (saved.step, saved.meta) == (3, {"images_seen": 12})
    assert toy.weights(checkpoints.restore(saved, shapes())) == toy.weights(state_of(3))
    assert not lines


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "no manifest", "torn manifest", "meta"])
def test_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(kept, tmp_path, damage):
    checkpoints, lines = kept
    folder = tmp_path / "3"
    file = folder / "meta" / "metadata" if damage == "meta" else payload(folder)
    content = bytearray(file.read_bytes())
    if damage in ("flip", "meta"):
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[:-1])
    elif damage == "delete":
        file.unlink()
    elif damage == "no manifest":
        (folder / checkpoint.MANIFEST).unlink()
    else:
        (folder / checkpoint.MANIFEST).write_text('{"step": 3, "sha')
    saved = checkpoints.newest()
    assert saved.step == 2
    assert toy.weights(checkpoints.restore(saved, shapes())) == toy.weights(state_of(2))
    assert (tmp_path / "damaged" / "3.1").is_dir() and not folder.exists()
    assert len(lines) == 1 and "checkpoint 3 is not usable" in lines[0]


def test_all_damaged_means_none(kept, tmp_path):
    checkpoints, lines = kept
    for step in (2, 3):
        payload(tmp_path / str(step)).unlink()
    assert checkpoints.newest() is None
    assert len(lines) == 2


def test_another_network_is_named(kept):
    checkpoints, _ = kept
    difference = r"\['w'\] as float32\(300,\), the config asks for float32\(7,\)"
    with pytest.raises(UserError, match=difference):
        checkpoints.restore(checkpoints.newest(), shapes(width=7))


FROZEN = np.random.default_rng(0).normal(size=1 << 18).astype(np.float32)
"""One MiB that hardly compresses."""


def saved_and_restored(folder, learner, state):
    """The state from a checkpoint, and the checkpoint's bytes on disk."""
    checkpoints = Checkpoints(folder, keep=1)
    assert checkpoints.save(state, {}, 1)
    one = replicated(data_mesh(1))
    shapes = abstract_like(jax.eval_shape(learner.init, jax.random.key(0)), one)
    restored = checkpoints.restore(checkpoints.newest(), shapes)
    checkpoints.wait()
    assert restored.frozen is None
    return with_frozen(restored, learner.init, one), sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_frozen_weights_are_not_saved_and_come_back_from_init(tmp_path):
    learner = toy.toy(frozen=FROZEN)
    state = toy.initial(learner, seed=5)
    restored, on_disk = saved_and_restored(tmp_path, learner, state)
    assert on_disk < FROZEN.nbytes / 20
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert toy.weights(restored) == toy.weights(state)


def test_later_steps_are_dropped_and_written_again(kept):
    checkpoints, _ = kept
    checkpoints.drop_after(2)
    assert checkpoints.steps() == [2]
    checkpoints.save(state_of(9), {"images_seen": 12}, 3)
    checkpoints.wait()
    assert toy.weights(checkpoints.restore(checkpoints.newest(), shapes())) == toy.weights(state_of(9))


def test_too_little_space_is_said_and_the_next_save_works(kept, monkeypatch):
    checkpoints, lines = kept
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        assert not checkpoints.save(state_of(4), {"images_seen": 16}, 4)
    assert "checkpoint 4 not written" in lines[0] and "GB free" in lines[0]
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.save(state_of(5), {"images_seen": 20}, 5)
    checkpoints.wait()
    assert checkpoints.steps() == [3, 5]


def test_write_failure_in_the_background_is_said_and_the_next_save_works(kept, tmp_path, limited_file_size):
    checkpoints, lines = kept
    big = {"w": jax.random.normal(jax.random.key(0), (100_000,))}
    with limited_file_size(30_000):
        checkpoints.save(big, {"images_seen": 16}, 4)
        checkpoints.wait()
    assert len(lines) == 1 and "checkpoint 4 not written" in lines[0]
    assert checkpoints.steps() == [2, 3]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("4")]
    checkpoints.save(big, {"images_seen": 20}, 5)
    checkpoints.wait()
    assert checkpoints.steps() == [3, 5]


@pytest.fixture
def limited_file_size():
    """Any larger file cannot be written, as on a full disk."""
    import resource
    from contextlib import contextmanager

    @contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


def test_donated_buffers_do_not_change_what_is_saved(tmp_path):
    """The training step reuses the state's memory while it is being written."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    value = jax.random.normal(jax.random.key(0), (1 << 20,))
    before = np.array(value)
    spoil = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    checkpoints.save({"w": value}, {}, 1)
    for _ in range(5):
        value = spoil(value)
    checkpoints.wait()
    restored = checkpoints.restore(checkpoints.newest(), {"w": jax.ShapeDtypeStruct(before.shape, jnp.float32)})
    checkpoints.wait()
    np.testing.assert_array_equal(restored["w"], before)
