"""Training that begins with the weights of other networks."""

import json
import shutil

import jax
import numpy as np
import pytest
from trained_run import CONFIG

from tsgan_jax.config import Config
from tsgan_jax.config.reading import load_config, run_config
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import start
from tsgan_jax.experiment.dry_run import describe
from tsgan_jax.experiment.train import train
from tsgan_jax.files import file_sha256, read_json
from tsgan_jax.generation import packed, runs
from tsgan_jax.train.hooks import Console


class Quiet(Console):
    def say(self, line):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for runs, with compiled programs of its own."""
    root = tmp_path_factory.mktemp("start")
    cache = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield root
    jax.config.update("jax_compilation_cache_dir", cache)


def still(config: Config, folder, masks, translation) -> Config:
    """The experiment on a few phantoms with networks to begin with, at a learning rate that hardly moves them."""
    tree = config.model_dump(mode="json")
    tree["data"] |= {"phantom": {"patients": 5, "slices": 1, "size": 64}, "prepared": str(folder / "prepared")}
    slow = {"steps_per_resolution": 2, "learning_rate": 1e-9, "fade_fraction": 0.0, "ema_half_life": 1}
    tree["masks"] |= {**slow, "start_from": masks}
    tree["translation"] |= {"epochs": 1, "decay_start": 0, "learning_rate": 1e-9, "start_from": translation}
    tree["generation"] |= {"count": 1, "attempts": 1}
    return Config.model_validate(tree)


def same(ours, theirs) -> bool:
    close = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-5), ours, theirs)
    return all(jax.tree.leaves(close))


def rows(run, stage) -> list[dict]:
    return [json.loads(line) for line in (run / stage / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_training_begins_with_a_network_of_the_package(folder):
    theirs, run = packed.shipped("phantom-64"), folder / "from_network"
    config = still(run_config(theirs), folder, "phantom-64", "phantom-64")
    train(config, run, Quiet())
    before, after = runs.restore(theirs), runs.restore(run)
    assert same(after.generator.params, before.generator.params)
    assert same(after.generator.w_avg, before.generator.w_avg * 0.995**2) is False  # w_avg goes on from theirs ...
    assert np.abs(after.generator.w_avg - before.generator.w_avg).max() < 0.1  # ... and does not begin at 0
    assert same(after.translator_state.generator.params, before.translator_state.generator.params)
    assert {row["resolution"] for row in rows(run, "masks")} == {32}
    for stage in ("masks", "translation"):
        noted = read_json(run / stage / "manifest.json")
        assert noted["start_from"] == {"source": "phantom-64", "sha256": file_sha256(theirs / f"{stage}.npz")}
        assert noted["settings"][f"{stage}.start_from"] == "phantom-64"


@pytest.mark.slow
def test_a_run_gives_its_critic_too_and_a_resume_does_not_read_it_again(trained, folder):
    theirs, run = shutil.copytree(trained, folder / "theirs"), folder / "from_run"
    config = still(run_config(trained), folder, str(theirs), str(theirs))
    train(config, run, Quiet())
    theirs_masks, *_ = runs.trained_masks(theirs, run_config(theirs))
    ours_masks, *_ = runs.trained_masks(run, config)
    assert same((ours_masks.gen, ours_masks.critic), (theirs_masks.gen, theirs_masks.critic))
    assert int(ours_masks.step) == 2
    shutil.rmtree(theirs)
    noted = read_json(run / "translation" / "manifest.json")
    longer = config.model_copy(update={"translation": config.translation.model_copy(update={"epochs": 2})})
    train(longer, run, Quiet(), "translation", ["translation.epochs"])
    assert read_json(run / "translation" / "manifest.json")["start_from"] == noted["start_from"]
    assert noted["start_from"]["source"] == str(theirs) and len(noted["start_from"]["sha256"]) == 64
    assert rows(run, "translation")[-1]["images"] == 2 * noted["slices"]
    with pytest.raises(UserError, match="masks.start_from: trained with"):
        train(still(run_config(trained), folder, None, str(theirs)), run, Quiet())


@pytest.mark.parametrize(
    ("stage", "setting", "message"),
    [
        ("masks", "masks.z_dim=16", "are those of masks.z_dim=8$"),
        ("masks", "masks.fmap_base=32", "are those of masks.fmap_base=64$"),
        ("masks", "masks.representation=distance", "are those of masks.representation=one_hot$"),
        ("masks", "masks.grow_to=8", "has grown to 16 px; of this config that is no phase: see masks.grow_to, 8 px"),
        ("translation", "translation.generator_width=8", "are those of translation.generator_width=4$"),
        ("translation", "translation.method=dl_pix2pix", "is of translation.method pix2pix, this config of dl_pix2pix"),
        ("masks", "masks.start_from=lung", "masks.start_from: no network is called 'lung'; there are luna16-128"),
        ("translation", "translation.start_from=/", "translation.start_from: /: not a run directory"),
    ],
)
def test_other_networks_are_refused_with_the_setting(trained, tmp_path, stage, setting, message):
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    from_run = [f"masks.start_from={trained}", f"translation.start_from={trained}"]
    start.check(load_config(file, [*from_run, "masks.learning_rate=0.1", "translation.epochs=300"]), stage, print)
    with pytest.raises(UserError, match=message):
        start.check(load_config(file, [*from_run, setting]), stage, print)


def test_a_packed_folder_does_not_name_the_place(trained):
    config = run_config(trained, [f"masks.start_from={trained}", f"translation.start_from={trained}"])
    assert packed.without_paths(config) == packed.without_paths(run_config(trained))


def test_a_dry_run_tells_it(trained, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    plan, problem = describe(load_config(file, [f"masks.start_from={trained}"]), tmp_path / "run", ["masks"])
    assert f"begins with the weights of {trained}, in phase 5" in plan and problem is None
    _, problem = describe(load_config(file, ["masks.start_from=lung"]), tmp_path / "run", ["masks"])
    assert problem.startswith("masks.start_from: no network is called 'lung'")
