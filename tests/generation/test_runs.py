"""Networks are read back as they were saved, and reading leaves a run as it was."""

import shutil

import jax
import numpy as np
import pytest
from trained_run import config_at, save_masks, save_translation

from tsgan_jax.cli.generate import main
from tsgan_jax.config.reading import run_config
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_object, write_json
from tsgan_jax.generation import runs
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.train.checkpoint import size
from tsgan_jax.translation.registry import translator


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_both_networks_come_back_as_saved(run):
    trained = runs.restore(run)
    config = run_config(run)
    state = jax.jit(stylegan(config.masks, plan(config.masks)[-1]).init)(jax.random.key(3))
    assert equal(trained.generator.params, state.ema)
    assert trained.generator.size == 16 and float(trained.generator.alpha) == 1.0
    saved = jax.jit(translator(config.translation).init)(jax.random.key(4))
    assert equal(trained.translator_state.generator.params, saved.generator.params)
    masks = np.zeros((1, 16, 16), np.uint8)
    keys = jax.random.split(jax.random.key(0), 1)
    expected = translator(config.translation).translate(saved, masks, keys)
    assert np.array_equal(trained.translator.translate(trained.translator_state, masks, keys), expected)
    assert trained.pixel_mm == 2.5 and trained.unfinished == ()
    assert {name: p["step"] for name, p in trained.source["parents"].items()} == {"masks": 4, "translation": 6}


def test_only_what_makes_images_is_read(run):
    state = runs.restore(run).translator_state
    assert state.generator.opt_state == state.critic.opt_state == () and state.frozen is None
    config = run_config(run)
    whole = jax.eval_shape(translator(config.translation).init, jax.random.key(0))
    assert size(state) < 0.4 * size(whole)  # weights, without two moments of each
    for unread in (whole.generator.opt_state, whole.critic.opt_state):
        assert size(unread) > 0


def test_translating_needs_no_vgg_file(run, tmp_path):
    """A run whose perceptual loss is on, its weight file gone."""
    config = run_config(run)
    lost = {"perceptual": True, "vgg_weights": tmp_path / "gone.npz"}
    config = config.model_copy(update={"translation": config.translation.model_copy(update=lost)})
    assert config.translation.perceptual_on
    assert runs.restore_translation(run, config)[1].frozen is None


def test_reading_changes_nothing_even_while_a_checkpoint_is_being_written(run):
    half = run / "masks" / "checkpoints" / "9"
    half.mkdir()
    (half / "state").write_bytes(b"half")
    before = names(run)
    assert runs.restore(run).source["parents"]["masks"]["step"] == 4
    assert names(run) == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(run):
    save_translation(run, run_config(run), 8, jax.random.key(5))
    assert runs.restore(run).source["parents"]["translation"]["step"] == 8
    newest = run / "translation" / "checkpoints" / "8"
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    said = []
    assert runs.restore(run, said.append).source["parents"]["translation"]["step"] == 6
    assert len(said) == 1 and "changed since it was written" in said[0]
    assert newest.is_dir()


def test_another_checkpoint_is_another_parent(run):
    first = runs.restore(run).source
    save_masks(run, run_config(run), 5, jax.random.key(8))
    second = runs.restore(run).source
    assert first["parents"]["masks"]["sha256"] != second["parents"]["masks"]["sha256"]
    assert first["parents"]["translation"] == second["parents"]["translation"]


def test_masks_that_are_still_growing_are_refused(tmp_path):
    config = config_at(tmp_path / "run")
    save_masks(tmp_path / "run", config, 2, jax.random.key(3), phase=2)
    save_translation(tmp_path / "run", config, 6, jax.random.key(4))
    with pytest.raises(UserError, match="grown to 8 of 16 px"):
        runs.restore(tmp_path / "run")


def test_a_stage_in_training_is_named(run):
    manifest = read_object(run / "translation" / "manifest.json")
    write_json(run / "translation" / "manifest.json", {**manifest, "finished": False})
    assert runs.restore(run).unfinished == ("translation",)


def test_missing_pieces_are_named(run, tmp_path):
    with pytest.raises(UserError, match=r"not a run directory.*config\.yaml"):
        runs.restore(tmp_path / "nowhere")
    shutil.rmtree(run / "translation" / "checkpoints")
    with pytest.raises(UserError, match=r"stage translation has no usable checkpoint.*bin/train"):
        runs.restore(run)
    shutil.rmtree(run / "masks")
    with pytest.raises(UserError, match="stage masks has no usable checkpoint"):
        runs.restore(run)


@pytest.mark.parametrize(
    ("key", "stated", "changed"), [("generator_width", 4, 8), ("w_dim", 8, 4), ("mapping_layers", 2, 3)]
)
def test_a_config_of_other_networks_is_refused(run, key, stated, changed):
    text = (run / "config.yaml").read_text()
    assert f"{key}: {stated}" in text
    (run / "config.yaml").write_text(text.replace(f"{key}: {stated}", f"{key}: {changed}"))
    with pytest.raises(UserError, match="a network other than the run's config"):
        runs.restore(run)


def test_the_refusal_of_other_networks_is_all_that_is_printed(run, capfd):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("w_dim: 8", "w_dim: 4"))
    assert main(["--run", str(run), "--out", "a"]) == 2
    printed = capfd.readouterr().err
    assert printed.startswith("error: ") and len(printed.splitlines()) == 2


def test_paths_do_not_decide_what_a_network_is(run):
    before = run_config(run).decisive_settings()
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("prepared: prepared", "prepared: elsewhere"))
    assert "elsewhere" in (run / "config.yaml").read_text()
    assert run_config(run).decisive_settings() == before


@pytest.mark.parametrize("kind", ["real", "deform"])
def test_what_is_made_on_masks_of_slices_does_not_depend_on_stage_1(run, kind):
    text = (run / "config.yaml").read_text()
    sources = []
    for width in (8, 4):
        (run / "config.yaml").write_text(
            text.replace("masks: stylegan", f"masks: {kind}").replace("w_dim: 8", f"w_dim: {width}")
        )
        sources.append(runs.restore(run).source)
    assert sources[0] == sources[1] and sources[0]["parents"].keys() == {"translation"}
