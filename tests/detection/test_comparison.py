"""The whole comparison: with real detectors where there are some, and without one for what never comes to them."""

import json
import socket
from dataclasses import replace

import numpy as np
import pytest

from tests.detection import comparison_case
from tsgan_jax import labels
from tsgan_jax.config import Config, DetectionConfig
from tsgan_jax.detection import comparison, run_detection, worker
from tsgan_jax.detection.datasets import training_sets
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.records import DETECTION
from tsgan_jax.files import read_json, read_object, write_json


def with_detection(config: Config, **values) -> Config:
    assert config.detection is not None
    return config.model_copy(update={"detection": config.detection.model_copy(update=values)})


@pytest.fixture
def failing_python(tmp_path):
    """Passes as a Python with ultralytics, and fails at every job."""
    path = tmp_path / "python"
    path.write_text('#!/bin/sh\n[ "$2" = -c ] && exit 0\necho "ImportError: libGL.so.1"\nexit 1\n')
    path.chmod(0o755)
    return path


def test_a_config_without_detection_is_refused(case, run):
    with pytest.raises(UserError, match="detection: not in the config"):
        run_detection(run, case.config.model_copy(update={"detection": None}))


def test_a_leak_is_refused_before_anything_is_trained(case, run, failing_python):
    manifest = run / "translation" / "manifest.json"
    settings = {**read_object(manifest)["settings"], "data.test_fold": 4}
    write_json(manifest, {**read_object(manifest), "settings": settings})
    with pytest.raises(UserError, match="leak: .*stage translation was trained with data.test_fold 4"):
        run_detection(run, with_detection(case.config, python=failing_python))
    assert not list((run / "detection").glob("fold_*"))


def test_a_failing_worker_is_reported_for_each_figure(case, run, failing_python):
    said: list[str] = []
    records = run_detection(run, with_detection(case.config, python=failing_python), said.append)
    assert {(r.subject, r.metric) for r in records} == {(s, f) for s in ("real", "real+2") for f in DETECTION}
    assert all(r.value is None and "libGL.so.1" in str(r.reason) and "tried 2 times" in str(r.reason) for r in records)
    assert all(r.method == "YOLOv8n" and r.fold == 0 and r.kind == "detection" for r in records)
    assert sum("trying once more" in line for line in said) == 2
    assert any("too small for a comparison of detectors" in line for line in said)


def test_a_set_with_too_few_images_is_told(case, run, failing_python):
    chosen = with_detection(case.config, python=failing_python, schedule=(0, 50))
    by_set = {r.subject: r for r in run_detection(run, chosen, lambda line: None)}
    assert "has 3 of the 50 synthetic images requested; extend it with bin/generate" in str(by_set["real+50"].reason)


@pytest.mark.parametrize("fault", ["box", "empty", "missing"])
def test_a_faulty_synthetic_set_leaves_the_real_ones(case, run, failing_python, fault, tmp_path):
    directory = run / "sets" / "synthetic"
    if fault == "box":
        tree = read_json(directory / "annotations.json")
        tree["annotations"][0]["bbox"] = [-3, 0, 5, 5]
        write_json(directory / "annotations.json", tree)
    if fault == "empty":
        directory = comparison_case.write_set(tmp_path / "empty", case.others, case.config, 0)
    if fault == "missing":
        directory = tmp_path / "nowhere"
    records = run_detection(run, with_detection(case.config, python=failing_python), print, synthetic=directory)
    wanted = {"box": "annotations.json missing or changed", "empty": "the set is empty", "missing": "not a set"}[fault]
    reasons = {record.subject: str(record.reason) for record in records}
    assert wanted in reasons["real+2"] and wanted not in reasons["real"] and "worker" in reasons["real"]


def test_a_fold_without_nodules_is_told_and_the_other_is_tested(case, tmp_path, failing_python, monkeypatch):
    """Fold 0's nodules become lung before anything of it is exported."""
    config = with_detection(case.config, python=failing_python, schedule=(0,))
    config = config.model_copy(update={"data": config.data.model_copy(update={"test_fold": (0, 1)})})
    load = comparison.load

    def without_nodules(data, folds):
        slices = load(data, folds)
        healthy = np.where(slices.mask == labels.NODULE, labels.LEFT_LUNG, slices.mask).astype(np.uint8)
        return replace(slices, mask=healthy) if list(folds) == [0] else slices

    monkeypatch.setattr(comparison, "load", without_nodules)
    records = run_detection(tmp_path / "run", config, lambda line: None)
    reasons = {record.fold: str(record.reason) for record in records}
    assert "fold 0 has" in reasons[0] and "without a nodule" in reasons[0]
    assert "worker" in reasons[1]


def test_every_training_set_has_its_own_folder():
    names = [one.name for one in training_sets(DetectionConfig())]
    assert len({name.replace(", ", "_").replace("+", "_plus_") for name in names}) == len(names)


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0)])
def test_the_worker_contacts_no_one(address):
    with pytest.raises(OSError, match="no network"):
        worker.stay_on_this_machine("socket.connect", (None, address))
    with pytest.raises(OSError, match="no network"):
        worker.stay_on_this_machine("socket.getaddrinfo", ("example.org", 80, 0, 0, 0))


@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 80, 0, 0), "/run/local.socket"])
def test_the_worker_may_talk_to_itself(address):
    worker.stay_on_this_machine("socket.connect", (socket.socket, address))
    worker.stay_on_this_machine("open", ("file", "r", 0))


@pytest.mark.slow
def test_real_detectors_are_trained_judged_and_kept(case, run, detector_python):
    """Two trainings of an epoch, by ultralytics itself; the second call trains nothing."""
    config = with_detection(case.config, python=detector_python)
    records = run_detection(run, config)
    searched = [r for r in records if r.kind == "detectability"]
    values = {(r.subject, r.metric): r for r in records if r.kind == "detection"}
    assert len(values) == 12 and all(r.value is not None for r in values.values())
    assert searched and searched[0].subject == "all" and (searched[0].value is not None or searched[0].reason)
    found = run / "detection" / "fold_0" / "yolov8n" / "found_synthetic" / "seed_0" / "result.json"
    assert read_json(found)["images"] == 3 and not (found.parent / "detector.pt").exists()
    assert values["real+2", "mAP50"].details["images"] == values["real", "mAP50"].details["images"] + 2
    assert values["real", "mAP50"].details["start"].startswith("random weights")
    assert 0 <= values["real", "mAP50"].value <= 1
    assert values["real+2", "mAP50 - real"].interval is not None
    assert values["real+2", "mAP50"].made_from["synthetic"] and "synthetic" not in values["real", "mAP50"].made_from
    folder = run / "detection" / "fold_0" / "yolov8n" / "real" / "seed_0"
    assert json.loads((folder / "result.json").read_text())["figures"].keys() == set(DETECTION)
    written = (folder / "result.json").stat().st_mtime_ns
    assert run_detection(run, config) == records
    assert (folder / "result.json").stat().st_mtime_ns == written
