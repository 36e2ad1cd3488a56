"""Two processes on one machine train what one does; a signal stops both; the loss of one is reported by the other."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import several

from tsgan_jax.cli import train as command

TIMEOUT = 10


def started(directory, lines):
    """Two processes that train without end, once they have written so many lines of the log."""
    directory.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = [sys.executable, several.__file__, str(directory), "100000", "0.2", str(TIMEOUT), address, "2"]
    both = [
        subprocess.Popen(
            [*arguments, str(index)],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    log = directory / "log.jsonl"
    while not log.is_file() or len(log.read_text().splitlines()) < lines:
        assert all(process.poll() is None for process in both), finished(both)
        time.sleep(0.1)
    return both


def finished(both):
    return [(process.communicate(timeout=200)[0], process.returncode) for process in both]


def losses(directory):
    rows = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows], np.array([row["loss"] for row in rows])


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_a_run_moves_from_one_to_two_and_back(tmp_path):
    """Seven steps by one, some by two, until a signal to the second stops both, and seven more by one."""
    (tmp_path / "moving").mkdir()
    (tmp_path / "one").mkdir()
    several.train(tmp_path / "moving", 7)
    both = started(tmp_path / "moving", 7 + 10)
    both[1].send_signal(signal.SIGTERM)
    ends = finished(both)
    assert [code for _, code in ends] == [143, 143], ends
    last = losses(tmp_path / "moving")[0][-1]
    assert (tmp_path / "moving" / "checkpoints" / str(last) / "manifest.json").is_file()
    several.train(tmp_path / "moving", last + 7)
    several.train(tmp_path / "one", last + 7)
    (steps, found), (_, wanted) = losses(tmp_path / "moving"), losses(tmp_path / "one")
    assert steps == list(range(1, last + 8)) and len(steps) >= 24
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_is_reported_by_the_other(tmp_path, killed):
    both = started(tmp_path / "run", 3)
    both[killed].kill()
    died = time.monotonic()
    said, code = finished(both)[1 - killed]
    assert time.monotonic() - died < TIMEOUT + 30
    assert code == 75, said
    assert f"error: process {1 - killed} lost another process of this training" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--coordinator", "a:1", "--process-id", "0"], "belong together"),
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "2"], "--process-id is below"),
    ],
)
def test_half_a_place_among_processes_is_refused(arguments, reason, capsys):
    with pytest.raises(SystemExit):
        command.main(["--config", "configs/quickstart.yaml", *arguments])
    assert reason in capsys.readouterr().err
