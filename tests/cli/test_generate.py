"""bin/generate on a run of untrained networks: sets, refusals, exit codes."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tsgan_jax.cli import generate
from tsgan_jax.cli.generate import main
from tsgan_jax.generation import candidates, coco
from tsgan_jax.generation import generate as generation
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.masks.plausibility import Verdict


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    return shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(autouse=True)
def lenient(monkeypatch):
    """Untrained networks draw no chests; here a mask passes by its parity."""

    def gate(mask, pixel_mm):
        odd = bool(int(mask.astype(np.int64).sum()) % 2)
        return Verdict(not odd, ("odd",) if odd else ())

    monkeypatch.setattr(candidates, "check", gate)


def files(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_set_is_made_named_and_reported(run, capsys):
    assert main(["--run", str(run), "--count", "6", "--out", "first"]) == 0
    printed = capsys.readouterr().out
    out = run / "sets" / "first"
    made = coco.read(out / "annotations.json")["images"]
    manifest = read_manifest(out)
    drawn = sum(len(r["refused"]) + r["accepted"] for r in manifest["images"])
    assert f"images     {len(made)} of 6 requested" in printed
    assert f"masks      {drawn} drawn, {len(made) / drawn:.0%} accepted" in printed
    assert f"{drawn - len(made)} refused: odd" in printed
    assert str(out) in printed
    origin = manifest["made_from"]
    assert (origin["seed"], origin["pixel_mm"], origin["window"]) == (7, 2.5, [-1000.0, 400.0])
    assert {name: parent["step"] for name, parent in origin["parents"].items()} == {"masks": 4, "translation": 6}
    assert origin["config"]["masks"]["fmap_max"] == 8 and len(origin["config_sha256"]) == 16


def test_batch_size_and_a_second_run_change_nothing(run, tmp_path):
    for batch in ("1", "4"):
        assert main(["--run", str(run), "--count", "5", "--out", str(tmp_path / batch), "--batch-size", batch]) == 0
    before = files(tmp_path / "1")
    assert before == files(tmp_path / "4")
    assert main(["--run", str(run), "--count", "5", "--out", str(tmp_path / "1")]) == 0
    assert files(tmp_path / "1") == before


def test_formats_are_made_with_a_set_and_of_a_finished_one(run, capsys):
    assert main(["--run", str(run), "--count", "4", "--out", "formed", "--format", "coco,yolo"]) == 0
    out = run / "sets" / "formed"
    assert f"format     {out}/yolo" in capsys.readouterr().out
    assert main(["--run", str(run), "--set", "formed", "--format", "nifti"]) == 0
    assert main(["--set", str(out), "--format", "monai,dicom"]) == 0
    assert read_manifest(out)["formats"].keys() == {"yolo", "nifti", "monai", "dicom"}
    assert main(["--run", str(run), "--count", "6", "--out", "formed"]) == 0  # extended: made again
    accepted = sum(record["accepted"] for record in read_manifest(out)["images"])
    assert len(list((out / "dicom").iterdir())) == len(list((out / "nifti" / "labelsTr").iterdir())) == accepted


def test_the_runs_own_settings_are_the_defaults(run, tmp_path):
    assert main(["--run", str(run), "--out", str(tmp_path / "a")]) == 0
    assert (
        main(["--run", str(run), "--out", str(tmp_path / "b"), "--count", "5", "--seed", "7", "--truncation", "1"]) == 0
    )
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_another_seed_for_the_same_set_is_refused_with_the_difference(run, tmp_path, capsys):
    assert main(["--run", str(run), "--count", "2", "--out", str(tmp_path / "s")]) == 0
    assert main(["--run", str(run), "--count", "2", "--out", str(tmp_path / "s"), "--seed", "8"]) == 2
    assert "seed: 7 in the set, 8 requested" in capsys.readouterr().err


def test_an_empty_set_is_a_failure(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(candidates, "check", lambda mask, pixel_mm: Verdict(False, ("no body",)))
    assert main(["--run", str(run), "--count", "2", "--out", str(tmp_path / "s")]) == 2
    printed = capsys.readouterr()
    assert "6 refused: no body" in printed.out and "needs more training" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "{tmp}/nowhere", "--out", "x"], "not a run directory"),
        (["--run", "{run}", "--out", ".."], "not a set"),
        (["--run", "{run}", "--out", "x", "--real-fold", "1", "--seed", "3"], "--seed: has no effect"),
        (["--run", "{run}", "--out", "{run}/masks/checkpoints/4"], "MANIFEST"),
        (["--set", "{tmp}/nothing", "--format", "yolo"], "not a set"),
        (["--run", "{run}", "--set", "nothing", "--format", "yolo"], "sets/nothing: not a set"),
        (["--run", "{run}", "--set", "x", "--format", "yolo", "--seed", "3"], "--seed: has no effect"),
    ],
)
def test_mistakes_are_told_without_a_traceback(run, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(run)
    before = files(run)
    assert main([a.format(run=run, tmp=tmp_path) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    assert message.lower() in error.lower()
    assert files(run) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "x"],
        ["--out", "x", "--format", "yolo"],
        ["--set", "x"],
        ["--set", "x", "--format", "gif"],
        ["--run", "r", "--set", "x", "--out", "y", "--format", "yolo"],
        ["--run", "r"],
        ["--run", "r", "--out", "x", "--count", "-1"],
        ["--run", "r", "--out", "x", "--count", "some"],
        ["--run", "r", "--out", "x", "--batch-size", "0"],
        ["--run", "r", "--out", "x", "--seed", "4294967297"],
        ["--run", "r", "--out", "x", "--truncation", "1.6"],
        ["--run", "r", "--out", "x", "--real-fold", "5"],
        ["--run", "r", "--out", "x", "--real-fold", "1", "--count", "3"],
    ],
)
def test_impossible_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_ctrl_c_says_how_to_go_on(run, tmp_path, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(generation, "generate_run", interrupt)
    assert main(["--run", str(run), "--out", str(tmp_path / "s")]) == 130
    assert "run the command again" in capsys.readouterr().err


def test_help_needs_nothing_heavy():
    code = "import sys, tsgan_jax.cli.generate; print([m for m in ('jax', 'numpy', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


PROGRAM = """
import sys, time
from tsgan_jax import images
from tsgan_jax.generation import candidates
from tsgan_jax.masks.plausibility import Verdict
candidates.check = lambda mask, pixel_mm: Verdict(True, ())
write, pause = images.write_hu, float(sys.argv.pop(1))
def slow(path, hu, **how):
    time.sleep(pause)
    return write(path, hu, **how)
images.write_hu = slow
from tsgan_jax.cli.generate import main
sys.exit(main(sys.argv[1:]))
"""


def program(pause, *arguments, flags=""):
    """bin/generate in a process of its own, in which every mask passes and each file takes `pause` seconds."""
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
    command = [sys.executable, "-c", PROGRAM, str(pause), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture
def accept_all(monkeypatch):
    monkeypatch.setattr(candidates, "check", lambda mask, pixel_mm: Verdict(True, ()))


@pytest.mark.slow
def test_the_number_of_devices_changes_nothing(run, tmp_path, accept_all):
    arguments = ["--run", str(run), "--count", "10", "--batch-size", "8", "--out"]
    four = program(0, *arguments, str(tmp_path / "4"), flags="--xla_force_host_platform_device_count=4")
    assert main([*arguments, str(tmp_path / "1")]) == 0
    _, errors = four.communicate(timeout=300)
    assert four.returncode == 0, errors.decode()
    assert files(tmp_path / "1") == files(tmp_path / "4")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_killed_set_is_finished_to_the_same_bytes(run, tmp_path, accept_all, signum, code):
    arguments = ["--run", str(run), "--count", "24", "--batch-size", "4", "--out"]
    process = program(0.3, *arguments, str(tmp_path / "parts"))
    journal = tmp_path / "parts" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 4) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signum)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert not (tmp_path / "parts" / "annotations.json").exists()
    assert main([*arguments, str(tmp_path / "parts")]) == 0
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_real_fold_is_exported_in_the_same_form(run, tmp_path, capsys, monkeypatch):
    from tsgan_jax.data import pipeline

    rng = np.random.default_rng(0)
    mask = np.ones((3, 16, 16), np.uint8)
    mask[0, 4, 4], mask[1, 2:5, 2:6], mask[1, 10:12, 9:13] = 5, 5, 5
    slices = pipeline.SliceSet(
        ct=rng.integers(-1000, 400, (3, 16, 16)).astype(np.int16),
        mask=mask,
        seriesuid=("1.3.6.1", "1.3.6.1", "1.3.6.2"),
        fold=np.full(3, 2, np.int32),
        slice_index=np.array([7, 12, 3]),
        z_mm=np.zeros(3),
        pixel_mm=np.array([0.7, 0.7, 0.9], np.float32),
        native_mm=np.full((3, 2), 0.7, np.float32),
        nodules=((), (), ()),
    )
    asked = []
    monkeypatch.setattr(pipeline, "load", lambda config, folds: asked.append(folds) or slices)
    assert main(["--run", str(run), "--real-fold", "2", "--out", str(tmp_path / "real")]) == 0
    assert asked == [[2]]
    assert "3 real slices with 3 nodules" in capsys.readouterr().out
    tree = coco.read(tmp_path / "real" / "annotations.json")
    assert [i["file_name"] for i in tree["images"]] == ["1.3.6.1_0007.png", "1.3.6.1_0012.png", "1.3.6.2_0003.png"]
    assert [a["bbox"] for a in tree["annotations"]] == [[4, 4, 1, 1], [2, 2, 4, 3], [9, 10, 4, 2]]
    before = files(tmp_path / "real")
    assert main(["--run", str(run), "--real-fold", "2", "--out", str(tmp_path / "real")]) == 0
    assert files(tmp_path / "real") == before


def test_the_pace_is_told_once_it_is_known(monkeypatch):
    lines = []

    class Screen:
        def update(self, label, done, line):
            lines.append((done, line))

    clock = iter([0.0, 10.0, 10.0, 20.0, 20.0])
    monkeypatch.setattr(generate.time, "monotonic", lambda: next(clock))
    show = generate._reporter(Screen())
    show(4, 0, 20)
    show(8, 1, 20)
    assert lines[0] == (0.2, "4/20 images, 0 rejected")
    assert lines[1] == (0.45, "9/20 images, 1 rejected, 0.5 images/s, 22 s left")


def test_refusing_to_run_leaves_signals_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["--run", str(tmp_path), "--out", "x"]) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_run_may_be_moved(run, tmp_path):
    shutil.copytree(run, tmp_path / "moved", ignore=shutil.ignore_patterns("sets"))
    assert main(["--run", str(run), "--count", "2", "--out", str(tmp_path / "s")]) == 0
    assert main(["--run", str(tmp_path / "moved"), "--count", "3", "--out", str(tmp_path / "s")]) == 0
