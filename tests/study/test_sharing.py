"""A stage or a detector is taken over whole, from a run that is fit for it, and from no other."""

import shutil

import jax
import pytest

from tests.trained_run import config_at, save_masks
from tsgan_jax.experiment import rundir
from tsgan_jax.files import read_json, read_object, write_sealed
from tsgan_jax.generation import runs
from tsgan_jax.study import sharing


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run with a finished stage 1, its config)"""
    run = tmp_path_factory.mktemp("sharing") / "donor"
    config = config_at(run)
    save_masks(run, config, 4, jax.random.key(3))
    path = run / "masks" / "manifest.json"
    write_sealed(path, {**read_object(path), "settings": rundir.settings(config, "masks")})
    (run / "masks" / "log.jsonl").write_text("{}\n")
    return run, config


@pytest.fixture
def donor(trained, tmp_path):
    """A copy, to be spoiled."""
    shutil.copytree(trained[0], tmp_path / "donor")
    return tmp_path / "donor", trained[1]


def test_a_stage_is_the_same_stage_in_the_other_run(donor, tmp_path):
    run, config = donor
    other = tmp_path / "other"
    assert sharing.donor_of("masks", other, config, [other, run]) == run
    sharing.take_over("masks", other, run)
    assert sharing.donor_of("masks", other, config, [run]) is None  # it has it now
    ours, theirs = (runs.restore_masks(one, config)[1] for one in (other, run))
    assert ours == theirs and ours["sha256"]
    (other / "masks" / "log.jsonl").write_text("changed\n")
    write_sealed(other / "masks" / "manifest.json", {})
    assert (run / "masks" / "log.jsonl").read_text() == "{}\n"
    assert read_json(run / "masks" / "manifest.json")["finished"]


def test_a_damaged_or_unfinished_own_stage_is_replaced(donor, tmp_path):
    run, config = donor
    other = tmp_path / "other"
    sharing.take_over("masks", other, run)
    (other / "masks" / "checkpoints" / "4" / "manifest.json").unlink()
    assert sharing.donor_of("masks", other, config, [run]) == run
    sharing.take_over("masks", other, run)
    assert sharing.donor_of("masks", other, config, [run]) is None
    assert [path.name for path in other.iterdir()] == ["masks"]


def test_what_was_trained_otherwise_is_no_donor(donor, tmp_path):
    run, config = donor
    other, path = tmp_path / "other", run / "masks" / "manifest.json"
    for changed in (
        config.model_copy(update={"seed": 1}),
        config.model_copy(update={"masks": config.masks.model_copy(update={"learning_rate": 0.1})}),
    ):
        assert sharing.donor_of("masks", other, changed, [run]) is None
    generation = config.generation.model_copy(update={"seed": 1})
    assert sharing.donor_of("masks", other, config.model_copy(update={"generation": generation}), [run]) == run
    write_sealed(path, {**read_object(path), "finished": False})
    assert sharing.donor_of("masks", other, config, [run]) is None


def test_detectors_on_real_images_alone_are_taken_over(tmp_path):
    def result(run, name):
        folder = tmp_path / run / "detection" / "fold_0" / "yolov8n" / name / "seed_0"
        folder.mkdir(parents=True)
        for file in ("job.json", "result.json"):
            (folder / file).write_text(f'"{run}"')
        return folder

    for name in ("real", "real_augmented", "real_plus_50"):
        result("one", name)
    result("two", "real")
    assert sharing.take_over_detectors(tmp_path / "two", [tmp_path / "one"]) == 1
    found = {path.parts[-3]: path.read_text() for path in (tmp_path / "two").rglob("result.json")}
    assert found == {"real": '"two"', "real_augmented": '"one"'}
