"""A changed config must describe what the run's checkpoints hold, before anything of it is written."""

import shutil

import jax
import pytest
from trained_run import CONFIG

import tsgan_jax.experiment.train as experiment
from tsgan_jax.config.reading import load_config
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import rundir
from tsgan_jax.files import read_object, write_json
from tsgan_jax.train.hooks import Console


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    run = shutil.copytree(trained, tmp_path_factory.mktemp("changes") / "run")
    config = load_config(run / "config.yaml")
    for stage in rundir.STAGES:
        settings = rundir.settings(config, stage)
        write_json(run / stage / "manifest.json", {"settings": settings, "images_seen": 6, "changes": []})
    return run


def files(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("translation.generator_width=8", "the config asks for float32"),
        ("translation.critic_layers=1", "such differences"),
        ("translation={method: cyclegan, generator_width: 4, critic_layers: 1}", "such differences"),
        ("masks.z_dim=16", "the config asks for float32"),
        ("masks.fmap_base=32", "such differences"),
        ("masks.grow_to=8", "of the changed plan"),
        ("masks.steps_per_resolution=200", "change the lengths of later phases only"),
    ],
)
def test_a_change_of_networks_is_refused_and_nothing_written(run, tmp_path, monkeypatch, setting, message):
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    config = load_config(file, [setting])
    before = files(run)

    class Slices:
        ct = mask = jax.numpy.zeros((4, 16, 16), "uint8")
        pixel_mm = jax.numpy.ones(4)

        def __len__(self):
            return 4

    monkeypatch.setattr(experiment, "_slices", lambda config, console: (Slices(), Slices()))
    monkeypatch.setattr(experiment, "keep_compiled", lambda: None)
    with pytest.raises(UserError, match=message):
        experiment.train(config, run, type("Silent", (Console,), {})(), "all", ["masks", "translation"])
    assert files(run) == before


def test_a_change_of_pace_is_known_to_load(run):
    config = load_config(run / "config.yaml", ["masks.learning_rate=0.5", "translation.epochs=700"])
    differences = rundir.compare(run, config, ["masks", "translation"])
    assert sorted(differences) == ["masks", "translation"]
    rundir.check_loads(run, config, differences, 4)


def test_a_damaged_checkpoint_does_not_decide(run):
    config = load_config(run / "config.yaml", ["translation.generator_width=8"])
    differences = rundir.compare(run, config, ["translation"])
    (folder,) = (run / "translation" / "checkpoints").glob("[0-9]*")
    manifest = read_object(folder / "manifest.json")
    write_json(folder / "manifest.json", {**manifest, "sha256": {}})
    try:
        with pytest.raises(UserError):
            rundir.check_loads(run, config, differences, 4)
        write_json(folder / "manifest.json", {**manifest, "sha256": {"state/none": "0"}})
        rundir.check_loads(run, config, differences, 4)
    finally:
        write_json(folder / "manifest.json", manifest)
