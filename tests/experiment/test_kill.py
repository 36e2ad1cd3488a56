"""A whole experiment in a process that is killed at every kind of moment ends as one that is never stopped."""

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax
import pytest

from tsgan_jax.cli.train import main
from tsgan_jax.generation import runs
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.runs import fingerprint

CONFIG = """
data: {phantom: {patients: 5, slices: 1, size: 64}, resolution: 16, prepared: PREPARED}
masks:
  z_dim: 8
  w_dim: 8
  mapping_layers: 1
  fmap_base: 32
  fmap_max: 8
  representation: distance
  calibrate: true
  grow_to: 8
  steps_per_resolution: 12
  fade_fraction: 0.5
  batch_size: {4: 4, 8: 2}
translation: {method: dl_pix2pix, epochs: 4, decay_start: 1, num_downs: 2, generator_width: 4, critic_width: 4,
  critic_layers: 1, lia: false, dwmh: false, perceptual: false}
generation: {count: 6, attempts: 3, batch_size: 2}
run: {log_steps: 1, samples: 2, save_minutes: 0.005, keep: 3}
"""


PROCESSES = multiprocessing.get_context("forkserver")
"""Each process is forked from a server that has imported everything, and has used neither JAX nor TensorFlow."""
PROCESSES.set_forkserver_preload(["tsgan_jax.data.dataset", "tsgan_jax.experiment.train", __name__])


def start(folder: Path, run: Path) -> BaseProcess:
    """bin/train in a process of its own."""
    process = PROCESSES.Process(target=train, args=(folder, run))
    process.start()
    return process


def train(folder: Path, run: Path) -> None:
    """bin/train with its output in a file next to the run directory; it compiles nothing that a process did before."""
    printed = os.open(run.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    sys.exit(main(["--config", str(folder / "small.yaml"), "--run", str(run)]))


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
        row["resolution"] == 8 and not row["fade"] for row in rows(run, "masks")[:-1]
    ),
    "stage 2": lambda run: len(rows(run, "translation")) >= 5,
    "the set": lambda run: (run / "sets" / "synthetic").is_dir(),
}


def finished(process: BaseProcess, run: Path) -> str:
    """What a command that ends well has printed."""
    process.join(600)
    printed = run.with_suffix(".txt").read_text()
    assert process.exitcode == 0, printed
    return printed


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
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kill_9_at_every_kind_of_moment(tmp_path):
    (tmp_path / "killed").mkdir()
    (tmp_path / "small.yaml").write_text(CONFIG.replace("PREPARED", str(tmp_path / "killed" / "prepared")))
    run, whole = tmp_path / "killed" / "run", tmp_path / "whole"
    for moment, reached in MOMENTS.items():
        process = start(tmp_path, run)
        while process.is_alive() and not reached(run):
            time.sleep(0.01)
        assert process.is_alive(), f"ended before {moment}: {run.with_suffix('.txt').read_text()}"
        process.kill()
        process.join()
    told = finished(start(tmp_path, run), run)
    assert "finished earlier" in told  # both stages were done when the set was cut off
    finished(start(tmp_path, whole), whole)
    expected = result(whole)
    assert expected["set"] and result(run) == expected
