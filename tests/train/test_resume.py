"""Killed, interrupted and resumed runs in processes of their own end bit-equal to an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import toy

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


def saved_steps(directory):
    return [int(path.parent.name) for path in (directory / "checkpoints").glob("*/manifest.json")]


def test_a_run_that_is_killed_then_interrupted_resumes_bit_equal(tmp_path):
    (tmp_path / "unbroken").mkdir()
    assert toy.main(tmp_path / "unbroken", IMAGES, 0.0) == 0

    broken = tmp_path / "broken"
    broken.mkdir()
    process = start(broken, 0.02)
    assert wait_for(lambda: saved_steps(broken), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL

    before = max(saved_steps(broken))
    process = start(broken, 0.02)
    assert wait_for(lambda: max(saved_steps(broken)) > before, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    assert before < max(saved_steps(broken)) == log(broken)[-1]["step"] < STEPS
    assert not (broken / "final").exists()

    assert start(broken, 0.0).wait(500) == 0
    assert (broken / "final").read_bytes() == (tmp_path / "unbroken" / "final").read_bytes()
    assert [line["step"] for line in log(broken)] == list(range(1, STEPS + 1))
