"""Workers end at once with the command that started them, whatever ended it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script has put in the background
from tsgan_jax.cli._command import ending, program
from tsgan_jax.workers import pool

def main():
    def work():
        with pool(2) as processes:
            futures = [processes.submit(time.sleep, seconds) for seconds in (0, 0, 600, 600, 600)]
            futures[0].result(), futures[1].result()
            print(*processes._processes, flush=True)
            futures[2].result()
        return 0
    return ending(work, "run it again")

if __name__ == "__main__":
    program(main)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_ends_the_workers_too(tmp_path: Path, signum: int, code: int) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, text=True)
    workers = process.stdout.readline().split()
    assert len(workers) == 2
    started = time.monotonic()
    process.send_signal(signum)
    process.communicate(timeout=30)  # its pipe is open for as long as a worker lives
    assert process.returncode == code
    assert time.monotonic() - started < 20  # below a second on an idle machine
