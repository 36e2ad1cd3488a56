"""A worker that crashes or hangs is started once more and then reported; what is finished is kept.

The interpreters here are scripts in the worker's place, so that it can fail on demand.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tsgan_jax.detection import training
from tsgan_jax.detection.training import Job, installed_meanwhile, interpreter, run
from tsgan_jax.errors import UserError

WRITES = """
import json, sys
job = json.load(open(sys.argv[-1]))
folder = job["folder"]
result = {"images": IMAGES, "figures": {}, "seed": job["seed"], "weights": job["weights_sha256"]}
open(folder + "/result.json", "w").write(json.dumps(result))
"""


def stand_in(folder: Path, python: str, before: str = "") -> Path:
    """An interpreter that notes its call and runs `python` with the job's path instead of the worker."""
    script = folder / "script.py"
    script.write_text(python)
    path = folder / "python"
    path.write_text(f'#!/bin/sh\necho call >> "{folder}/calls"\n{before}\nexec "{sys.executable}" "{script}" "$@"\n')
    path.chmod(0o755)
    return path


def calls(folder: Path) -> int:
    path = folder / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        folder=tmp_path / "a fold" / "seed_0",
        model="yolov8n",
        data=tmp_path / "data.yaml",
        images=5,
        epochs=4,
        batch_size=2,
        image_size=32,
        learning_rate=0.002,
        seed=0,
        augmented=False,
        weights=None,
        device="cpu",
        made_from={"real": "abc"},
    )


def trained(job: Job, python: Path, said: list[str], minutes: float = 1.0):
    return run(job, python, job.folder.parent / "settings", minutes, said.append)


def test_a_finished_training_is_not_done_again(job, tmp_path):
    said: list[str] = []
    python = stand_in(tmp_path, WRITES.replace("IMAGES", "5"))
    first, second = trained(job, python, said), trained(job, python, said)
    assert first == second and first["images"] == 5
    assert calls(tmp_path) == 1
    assert len(said) == 1 and "its progress is in worker.log" in said[0]


@pytest.mark.parametrize("change", [{"epochs": 5}, {"made_from": {"real": "other"}}, {"seed": 1}, {"augmented": True}])
def test_another_job_is_trained_anew(job, tmp_path, change):
    python = stand_in(tmp_path, WRITES.replace("IMAGES", "5"))
    trained(job, python, [])
    trained(replace(job, **change), python, [])
    assert calls(tmp_path) == 2


def test_weights_are_compared_by_content(job, tmp_path):
    python = stand_in(tmp_path, WRITES.replace("IMAGES", "5"))
    (tmp_path / "a.pt").write_bytes(b"one")
    (tmp_path / "b.pt").write_bytes(b"one")
    trained(replace(job, weights=tmp_path / "a.pt"), python, [])
    trained(replace(job, weights=tmp_path / "b.pt"), python, [])
    assert calls(tmp_path) == 1
    (tmp_path / "b.pt").write_bytes(b"two")
    trained(replace(job, weights=tmp_path / "b.pt"), python, [])
    assert calls(tmp_path) == 2


def test_a_damaged_result_is_made_again(job, tmp_path):
    python = stand_in(tmp_path, WRITES.replace("IMAGES", "5"))
    trained(job, python, [])
    (job.folder / "result.json").write_text("{")
    assert isinstance(trained(job, python, []), dict)
    assert calls(tmp_path) == 2


def test_a_crash_is_tried_once_more_and_then_reported(job, tmp_path):
    said: list[str] = []
    outcome = trained(job, stand_in(tmp_path, "raise MemoryError('no room')"), said)
    assert calls(tmp_path) == 2
    assert "exit code 1: MemoryError: no room" in outcome and "tried 2 times" in outcome
    assert len(said) == 2 and "trying once more" in said[1]


def test_a_crash_that_does_not_come_again_is_survived(job, tmp_path):
    once = 'if [ "$(wc -l < CALLS)" = 1 ]; then kill -9 $$; fi'.replace("CALLS", f'"{tmp_path}/calls"')
    said: list[str] = []
    outcome = trained(job, stand_in(tmp_path, WRITES.replace("IMAGES", "5"), once), said)
    assert isinstance(outcome, dict)
    assert "ended by signal 9" in said[1]


def test_a_hung_worker_and_what_it_started_are_ended(job, tmp_path):
    started = f"""
import subprocess, time
open({str(tmp_path / "pid")!r}, "w").write(str(subprocess.Popen(["sleep", "300"]).pid))
time.sleep(300)
"""
    begun = time.monotonic()
    outcome = trained(job, stand_in(tmp_path, started), [], minutes=0.02)
    assert "still running after 0.02 minutes (detection.timeout_minutes)" in outcome
    assert calls(tmp_path) == 2 and time.monotonic() - begun < 60
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not gone(child):
        time.sleep(0.1)
    assert gone(child)


def gone(pid: int) -> bool:
    """Ended, if perhaps not yet waited for by its new parent."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def test_images_that_the_worker_passed_over_are_noticed(job, tmp_path):
    outcome = trained(job, stand_in(tmp_path, WRITES.replace("IMAGES", "4")), [])
    assert "the worker used 4 of 5 training images" in outcome


def test_a_refusal_is_not_tried_again(job, tmp_path):
    refuses = """
import json, sys
open(json.load(open(sys.argv[-1]))["folder"] + "/refused.txt", "w").write("does not fit")
sys.exit(3)
"""
    outcome = trained(job, stand_in(tmp_path, refuses), [])
    assert (outcome, calls(tmp_path)) == ("does not fit", 1)


def test_missing_weights_are_named(job, tmp_path):
    outcome = trained(replace(job, weights=tmp_path / "none.pt"), stand_in(tmp_path, ""), [])
    assert "detection.weights" in outcome and "none.pt" in outcome
    assert calls(tmp_path) == 0


def test_an_interpreter_without_ultralytics_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no ultralytics"):
        interpreter(Path(sys.executable))
    with pytest.raises(UserError, match="cannot be run"):
        interpreter(tmp_path / "nowhere")


def test_an_installation_meanwhile_has_the_lowest_priority_and_ends_with_its_block(tmp_path, monkeypatch):
    maker, noted = tmp_path / "maker", tmp_path / "noted"
    maker.write_text(f'#!/bin/sh\nsleep 1\necho $$ "$(nice)" > "{noted}.part"\nmv "{noted}.part" "{noted}"\nsleep 60\n')
    maker.chmod(0o755)
    monkeypatch.setattr(training, "MAKER", maker)
    with installed_meanwhile(tmp_path / "python"):
        pass
    assert not noted.exists()
    started = time.monotonic()
    with installed_meanwhile(None):
        while not noted.exists():
            assert time.monotonic() - started < 50
            time.sleep(0.1)
    assert time.monotonic() - started < 50
    process, niceness = map(int, noted.read_text().split())
    assert niceness == 19
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
