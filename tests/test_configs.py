"""Every shipped config goes through the whole path, shrunk to a size that a test can afford."""

from pathlib import Path

import pytest

from tsgan_jax.configio import load_config

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_configs_open_with_their_command_and_cost():
    for path in CONFIGS:
        head = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
        assert f"bin/train --config {path.relative_to(ROOT)}" in head, path.name


SHRUNK = [
    "data.resolution=16",
    "data.phantom={patients: 6, slices: 1, size: 64}",
    "masks.z_dim=8",
    "masks.w_dim=8",
    "masks.mapping_layers=2",
    "masks.fmap_base=64",
    "masks.fmap_max=8",
    "masks.batch_size={4: 4, 8: 4, 16: 4}",
    "masks.steps_per_resolution=2",
    "masks.fade_fraction=0",
    "translation.epochs=1",
    "translation.decay_start=0",
    "translation.generator_width=8",
    "translation.critic_width=8",
    "translation.critic_layers=1",
    "translation.perceptual=off",
    "generation.count=2",
    "generation.attempts=1",
    "detection=null",  # trains in an environment of its own; tests/detect
]
"""Overrides that leave a config's method and its own choices as they are, and shrink the rest."""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_config_runs_from_data_to_set(path, tmp_path):
    from tsgan_jax.cli._console import PlainConsole
    from tsgan_jax.experiment import train

    config = load_config(path, [*SHRUNK, "data.root=null", f"data.prepared={tmp_path / 'prepared'}"])
    run = tmp_path / "run"
    train(config, run, PlainConsole())
    for stage in ("masks", "translation"):
        assert (run / stage / "log.jsonl").read_text().strip(), stage
        assert list((run / stage / "samples").glob("*.png")), stage
    assert (run / "sets" / "synthetic" / "annotations.json").is_file()
    assert (run / "report.html").is_file() == config.run.evaluate
