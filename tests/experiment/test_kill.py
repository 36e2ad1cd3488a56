"""Experiments and studies whose process is killed, at every kind of moment and at random ones, end as one that is never
stopped.
"""

import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax
import numpy as np
import pytest

from tsgan_jax.cli import evaluate, generate
from tsgan_jax.cli.train import main
from tsgan_jax.evaluation.records import AT, records_of
from tsgan_jax.generation import candidates, runs
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.runs import fingerprint
from tsgan_jax.masks.plausibility import Verdict

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


STUDY = """
data: {phantom: {patients: 16, slices: 1, size: 64, nodule_mm: [20, 30]}, resolution: 32, test_fold: [0, 1, 2],
  prepared: PREPARED}
translation: {method: pix2pix, critic_width: 4, critic_layers: 1, num_downs: 2, dropout: 0}
generation: {masks: real, count: 6}
evaluation: {features: vgg19, vgg_layer: relu1_1, bootstrap: 5, vgg_weights: WEIGHTS}
run: {log_steps: 1, samples: 2, save_minutes: 0.005}
study:
  title: Two systems
  tables: [1]
  parts: [images, masks]
  budget: {epochs: 3, decay_start: 0, batch_size: 2, generator_width: 4}
  systems: {first: {}, second: {translation: {critic_layers: 2}}}
"""

PROCESSES = multiprocessing.get_context("forkserver")
"""Each process is forked from a server that has imported everything, and has used neither JAX nor TensorFlow."""
PROCESSES.set_forkserver_preload(["tsgan_jax.data.dataset", "tsgan_jax.experiment.train", __name__])

Command = Callable[[Path, Path], int]
"""A command by the folder of its config and its run directory; returns the exit code."""


def train(folder: Path, run: Path) -> int:
    """bin/train."""
    return main(["--config", str(folder / "small.yaml"), "--run", str(run)])


def all_commands(folder: Path, run: Path) -> int:
    """bin/train, bin/generate of a second set, and bin/evaluate; every mask passes, whatever 36 steps have made."""
    candidates.check = lambda mask, pixel_mm: Verdict(True, ())
    trained = train(folder, run) or generate.main(
        ["--run", str(run), "--count", "20", "--out", str(run / "sets" / "other"), "--seed", "5"]
    )
    evaluated = trained or evaluate.main(["--run", str(run), "--only", "images", "--only", "masks", "--only", "report"])
    return 0 if evaluated == 3 else evaluated  # of so few images some figures cannot be had


def start(folder: Path, run: Path, command: Command = train) -> BaseProcess:
    """A command in a process of its own."""
    process = PROCESSES.Process(target=carry_out, args=(command, folder, run))
    process.start()
    return process


def carry_out(command: Command, folder: Path, run: Path) -> None:
    """A command with its output in a file next to the run directory; it compiles nothing that a process did before."""
    printed = os.open(run.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    sys.exit(command(folder, run))


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


def trained(run: Path) -> dict:
    """`result` with both sets and the evaluation's figures."""
    return result(run) | {"other": read_manifest(run / "sets" / "other")["images"], "figures": figures(run)}


def studied(run: Path) -> dict:
    """The systems' sets, the logs of their stage 2, their figures and the study's tables."""
    systems = sorted((run / "systems").iterdir())
    return {
        "sets": [read_manifest(one / "sets" / "synthetic")["images"] for one in systems],
        "logs": [[{**row, "time": 0} for row in rows(one, "translation")] for one in systems],
        "figures": [figures(one) for one in systems],
        "tables": {path.name: path.read_text() for path in sorted((run / "tables").iterdir())},
    }


def figures(run: Path) -> list[str]:
    """The records of an evaluation, without its time and the hashes of checkpoint files, which have times too."""
    details = ({k: v for k, v in one.details.items() if k != AT} for one in records_of(run))
    return sorted(repr(replace(r, details=d, made_from={})) for r, d in zip(records_of(run), details, strict=True))


EVALUATED = CONFIG + "evaluation: {features: vgg19, vgg_layer: relu1_1, bootstrap: 5, vgg_weights: WEIGHTS}\n"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("config", "command", "outcome"),
    [pytest.param(EVALUATED, all_commands, trained, id="commands"), pytest.param(STUDY, train, studied, id="study")],
)
def test_kill_9_at_random_moments(tmp_path, config, command, outcome):
    """KILLS times, each at a random moment of what is left: TSGAN_KILLS and TSGAN_SEED choose others."""
    kills, seed = (int(os.environ.get(name, known)) for name, known in (("TSGAN_KILLS", 10), ("TSGAN_SEED", 0)))
    kernel = np.random.default_rng(0).normal(0, 0.3, (3, 3, 3, 64)).astype(np.float32)
    np.savez(tmp_path / "vgg.npz", **{"block1_conv1/kernel": kernel, "block1_conv1/bias": np.zeros(64, np.float32)})
    config = config.replace("WEIGHTS", str(tmp_path / "vgg.npz"))
    seconds = []
    for name in ("compiled", "whole"):  # the second one compiles nothing: as long as one that is killed
        (tmp_path / name).mkdir()
        (tmp_path / "small.yaml").write_text(config.replace("PREPARED", str(tmp_path / name / "prepared")))
        started = time.monotonic()
        finished(start(tmp_path, tmp_path / name / "run", command), tmp_path / name / "run")
        seconds.append(time.monotonic() - started)
    rng, run, done = random.Random(seed), tmp_path / "killed" / "run", 0
    run.parent.mkdir()
    (tmp_path / "small.yaml").write_text(config.replace("PREPARED", str(run.parent / "prepared")))
    while done < kills:
        process = start(tmp_path, run, command)
        process.join(rng.uniform(0, 3 * seconds[1] / kills))
        if process.is_alive():
            process.kill()
            process.join()
            done += 1
            print(f"kill {done}: {' | '.join(run.with_suffix('.txt').read_text().splitlines()[-1:])}")
        else:  # it came to its end: the rest are kills of a run made anew
            assert process.exitcode == 0, run.with_suffix(".txt").read_text()
            assert outcome(run) == outcome(tmp_path / "whole" / "run")
            shutil.rmtree(run.parent)
            run.parent.mkdir()
    finished(start(tmp_path, run, command), run)
    expected = outcome(tmp_path / "whole" / "run")
    assert all(expected.values()) and outcome(run) == expected
