"""Batches change no set; they are chosen by memory, compiled once, and made while others are written."""

import subprocess
import sys
import threading
import time
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_run import config_at

from tsgan_jax import images
from tsgan_jax.generation import candidates, rendering
from tsgan_jax.generation.candidates import AHEAD, Candidate, ahead
from tsgan_jax.generation.generate import generate, translate
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.rendering import AT_A_TIME, batch_size_for, rendered, renderer
from tsgan_jax.images import to_uint8
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.plausibility import Verdict
from tsgan_jax.masks.sample import generator_of, sample_masks
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.registry import translator as method_of

WINDOW = (-1000.0, 400.0)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """(generator, translator, state) of a run of a few pixels; the translator's convolutions are real ones."""
    config = config_at(tmp_path_factory.mktemp("runs") / "tiny")
    phase = plan(config.masks)[-1]
    generator = generator_of(jax.jit(stylegan(config.masks, phase).init)(jax.random.key(3)), config.masks, phase)
    translator = method_of(config.translation)
    return generator, translator, jax.jit(translator.init)(jax.random.key(4))


@pytest.fixture
def make(networks, monkeypatch):
    def lenient(mask, pixel_mm):
        odd = bool(int(mask.astype(np.int64).sum()) % 2)
        return Verdict(not odd, ("odd",) if odd else ())

    monkeypatch.setattr(candidates, "check", lenient)

    def make(out, count, **kwargs):
        kwargs = {"attempts": 3} | kwargs
        return generate(*networks, window=WINDOW, pixel_mm=2.0, seed=5, count=count, out=out, **kwargs)

    return make


@pytest.fixture
def compilations():
    """A list that grows with each compilation."""
    found = []

    def listen(event, seconds, **facts):
        if event.endswith("backend_compile_duration"):
            found.append(facts)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.clear_event_listeners()


def tree(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_sets_of_batches_of_1_7_and_64_are_equal(make, tmp_path):
    """Bit for bit on a CPU."""
    for size in (1, 7, 64, None):
        make(tmp_path / str(size), 70, batch_size=size)
    whole = tree(tmp_path / "1")
    assert len(whole) > 60
    assert all(tree(tmp_path / size) == whole for size in ("7", "64", "None"))


def test_where_a_batch_is_one_program_masks_are_equal_and_ct_to_one_grey_level(make, tmp_path, monkeypatch):
    """As on an accelerator."""
    monkeypatch.setattr(rendering, "on_cpu", lambda: False)
    for size in (1, 7, 64):
        make(tmp_path / str(size), 70, batch_size=size)
    one = tmp_path / "1"
    manifests = [read_manifest(tmp_path / size) for size in ("1", "7", "64")]
    facts = [[{k: v for k, v in each.items() if k != "sha256"} for each in one["images"]] for one in manifests]
    assert facts[0] == facts[1] == facts[2]
    for size in ("7", "64"):
        other = tmp_path / size
        assert (one / "annotations.json").read_bytes() == (other / "annotations.json").read_bytes()
        for path in (one / "masks").iterdir():
            assert path.read_bytes() == (other / "masks" / path.name).read_bytes()
            greys = [images.read_png(out / "images" / path.name).astype(int) for out in (one, other)]
            assert np.abs(greys[0] - greys[1]).max() <= 1


def test_a_batch_of_images_is_one_program_on_an_accelerator(monkeypatch):
    called = []

    def spy(state, masks, keys):
        called.append(masks.shape)
        return masks.astype(jnp.float32) * state

    masks = [Candidate(i, np.zeros((4, 4), np.uint8)) for i in range(6)]
    for on_cpu, shape in ((True, (1, 4, 4)), (False, (6, 4, 4))):
        monkeypatch.setattr(rendering, "on_cpu", lambda on_cpu=on_cpu: on_cpu)
        called.clear()
        method = Translator(dict, lambda s, b: (s, {}), lambda *arguments: spy(*arguments))
        assert renderer(method, jnp.float32(1), jax.random.key(0), 6)(masks).shape == (6, 4, 4)
        assert called == [shape]  # traced once


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_batch_is_the_largest_that_fits(monkeypatch, on_cpu):
    monkeypatch.setattr(rendering, "on_cpu", lambda: on_cpu)
    method = Translator(dict, lambda s, b: (s, {}), lambda state, masks, keys: jnp.sort(masks * state, axis=1))
    state = jnp.float32(1)
    said = []
    assert batch_size_for(method, state, 64, 40, say=said.append) == (20 if on_cpu else 40)  # 32 would leave 8
    assert said[-1].startswith(f"translation: batches of {20 if on_cpu else 40}, 2 at a time, need ")
    for mib, most in ((1, 32), (0.2, 6), (0, 1)):
        monkeypatch.setattr(rendering, "free_bytes", lambda mib=mib: int(mib * 2**20))
        size = batch_size_for(method, state, 64, 1000)
        assert size <= most and (size > 1 or mib == 0)
        assert rendering._bytes_of(method, state, 64, size) <= mib * 2**20 / AT_A_TIME or size == 1
    assert batch_size_for(method, state, 64, 1000, wanted=100) == 100
    assert batch_size_for(method, state, 64, 10, wanted=100) == 10


def test_the_chosen_batch_is_told(make, tmp_path):
    said = []
    make(tmp_path, 4, say=said.append)
    assert any("batches of 4, 2 at a time, need" in line for line in said)
    said.clear()
    make(tmp_path, 4, say=said.append)  # finished: nothing to compile
    assert not said


def test_a_second_call_compiles_nothing(networks, compilations):
    generator, translator, state = networks
    for seed in (0, 1):
        key = jax.random.key(seed)
        masks = sample_masks(generator, key, np.arange(20 * seed, 20 * seed + 20), 1.0 - seed / 2)
        translate(translator, state, masks, key)
        if seed == 0:
            assert compilations
            compilations.clear()
    assert not compilations
    for count in (1, 33):  # masks are compiled once for any number of them
        sample_masks(generator, jax.random.key(2), np.arange(count))
    assert not compilations


def test_translated_masks_do_not_depend_on_the_batch(networks):
    generator, translator, state = networks
    masks = sample_masks(generator, jax.random.key(0), np.arange(9))
    whole = translate(translator, state, masks, jax.random.key(1), WINDOW)
    for size in (1, 2, 4, 100):
        part = translate(translator, state, masks, jax.random.key(1), WINDOW, batch_size=size)
        assert np.array_equal(part, whole)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(1), i))(jnp.arange(9))
    plain = (np.asarray(jax.jit(translator.translate)(state, masks, keys)) + 1) * 700 - 1000
    assert np.abs(to_uint8(whole, WINDOW).astype(int) - to_uint8(plain, WINDOW)).max() <= 1
    assert translate(translator, state, masks[:0], jax.random.key(1)).shape == (0, 16, 16)


def test_no_more_than_a_few_batches_are_made_ahead():
    made, taken = [], []

    def items():
        for i in range(20):
            made.append(i)
            yield i + 1

    with closing(ahead(items())) as found:
        for item in found:
            taken.append(item)
            time.sleep(0.01)
            assert len(made) <= len(taken) + AHEAD
    assert taken == list(range(1, 21))


def test_no_more_than_two_batches_are_on_the_device():
    on_device = []

    def render(batch):
        on_device.append(batch)
        assert len(on_device) <= AT_A_TIME
        return jnp.full((2, 1, 1), batch[0].index)

    found = []
    for batch, ct in rendered(render, ([Candidate(i)] for i in range(5))):
        on_device.remove(batch)
        found.append((batch[0].index, ct.shape, float(ct[0, 0, 0])))
    assert found == [(i, (1, 1, 1), i) for i in range(5)]


def test_errors_of_the_thread_are_raised_and_it_ends():
    def broken():
        yield 1
        raise ValueError("broken")

    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"), closing(ahead(broken())) as found:
        list(found)
    with pytest.raises(KeyError), closing(ahead(iter(range(1, 100)))) as found:
        for _ in found:
            raise KeyError
    assert threading.active_count() == before


@pytest.mark.slow
@pytest.mark.long
def test_memory_does_not_grow_with_the_set():
    """Processes of their own: a peak never falls."""
    command = [sys.executable, "-m", "benchmarks.sets", "64"]
    peaks = [
        float(subprocess.run([*command, count], check=True, capture_output=True, text=True).stdout.split()[-2])
        for count in ("150", "600")
    ]
    assert peaks[1] < 1.05 * peaks[0]
