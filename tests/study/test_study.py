"""A whole study, small: shared stages trained once, a system left out with its reason, resumed, drawn."""

import csv
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests.experiment.test_experiment import Screen
from tsgan_jax.cli import train as command
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.evaluate import attempt
from tsgan_jax.evaluation.records import Record
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.study import run as study_run
from tsgan_jax.study.run import run_study
from tsgan_jax.study.settings import load_study

STUDY = """
data: {phantom: {patients: 16, slices: 1, size: 64, nodule_mm: [20, 30]}, resolution: 32, test_fold: [0, 1, 2]}
translation: {method: pix2pix, critic_width: 4, critic_layers: 1, num_downs: 2, dropout: 0}
generation: {masks: real, count: 6}
evaluation: {features: vgg19, vgg_layer: relu1_1, bootstrap: 5}
study:
  title: Two & a half systems
  tables: [1, 4]
  parts: [images]
  budget: {epochs: 1, decay_start: 0, batch_size: 2, generator_width: 4}
  systems:
    first: {}
    second: {generation: {seed: 9}}
    heavy: {translation: {method: dl_pix2pix, num_downs: 2, critic_layers: 1}}
"""
"""On real masks, so that no stage 1 is trained; that it is shared like stage 2 is test_sharing's."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(directory, study, what was said, outcome)"""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.3, (3, 3, 3, 64)).astype(np.float32)
    np.savez(root / "vgg.npz", **{"block1_conv1/kernel": kernel, "block1_conv1/bias": np.zeros(64, np.float32)})
    (root / "small.yaml").write_text(STUDY)
    overrides = [f"data.prepared={root / 'prepared'}", f"evaluation.vgg_weights={root / 'vgg.npz'}"]
    study = load_study(root / "small.yaml", overrides)
    cache = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        screen = Screen()
        outcome = run_study(study, root / "study", screen)
        yield root / "study", study, screen.lines, outcome
    jax.config.update("jax_compilation_cache_dir", cache)


def failing(error):
    def step():
        raise error

    return step


def manifest(directory: Path, name: str, *place: str) -> dict:
    return json.loads((directory / "systems" / name).joinpath(*place, "manifest.json").read_text())


@pytest.mark.slow
def test_what_systems_share_is_trained_once(done):
    directory, _, lines, _ = done
    assert sum("from the start" in line for line in lines) == 1
    assert "stage translation: reused from first, trained with the same settings" in lines
    made = [read_manifest(directory / "systems" / name / "sets" / "synthetic") for name in ("first", "second")]
    assert made[0]["made_from"]["parents"] == made[1]["made_from"]["parents"]
    assert [one["made_from"]["seed"] for one in made] == [0, 9]
    assert all("mask_of" in record for one in made for record in one["images"])
    assert all(manifest(directory, name, "translation")["finished"] for name in ("first", "second"))


@pytest.mark.slow
def test_tables_and_page_hold_every_system(done):
    directory, _, _, _ = done
    with (directory / "tables" / "table1.csv").open() as file:
        rows = {(row["system"], row["region"], row["figure"]): row["ours"] for row in csv.DictReader(file)}
    assert rows["first", "full", "PSNR"] == rows["second", "full", "PSNR"]  # one translator, the same test masks
    assert all(float(rows[name, "full", "FD-VGG19 relu1_1"]) > 0 for name in ("first", "second"))
    assert {path.suffix for path in (directory / "tables").iterdir()} == {".md", ".csv", ".tex"}
    page = (directory / "report.html").read_text()
    assert "Two &amp; a half systems" in page and 'href="systems/second/report.html"' in page
    assert 'src="data:image/png' in page and "http" not in page.replace("http-equiv", "").replace("www.w3.org", "")


@pytest.mark.slow
def test_a_system_that_cannot_be_trained_is_left_out_aloud(done):
    directory, _, lines, (_, left_out) = done
    assert left_out.keys() == {"heavy"} and "vgg_weights" in left_out["heavy"]
    assert any(line.startswith("study: heavy: left out: ") for line in lines)
    assert "heavy is left out: " in (directory / "report.html").read_text()


@pytest.mark.slow
def test_figures_are_drawn(done):
    directory, *_ = done
    for name in ("figure4.png", "figure5.png"):
        assert (directory / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_rerun_trains_and_judges_nothing(done):
    directory, study, _, _ = done
    records = directory / "systems" / "first" / "evaluation" / "records.jsonl"
    before, screen = records.read_bytes(), Screen()
    run_study(study, directory, screen)
    assert sum(line.endswith("evaluated earlier") for line in screen.lines) == 2
    assert not any("from the start" in line or "resumed" in line for line in screen.lines)
    assert records.read_bytes() == before


@pytest.mark.slow
def test_figures_are_made_again_where_a_failure_may_pass_or_the_weights_are_others(done, monkeypatch):
    directory, study, _, _ = done
    weights, evaluated = study.systems["first"].evaluation.vgg_weights, []
    content, made = weights.read_bytes(), []
    monkeypatch.setattr(study_run, "evaluate", lambda run, *_, **__: evaluated.append(run.name) or made)

    def rerun():
        evaluated.clear()
        run_study(study, directory, Screen())
        return evaluated

    record = partial(Record, "distance", "ours")
    made += attempt(record, failing(OSError("no space")), lambda line: None)
    weights.unlink()
    assert rerun() == ["first", "second"] and rerun() == ["first", "second"]
    made[:] = attempt(record, failing(UserError("no such file")), lambda line: None)
    assert rerun() == ["first", "second"] and rerun() == []
    weights.write_bytes(content)
    assert rerun() == ["first", "second"] and rerun() == []


def test_the_key_of_figures_changes_with_each_input(tmp_path, monkeypatch):
    monkeypatch.setattr(study_run, "prepare", lambda data: SimpleNamespace(directory=scans))
    (tmp_path / "small.yaml").write_text(STUDY)
    made, vgg, scans = tmp_path / "sets" / "synthetic" / "manifest.jsonl", tmp_path / "vgg.npz", tmp_path / "a"
    made.parent.mkdir(parents=True)
    study = load_study(tmp_path / "small.yaml", [f"evaluation.vgg_weights={vgg}"])

    def key():
        return study_run._evaluation_key(study, tmp_path, study.systems["first"])

    made.write_text('{"made_from": {"seed": 1}}')
    keys = [key()]
    for path, text in ((vgg, "1"), (vgg, "2"), (made, '{"made_from": {"seed": 2}}')):
        path.write_text(text)
        keys.append(key())
    scans = tmp_path / "b"
    keys.append(key())
    assert len(set(keys)) == len(keys) and key() == keys[-1]


@pytest.mark.slow
def test_a_damaged_shared_stage_is_taken_over_again(done):
    directory, study, _, _ = done
    folder = directory / "systems" / "second" / "translation" / "checkpoints"
    newest = max(folder.iterdir(), key=lambda path: int(path.name))
    (newest / "manifest.json").unlink()
    screen = Screen()
    run_study(study, directory, screen)
    assert "stage translation: reused from first, trained with the same settings" in screen.lines
    assert not any("from the start" in line for line in screen.lines)


def test_the_command_knows_a_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(STUDY)
    assert command.main(["--config", "small.yaml", "--dry-run", "study.budget.epochs=3"]) == 0
    told = capsys.readouterr().out
    first, second = (next(line for line in told.splitlines() if line.startswith(name)) for name in ("first", "second"))
    assert "none, real masks" in first and "PFLOP" in first and "of first" in second
    assert "left out    heavy: " in told and "note        no feature distances" in told
    assert command.main(["--config", "small.yaml", "--stage", "masks"]) == 2
    assert "--stage" in capsys.readouterr().err
