"""bin/train's front: arguments, messages, exit codes.  Training itself is tests/experiment's."""

import signal
from pathlib import Path

import pytest

from tsgan_jax.cli import train as command
from tsgan_jax.errors import UserError
from tsgan_jax.train.loop import Interrupted

SMALL = """\
data: {phantom: {patients: 10, slices: 1, size: 64}, resolution: 16}
masks: {z_dim: 8, w_dim: 8, mapping_layers: 1, fmap_base: 32, fmap_max: 8, steps_per_resolution: 4}
translation: {epochs: 2, decay_start: 1, num_downs: 2, generator_width: 4, critic_width: 4, critic_layers: 1,
              lia: off, dwmh: off, perceptual: off}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture
def calls(monkeypatch):
    """What the experiment is asked for, instead of training."""
    import tsgan_jax.experiment.train as experiment

    seen = []
    monkeypatch.setattr(experiment, "train", lambda *arguments: seen.append(arguments))
    return seen


def test_hands_over_what_was_asked(config, calls, capsys):
    options = ["--stage", "masks", "--allow-config-change", "masks.batch_size", "--allow-config-change", "seed"]
    assert command.main(["--config", config, *options, "seed=7", "translation.epochs=5"]) == 0
    ((chosen, run, _, stage, allowed),) = calls
    assert (chosen.seed, chosen.translation.epochs) == (7, 5)
    assert (run, stage, allowed) == (Path("runs/small"), "masks", ["masks.batch_size", "seed"])
    assert "done: runs/small" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["masks.learning_rat=1"], "did you mean 'learning_rate'?"),
        (["masks.learning_rate=fast"], "masks.learning_rate"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(config, calls, capsys, arguments, message):
    assert command.main(["--config", config, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error
    assert not calls


def test_missing_config_file(calls, capsys, tmp_path):
    assert command.main(["--config", str(tmp_path / "none.yaml")]) == 2
    assert "no such config file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault, code, message",
    [
        (UserError("data.root: no"), 2, "error: data.root: no"),
        (Interrupted(signal.SIGTERM), 143, "SIGTERM: saved in runs/small"),
        (Interrupted(signal.SIGINT), 130, "SIGINT: saved in runs/small"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "runs/small/log.jsonl"), 2, "runs/small/log.jsonl: No space left"),
    ],
)
def test_exit_codes(config, monkeypatch, capsys, fault, code, message):
    import tsgan_jax.experiment.train as experiment

    def stop(*arguments):
        raise fault

    monkeypatch.setattr(experiment, "train", stop)
    assert command.main(["--config", config]) == code
    assert message in capsys.readouterr().err


def test_settings_may_stand_on_both_sides_of_an_option(config, calls):
    assert command.main(["--config", config, "masks.z_dim=9", "--stage", "masks", "translation.epochs=3"]) == 0
    ((chosen, *_),) = calls
    assert (chosen.masks.z_dim, chosen.translation.epochs) == (9, 3)


def test_dry_run_prints_the_plan_and_touches_nothing(config, calls, capsys, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert command.main(["--config", config, "--dry-run"]) == 0
    out = capsys.readouterr().out
    # 4 steps at each of 4, 8, 16 px; half of them fade at 8 and 16.
    assert "stage masks     5 phases, 12 steps, 192 images" in out
    assert "16 fade         16          2           32" in out
    assert "about 8 slices to train on (not prepared yet)" in out
    assert "dl_pix2pix, 2 epochs, 16 steps, 16 images" in out
    assert "memory at least" in out and "disk" in out
    assert not calls and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "setting, message",
    [
        ("translation.vgg_weights=/nowhere.npz", "/nowhere.npz: no such file"),
        ("data.root=/nowhere", "data.root: /nowhere is not a folder"),
    ],
)
def test_dry_run_shows_the_plan_and_what_training_would_refuse(config, capsys, setting, message):
    settings = ["translation.perceptual=on", setting]
    assert command.main(["--config", config, "--dry-run", "--stage", "translation", *settings]) == 2
    shown = capsys.readouterr()
    assert "stage translation  dl_pix2pix" in shown.out
    assert message in shown.err


def test_a_plan_needs_neither_data_nor_weights(config, capsys):
    settings = ["translation.perceptual=on", "data.phantom=null"]
    assert command.main(["--config", config, "--dry-run", "--stage", "translation", *settings]) == 0
    shown = capsys.readouterr().out
    assert "dl_pix2pix, 2 epochs" in shown and "without VGG-19's" in shown
    assert "to be given     data.root, the folder" in shown and "; translation.vgg_weights, VGG-19's" in shown
