"""A set is a function of the networks, the seed and the index: not of batches, interruptions or retries."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax import images, labels
from tsgan_jax.config import MasksConfig
from tsgan_jax.errors import UserError
from tsgan_jax.generation import candidates as candidates_of
from tsgan_jax.generation import coco
from tsgan_jax.generation.candidates import Candidate, candidates
from tsgan_jax.generation.generate import generate, translate
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.rendering import renderer
from tsgan_jax.generation.runs import fingerprint
from tsgan_jax.generation.sources import MaskSource, stylegan_masks
from tsgan_jax.images import to_hu, to_uint8
from tsgan_jax.masks import plausibility
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.plausibility import Verdict
from tsgan_jax.masks.sample import generator_of, sample_masks
from tsgan_jax.train.learner import stream
from tsgan_jax.translation.api import Translator

SIDE = 16
WINDOW = (-1000.0, 400.0)


@pytest.fixture(scope="module")
def generator():
    config = MasksConfig(resolution=SIDE, z_dim=8, w_dim=8, mapping_layers=2, fmap_base=64, fmap_max=8)
    phase = plan(config)[-1]
    return generator_of(jax.jit(stylegan(config, phase).init)(jax.random.key(3)), config, phase)


def blur(state, masks, keys):
    """A stand-in for a translator: a convolution, noise by key, tanh."""

    def one(mask, key):
        x = mask.astype(jnp.float32)[None, None] + jax.random.normal(key, (1, 1, *mask.shape))
        return jnp.tanh(jax.lax.conv(x, state["w"], (1, 1), "SAME")[0, 0])

    return jax.vmap(one)(masks, keys)


@pytest.fixture(scope="module")
def weights():
    return {"w": jax.random.normal(jax.random.key(4), (1, 1, 5, 5)) / 3, "key": jax.random.key(9)}


@pytest.fixture(scope="module")
def translator():
    return Translator(init=lambda key: {}, step=lambda state, batch: (state, {}), translate=blur)


def picky(mask, pixel_mm):
    """A gate that refuses about six masks of ten, for two reasons, and never image-wise."""
    total = int(np.sum(mask.astype(np.int64) * np.arange(mask.size).reshape(mask.shape)))
    reasons = tuple(name for name, bad in (("odd", total % 2), ("third", total % 3 == 0)) if bad)
    return Verdict(not reasons, reasons)


@pytest.fixture(autouse=True)
def gate(monkeypatch):
    monkeypatch.setattr(candidates_of, "check", picky)


@pytest.fixture
def make(generator, translator, weights):
    def make(out, count=9, **kwargs):
        settings = {"window": WINDOW, "pixel_mm": 2.0, "seed": 5, "attempts": 3, "batch_size": 4} | kwargs
        return generate(generator, translator, weights, count=count, out=out, **settings)

    return make


def tree(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_each_image_follows_from_seed_index_and_attempt(make, generator, weights, tmp_path):
    """Against a plain loop over images and attempts, one at a time."""
    summary = make(tmp_path / "set")
    manifest = read_manifest(tmp_path / "set")
    root = jax.random.key(5)
    refused, accepted = 0, 0
    for index, record in enumerate(manifest["images"]):
        reasons = []
        for attempt in range(3):
            key = jax.random.fold_in(stream(root, "masks"), attempt)
            mask = sample_masks(generator, key, jnp.array([index]))[0]
            verdict = picky(mask, 2.0)
            if verdict.accepted:
                break
            reasons.append(list(verdict.reasons))
        refused += len(reasons)
        assert (record["index"], record["accepted"]) == (index, verdict.accepted)
        assert record["refused"] == reasons
        if not verdict.accepted:
            continue
        accepted += 1
        assert record["attempt"] == attempt
        name = record["file_name"]
        assert np.array_equal(images.read_mask(tmp_path / "set" / "masks" / name), mask)
        ct = blur(weights, jnp.asarray(mask)[None], jax.random.fold_in(stream(root, "ct"), index)[None])[0]
        hu = to_hu(np.asarray(ct), WINDOW)
        assert np.abs(images.read_hu(tmp_path / "set" / "hu" / name) - hu).max() <= 0.51
        stored = images.read_hu(tmp_path / "set" / "hu" / name)
        shown = images.read_png(tmp_path / "set" / "images" / name)
        assert np.array_equal(shown, to_uint8(stored, WINDOW))
    assert 0 < accepted < 9
    assert (summary.accepted, summary.drawn) == (accepted, accepted + refused)
    assert sum(summary.reasons.values()) == sum(len(r) for i in manifest["images"] for r in i["refused"])


def test_batch_size_changes_no_byte(make, tmp_path):
    for batch_size in (1, 3, 8):
        make(tmp_path / str(batch_size), batch_size=batch_size)
    assert tree(tmp_path / "1") == tree(tmp_path / "3") == tree(tmp_path / "8")


def test_an_interrupted_set_ends_as_an_unbroken_one(make, tmp_path):
    class Stop(Exception):
        pass

    def stop(*progress):
        raise Stop

    make(tmp_path / "whole", batch_size=2)
    with pytest.raises(Stop):
        make(tmp_path / "parts", batch_size=2, progress=stop)
    assert not (tmp_path / "parts" / "annotations.json").exists()
    summary = make(tmp_path / "parts", batch_size=3)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert summary.made <= summary.count


def test_a_failure_while_files_are_written_is_resumed(make, tmp_path, monkeypatch):
    make(tmp_path / "whole")
    write, calls, lock = images.write_hu, [], threading.Lock()

    def full_after_two(path, hu, **how):
        with lock:
            calls.append(path)
            if len(calls) > 2:
                raise OSError(28, "No space left on device")
        return write(path, hu, **how)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"No space left.*same command again"):
        patch.setattr(images, "write_hu", full_after_two)
        make(tmp_path / "parts", batch_size=2)
    assert not list((tmp_path / "parts").rglob(".part-*"))
    make(tmp_path / "parts")
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_a_smaller_set_is_the_beginning_of_a_larger_one(make, tmp_path):
    make(tmp_path / "set", count=4)
    small = tree(tmp_path / "set")
    summary = make(tmp_path / "set", count=9)
    assert summary.made == 5
    large = tree(tmp_path / "set")
    assert all(large[name] == content for name, content in small.items() if name.endswith(".png") and "/" in name)
    make(tmp_path / "whole", count=9)
    assert large == tree(tmp_path / "whole")
    with pytest.raises(UserError, match="more than the 4"):
        make(tmp_path / "set", count=4)
    assert tree(tmp_path / "set") == large


@pytest.mark.parametrize(
    ("change", "line"),
    [({"seed": 6}, "seed: 5"), ({"truncation": 0.5}, r"truncation: 1\.0"), ({"pixel_mm": 1.0}, "pixel_mm: 2.0")],
)
def test_other_settings_do_not_mix_into_a_set(make, tmp_path, change, line):
    make(tmp_path, count=2)
    with pytest.raises(UserError, match=line):
        make(tmp_path, count=4, **change)


def test_other_weights_do_not_mix_into_a_set(make, generator, translator, weights, tmp_path):
    make(tmp_path, count=2)
    other = {**weights, "w": weights["w"].at[0, 0, 0, 0].add(1e-6)}
    with pytest.raises(UserError, match=r"weights\.translation"):
        generate(generator, translator, other, window=WINDOW, pixel_mm=2.0, count=2, seed=5, out=tmp_path, attempts=3)


def test_seeds_give_different_sets(make, tmp_path):
    for seed in (5, 6):
        make(tmp_path / str(seed), count=4, seed=seed)
    assert read_manifest(tmp_path / "5") != read_manifest(tmp_path / "6")
    shared = tree(tmp_path / "5").keys() & tree(tmp_path / "6").keys()
    assert all(tree(tmp_path / "5")[n] != tree(tmp_path / "6")[n] for n in shared if n.startswith("hu/"))


def test_when_every_mask_is_refused_the_set_is_empty_and_says_why(make, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates_of, "check", lambda mask, pixel_mm: Verdict(False, ("no lung",)))
    summary = make(tmp_path, count=3)
    assert (summary.accepted, summary.drawn, summary.reasons) == (0, 9, {"no lung": 9})
    manifest = read_manifest(tmp_path)
    assert [r["refused"] for r in manifest["images"]] == [[["no lung"]] * 3] * 3
    assert coco.read(tmp_path / "annotations.json")["images"] == []


def test_an_empty_set_is_a_set(make, tmp_path):
    assert make(tmp_path, count=0).accepted == 0
    assert coco.read(tmp_path / "annotations.json")["images"] == []


def test_ct_that_is_not_finite_stops_the_set(generator, weights, tmp_path):
    broken = Translator(dict, lambda s, b: (s, {}), lambda state, masks, keys: masks * jnp.nan)
    with pytest.raises(UserError, match="not finite"):
        generate(generator, broken, weights, window=WINDOW, pixel_mm=2.0, count=3, seed=0, out=tmp_path)
    assert not list(tmp_path.rglob("*.png"))


def test_progress_ends_with_all_images_settled(make, tmp_path):
    seen = []
    summary = make(tmp_path, progress=lambda *now: seen.append(now))
    assert seen[-1] == (summary.accepted, summary.count - summary.accepted, 9)
    assert [accepted for accepted, *_ in seen] == sorted(accepted for accepted, *_ in seen)


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_candidates_take_their_first_accepted_attempt_in_full_draws(size):
    """Masks are single pixels that carry (index, attempt); the gate is a table."""
    rng = np.random.default_rng(0)
    good = rng.random((40, 4)) < 0.4
    draws = []

    def draw(attempt, indices):
        draws.append(len(indices))
        return np.array([[[index, attempt]] for index in indices], np.uint8)

    class Now:
        map = staticmethod(lambda f, *xs: map(f, *xs))

    def table(mask, pixel_mm):
        index, attempt = mask[0]
        return Verdict(bool(good[index, attempt]), () if good[index, attempt] else (f"r{attempt}",))

    candidates_of.check, before = table, candidates_of.check
    try:
        source = MaskSource(draw, 1, 1, lambda index: 1.0, lambda index: {}, {})
        found = list(candidates(source, list(range(40)), 4, size, Now()))
    finally:
        candidates_of.check = before
    assert sorted(c.index for c in found) == list(range(40))
    for c in found:
        first = int(np.argmax(good[c.index])) if good[c.index].any() else None
        assert c.refused == [[f"r{a}"] for a in range(4 if first is None else first)]
        assert (c.mask is None) if first is None else (c.mask.tolist() == [[c.index, first]])
    assert sum(draws) == sum(len(c.refused) + (c.mask is not None) for c in found)
    assert sum(n < size for n in draws) <= 4


def test_rendering_is_independent_of_size_and_neighbours(translator, weights, generator):
    masks = sample_masks(generator, jax.random.key(0), jnp.arange(5))
    batch = [Candidate(i, mask) for i, mask in enumerate(masks)]
    key = jax.random.key(1)
    whole = np.asarray(renderer(translator, weights, key, 5)(batch))
    for size in (1, 2, 8):
        render = renderer(translator, weights, key, size)
        for start in range(0, 5, size):
            part = batch[start : start + size]
            assert np.array_equal(np.asarray(render(part))[: len(part)], whole[start : start + size])


def test_translate_gives_hu_in_the_window(translator, weights, generator):
    masks = stylegan_masks(generator, jax.random.key(0), 0.7, 1.0).draw(0, [0, 1, 2])
    hu = translate(translator, weights, masks, jax.random.key(2), (-1350.0, 150.0))
    assert hu.shape == masks.shape and hu.dtype == np.float32
    keys = [jax.random.fold_in(jax.random.key(2), i) for i in range(3)]
    for i in range(3):
        alone = np.asarray(blur(weights, jnp.asarray(masks[i])[None], keys[i][None])[0])
        assert np.abs(hu[i] - ((alone + 1) * 750 - 1350)).max() < 0.01


@pytest.mark.parametrize(
    "masks",
    [np.full((1, SIDE, SIDE), 255, np.uint8), np.full((1, SIDE, SIDE), -1), np.ones((1, SIDE, SIDE), np.float32)],
)
def test_masks_of_other_labels_are_not_translated(translator, weights, masks):
    with pytest.raises(UserError, match=r"masks to translate: .*0 to 5"):
        translate(translator, weights, masks, jax.random.key(0), WINDOW)


def test_fingerprints_tell_values_types_and_names_apart():
    base = {"a": jnp.arange(3.0), "k": jax.random.key(0)}
    assert fingerprint(base) == fingerprint(jax.tree.map(jnp.copy, base))
    others = [
        {**base, "a": jnp.arange(3.0).at[2].set(2.0000002)},
        {**base, "a": jnp.arange(3)},
        {**base, "a": jnp.arange(3.0)[None]},
        {**base, "k": jax.random.key(1)},
        {"b": base["a"], "k": base["k"]},
    ]
    assert len({fingerprint(tree) for tree in [base, *others]}) == 6


@pytest.mark.parametrize("pixel_mm", [0.7, 1.4, 2.8])
def test_boxes_and_the_gate_agree_on_what_is_a_speck(pixel_mm):
    mask = np.full((40, 40), labels.LEFT_LUNG, np.uint8)
    for place, side in enumerate((1, 2, 3, 5, 7)):
        mask[8 * place : 8 * place + side, :side] = labels.NODULE
    boxes = {tuple(one["bbox"]) for one in coco.objects(coco.CocoImage(0, "a.png", mask, pixel_mm), coco.SYNTHETIC)[0]}
    found = plausibility.nodule_components(mask, pixel_mm)
    assert boxes == {one.box for one in found if not one.is_speckle} and 0 < len(boxes) < len(found) == 5
