"""One trainer at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tsgan_jax.errors import UserError
from tsgan_jax.train.lock import locked

ROOT = Path(__file__).resolve().parents[2]


def test_second_trainer_is_refused_until_the_first_ends(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path; from tsgan_jax.train.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is training here"), locked(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with locked(tmp_path):
        pass


def test_run_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used as a run directory"), locked(tmp_path / "file"):
        pass
