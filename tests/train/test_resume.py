"""Killed, interrupted and resumed runs in processes of their own end bit-equal to an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).with_name("toy.py")
IMAGES = 800
STEPS = IMAGES // 4


def start(directory, seconds):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen([sys.executable, TOY, directory, str(IMAGES), str(seconds)], env=environment)


def wait_for(condition, process, seconds=240):
    """True once the condition holds; False if the process ended first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    raise AssertionError("waited too long")


def log(directory):
    text = (directory / "log.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    directory = tmp_path_factory.mktemp("unbroken")
    assert start(directory, 0.0).wait(500) == 0
    return directory


def final_equals(directory, unbroken):
    assert (directory / "final").read_bytes() == (unbroken / "final").read_bytes()
    lines = log(directory)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))


def saved_steps(directory):
    return [int(path.parent.name) for path in (directory / "checkpoints").glob("*/manifest.json")]


def test_killed_run_resumes_bit_equal(tmp_path, unbroken):
    for _ in range(2):
        before = max(saved_steps(tmp_path), default=0)
        process = start(tmp_path, 0.02)
        assert wait_for(lambda before=before: max(saved_steps(tmp_path), default=0) > before, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "final").exists()
    assert start(tmp_path, 0.0).wait(500) == 0
    final_equals(tmp_path, unbroken)


def test_sigterm_saves_and_exits_143(tmp_path, unbroken):
    process = start(tmp_path, 0.02)
    assert wait_for(lambda: (tmp_path / "log.jsonl").exists() and len(log(tmp_path)) > 5, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    assert max(saved_steps(tmp_path)) == log(tmp_path)[-1]["step"] < STEPS
    assert start(tmp_path, 0.0).wait(500) == 0
    final_equals(tmp_path, unbroken)
