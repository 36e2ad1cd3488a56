"""A run directory holds one experiment."""

import json

import pytest

from tsgan_jax.config import Config
from tsgan_jax.config.reading import load_config, with_absolute_paths
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import rundir


def changed(**sections):
    return Config.model_validate({"data": {"resolution": 64}, **sections})


def check_config(run, config, allowed=()):
    rundir.accept(run, config, rundir.compare(run, config, allowed))


@pytest.fixture
def run(tmp_path):
    """A run whose stage masks has a checkpoint and whose stage translation has only begun."""
    config = changed()
    check_config(tmp_path, config)
    for stage in rundir.STAGES:
        rundir.begin_stage(tmp_path, config, stage, 100, {"slices_sha256": "abc"})
    saved = tmp_path / "masks" / "checkpoints" / "7"
    saved.mkdir(parents=True)
    (saved / rundir.MANIFEST).write_text("{}")
    return tmp_path


def manifest(run, stage):
    return json.loads((run / stage / rundir.MANIFEST).read_text())


def test_config_is_kept_resolved(run):
    assert load_config(run / "config.yaml") == with_absolute_paths(changed())


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"run": {"save_minutes": 1.0, "keep": 5}},
        {"generation": {"count": 3}},
        {"data": {"resolution": 64, "root": "/elsewhere", "prepared": "there"}},
        {"translation": {"method": "dl_pix2pix", "epochs": 150}},  # nothing of stage 2 is trained
    ],
)
def test_changes_without_effect_on_trained_stages_are_accepted(run, sections):
    check_config(run, changed(**sections))
    assert load_config(run / "config.yaml") == with_absolute_paths(changed(**sections))


@pytest.mark.parametrize(
    "sections, key, old, new",
    [
        ({"masks": {"learning_rate": 0.5}}, "masks.learning_rate", "0.002", "0.5"),
        ({"masks": {"batch_size": {**Config().masks.batch_size, 32: 4}}}, "masks.batch_size.32", "16", "4"),
        ({"seed": 3}, "seed", "0", "3"),
        ({"data": {"resolution": 64, "test_fold": 2}}, "data.test_fold", "0", "2"),
    ],
)
def test_change_of_a_trained_stage_is_refused_with_the_difference(run, sections, key, old, new):
    with pytest.raises(UserError) as refusal:
        check_config(run, changed(**sections))
    assert f"{key}: trained with {old}, now {new}" in str(refusal.value)
    assert f"--allow-config-change {key}" in str(refusal.value)
    assert load_config(run / "config.yaml") == with_absolute_paths(changed())


def test_allowed_change_is_taken_and_recorded(run):
    config = changed(masks={"learning_rate": 0.5})
    check_config(run, config, ["masks.learning_rate"])
    assert manifest(run, "masks")["changes"] == [
        {"key": "masks.learning_rate", "from": 0.002, "to": 0.5, "images_seen": 0}
    ]
    check_config(run, config)
    with pytest.raises(UserError):
        check_config(run, changed())


def test_a_section_allows_its_keys_and_no_others(run):
    config = changed(masks={"learning_rate": 0.5}, seed=1)
    with pytest.raises(UserError) as refusal:
        check_config(run, config, ["masks"])
    assert "seed: trained with 0, now 1" in str(refusal.value)
    assert "masks.learning_rate" not in str(refusal.value)


def test_other_data_under_the_same_config_is_refused(run):
    with pytest.raises(UserError, match="was trained with slices_sha256 'abc', now it is 'xyz'"):
        rundir.check_facts(run, "masks", {"slices_sha256": "xyz"}, [])
    rundir.check_facts(run, "masks", {"slices_sha256": "xyz"}, ["slices_sha256"])
    rundir.begin_stage(run, changed(), "masks", 100, {"slices_sha256": "xyz"})
    assert manifest(run, "masks")["slices_sha256"] == "xyz"


def test_another_number_of_cores_is_said_on_a_resume_and_kept(run, monkeypatch):
    said = []
    first = rundir.cores()
    assert manifest(run, "masks")["cores"] == [first]
    for now in (first, first + 1, first + 1, first):
        monkeypatch.setattr(rundir, "cores", lambda now=now: now)
        rundir.begin_stage(run, changed(), "masks", 100, {}, said.append)
        rundir.begin_stage(run, changed(), "translation", 100, {}, said.append)  # has not trained yet
    assert manifest(run, "masks")["cores"] == [first, first + 1, first]
    assert manifest(run, "translation")["cores"] == [first]
    assert len(said) == 2 and f"stage masks: trained on {first} cores so far, now on {first + 1}" in said[0]
    rundir.note_progress(run, "masks", 100, 25, total=100)
    monkeypatch.setattr(rundir, "cores", lambda: first + 2)
    rundir.begin_stage(run, changed(), "masks", 100, {}, said.append)
    assert len(said) == 2


def test_progress_is_noted(run):
    rundir.note_progress(run, "masks", 60, 15, total=100)
    assert (manifest(run, "masks")["images_seen"], manifest(run, "masks")["finished"]) == (60, False)
    rundir.note_progress(run, "masks", 100, 25, total=100)
    assert manifest(run, "masks")["finished"]


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "config.yaml").write_text("# my own\ndata: {resolution: 64}\n")
    with pytest.raises(UserError, match=r"has 'config\.yaml' and is not a run directory"):
        check_config(tmp_path, changed())
    assert (tmp_path / "config.yaml").read_text().startswith("# my own")


def test_a_run_stopped_before_its_first_stage_goes_on(tmp_path):
    check_config(tmp_path, changed())
    other = changed(generation={"count": 3})
    check_config(tmp_path, other)
    assert load_config(tmp_path / "config.yaml") == with_absolute_paths(other)


def test_relative_paths_are_kept_as_absolute_ones_and_compare_equal(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    sections = {
        "data": {"resolution": 64, "root": "tree", "prepared": "../prepared"},
        "translation": {"method": "dl_pix2pix", "vgg_weights": "vgg.npz"},
        "evaluation": {"inception_weights": "i.npz", "vgg_weights": "v.npz"},
        "detection": {"weights": {"yolov8n": "y.pt"}, "python": "venv/bin/python"},
    }
    relative, run = Config.model_validate(sections), tmp_path / "run"
    run.mkdir()
    check_config(run, relative)
    monkeypatch.chdir(tmp_path)
    kept = load_config(run / "config.yaml")
    work = tmp_path / "work"
    assert (kept.data.root, kept.data.prepared) == (work / "tree", work / "../prepared")
    assert kept.translation.vgg_weights == work / "vgg.npz"
    assert (kept.evaluation.inception_weights, kept.evaluation.vgg_weights) == (work / "i.npz", work / "v.npz")
    assert kept.detection.weights == {"yolov8n": work / "y.pt"} and kept.detection.python == work / "venv/bin/python"
    for stage in rundir.STAGES:
        rundir.begin_stage(run, relative, stage, 100, {})
        (run / stage / "checkpoints/7").mkdir(parents=True)
        (run / stage / "checkpoints/7" / rundir.MANIFEST).write_text("{}")
    assert not rundir.compare(run, kept) and not rundir.compare(run, relative)
