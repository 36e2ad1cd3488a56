"""A whole experiment in a process that is killed at every kind of moment ends as one that is never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tsgan_jax.generation import runs
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.provenance import fingerprint

CONFIG = """
data: {phantom: {patients: 10, slices: 1, size: 64}, resolution: 16, prepared: PREPARED}
masks:
  z_dim: 8
  w_dim: 8
  mapping_layers: 1
  fmap_base: 32
  fmap_max: 8
  representation: distance
  calibrate: true
  steps_per_resolution: 12
  fade_fraction: 0.5
  batch_size: {4: 4, 8: 4, 16: 2}
translation: {method: dl_pix2pix, epochs: 2, decay_start: 1, num_downs: 2, generator_width: 4, critic_width: 4,
  critic_layers: 1, lia: false, dwmh: false, perceptual: false}
generation: {count: 6, attempts: 3, batch_size: 2}
run: {log_steps: 1, samples: 2, save_minutes: 0.002, keep: 3}
"""


def start(folder: Path, run: str) -> subprocess.Popen:
    """bin/train in a process of its own."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "tsgan_jax.cli.train", "--config", str(folder / "small.yaml"), "--run", run]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def rows(run: Path, stage: str) -> list[dict]:
    """Whole lines of a stage's log."""
    path = run / stage / "log.jsonl"
    return (
        [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]
        if path.is_file()
        else []
    )


MOMENTS = {
    "preparation": lambda run: (run.parent / "prepared").is_dir(),
    "the first steps": lambda run: len(rows(run, "masks")) >= 2,
    "a fade": lambda run: any(row["fade"] and row["resolution"] == 8 for row in rows(run, "masks")[:-2]),
    "the last resolution": lambda run: any(
        row["resolution"] == 16 and not row["fade"] for row in rows(run, "masks")[:-1]
    ),
    "stage 2": lambda run: len(rows(run, "translation")) >= 5,
    "the set": lambda run: (run / "sets" / "synthetic").is_dir(),
}


def finished(process: subprocess.Popen) -> str:
    """What a command that ends well has said."""
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    return text


def result(run: Path) -> dict:
    """Networks, logs and the records of the set's images of a finished run; times left out."""
    trained = runs.restore(run)
    assert not trained.unfinished
    logs = {stage: [{**row, "time": 0} for row in rows(run, stage)] for stage in ("masks", "translation")}
    images = read_manifest(run / "sets" / "synthetic")["images"]
    return {
        "networks": fingerprint((trained.generator.params, trained.generator.w_avg, trained.translator_state)),
        "logs": logs,
        "set": images,
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_at_every_kind_of_moment(tmp_path):
    (tmp_path / "small.yaml").write_text(CONFIG.replace("PREPARED", str(tmp_path / "killed" / "prepared")))
    run = tmp_path / "killed" / "run"
    for moment, reached in MOMENTS.items():
        process = start(tmp_path, str(run))
        while process.poll() is None and not reached(run):
            time.sleep(0.01)
        assert process.poll() is None, f"ended before {moment}: {process.communicate()[0]}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    told = finished(start(tmp_path, str(run)))
    assert "finished earlier" in told  # both stages were done when the set was cut off
    finished(start(tmp_path, str(tmp_path / "whole")))
    killed, whole = result(run), result(tmp_path / "whole")
    assert killed["set"] and killed == whole
