"""`tsgan COMMAND`: the same commands from an installed package."""

import subprocess
import sys
from pathlib import Path

import pytest

from tsgan_jax.cli.tsgan import COMMANDS


def tsgan(*arguments, cwd):
    """Exit code, stdout and stderr of a process."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-P", "-c", "from tsgan_jax.cli.tsgan import main; main()", *arguments]
    done = subprocess.run(command, cwd=cwd, env={"PYTHONPATH": str(root)}, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_has_every_command_of_bin():
    in_bin = {path.name for path in (Path(__file__).resolve().parents[2] / "bin").iterdir()}
    assert {name for name in in_bin if not name.startswith("_")} - {"test", "bench"} == set(COMMANDS)


@pytest.mark.parametrize("command", ["generate", "verify"])
def test_help_bears_the_name_that_was_typed(command, tmp_path):
    code, out, _ = tsgan(command, "--help", cwd=tmp_path)
    assert code == 0 and out.startswith(f"usage: tsgan {command}")


def test_says_what_there_is(tmp_path):
    assert tsgan(cwd=tmp_path)[:2] == tsgan("--help", cwd=tmp_path)[:2]
    code, _, err = tsgan("generat", cwd=tmp_path)
    assert code == 2 and "'generat'" in err and "generate" in err


def test_exit_codes_are_the_command_s(tmp_path):
    code, _, err = tsgan("verify", "absent", cwd=tmp_path)
    assert code == 2 and "absent" in err
