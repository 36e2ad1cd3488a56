"""bin/*: which Python they take, how they make one, and what they do when that fails.

The Python on PATH is a stand-in that writes down how it is called: no environment is really installed here.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = sorted(p.name for p in (ROOT / "bin").iterdir() if not p.name.startswith("_"))

STAND_IN = """#!{bash}
case "$*" in
*find_spec*) [ -n "${{HAS_PACKAGE:-}}" ] ;;
*version_info*) [ -z "${{TOO_OLD:-}}" ] ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" && echo venv >>"$CALLS" ;;
*"-m pip "*) sleep "${{PIP_SECONDS:-0}}"; echo "pip ${{@: -1}}" >>"$CALLS"; echo said by pip; exit "${{PIP_CODE:-0}}" ;;
*fcntl* | *tomllib*) exec {python} "$@" ;;
"-c ") ;;
*) printf '%s\\n' "$0" "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """The launchers in a copy of the checkout, in a folder with a space in its name."""
    root = tmp_path / "my checkout"
    root.mkdir()
    shutil.copytree(ROOT / "bin", root / "bin")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "benchmarks", root / "benchmarks")
    shutil.copytree(ROOT / "tsgan_jax" / "cli", root / "tsgan_jax" / "cli")
    shutil.copy(ROOT / "tsgan_jax" / "__init__.py", root / "tsgan_jax")
    shutil.copy(ROOT / "tsgan_jax" / "errors.py", root / "tsgan_jax")
    tools = tmp_path / "tools"
    tools.mkdir()
    needed = "bash cat cksum cp dirname ls mkdir paste readlink rm sed sleep sort tail touch tr"
    for tool in needed.split():
        (tools / tool).symlink_to(shutil.which(tool))
    stand_in = tools / "python3"
    stand_in.write_text(STAND_IN.format(bash=shutil.which("bash"), python=sys.executable))
    stand_in.chmod(0o755)
    return root


def launch(checkout, command, *arguments, python=None, **environment):
    tools = checkout.parent / "tools"
    settings = {
        "PATH": str(tools),
        "CALLS": str(checkout.parent / "calls"),
        "HOME": str(checkout.parent),
        **environment,
    }
    if python:
        (tools / "python3").unlink()
        (tools / "python3").symlink_to(python)
    return subprocess.Popen(
        [command, *arguments],
        env=settings,
        cwd=checkout.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out.splitlines(), err


def calls(checkout):
    path = checkout.parent / "calls"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("command", COMMANDS)
def test_is_executable_bash(command):
    path = ROOT / "bin" / command
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", path]).returncode == 0


def test_takes_the_active_python_that_has_the_package(checkout):
    code, out, _ = finished(launch(checkout, checkout / "bin/train", "--run", "a b", HAS_PACKAGE="1"))
    assert code == 0
    assert out == [str(checkout.parent / "tools/python3"), "-P", "-m", "tsgan_jax.cli.train", "--run", "a b"]
    assert not calls(checkout)


def test_makes_an_environment_once(checkout):
    venv = checkout / ".venv"
    code, out, err = finished(launch(checkout, checkout / "bin/train", "x=1"))
    assert code == 0
    assert out == [str(venv / "bin/python"), "-P", "-m", "tsgan_jax.cli.train", "x=1"]
    assert "Installing tsgan_jax into" in err and "said by pip" not in err
    assert calls(checkout) == ["venv", "pip pip", f"pip {checkout}"]
    code, out, err = finished(launch(checkout, checkout / "bin/generate"))
    assert (code, err) == (0, "")
    assert out[-1] == "tsgan_jax.cli.generate"
    assert len(calls(checkout)) == 3


def test_is_found_through_a_symlink(checkout):
    link = checkout.parent / "train here"
    link.symlink_to(checkout / "bin/train")
    code, out, _ = finished(launch(checkout, link, HAS_PACKAGE="1"))
    assert code == 0
    assert out[-1] == "tsgan_jax.cli.train"


def test_tests_add_their_extra_and_training_keeps_it(checkout):
    finished(launch(checkout, checkout / "bin/train"))
    code, out, _ = finished(launch(checkout, checkout / "bin/test", "-k", "folds"))
    assert code == 0
    assert out[3] == "pytest" and out[-2:] == ["-k", "folds"]
    finished(launch(checkout, checkout / "bin/train"))
    assert calls(checkout) == ["venv", "pip pip", f"pip {checkout}", f"pip {checkout}[dev]"]


def test_changed_dependencies_are_installed(checkout):
    finished(launch(checkout, checkout / "bin/train"))
    with (checkout / "constraints.txt").open("a") as file:
        file.write("# newer\n")
    finished(launch(checkout, checkout / "bin/train"))
    assert calls(checkout) == ["venv", "pip pip", f"pip {checkout}", f"pip {checkout}"]


def test_failed_installation_says_why_and_is_tried_again(checkout):
    code, out, err = finished(launch(checkout, checkout / "bin/train", PIP_CODE="1"))
    assert (code, out) == (2, [])
    assert "said by pip" in err and "error: the installation failed" in err
    code, _, err = finished(launch(checkout, checkout / "bin/train"))
    assert code == 0
    assert "is incomplete; making it again" in err
    assert calls(checkout) == ["venv", "pip pip", f"pip {checkout}"] * 2


def test_two_first_uses_install_once(checkout):
    both = [launch(checkout, checkout / "bin/train", PIP_SECONDS="1") for _ in range(2)]
    assert [finished(one)[0] for one in both] == [0, 0]
    assert calls(checkout) == ["venv", "pip pip", f"pip {checkout}"]


def test_never_removes_a_directory_that_is_not_its_own(checkout):
    precious = checkout.parent / "results"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    code, _, err = finished(launch(checkout, checkout / "bin/train", TSGAN_VENV=str(precious)))
    assert code == 2
    assert "is not a Python environment" in err
    assert (precious / "thesis.tex").exists()


def test_uses_the_environment_it_is_told(checkout):
    venv = checkout.parent / "scratch" / "env"
    code, out, _ = finished(launch(checkout, checkout / "bin/train", TSGAN_VENV=str(venv)))
    assert code == 0
    assert out[0] == str(venv / "bin/python")
    assert not (checkout / ".venv").exists()


def test_without_a_suitable_python_says_what_to_do(checkout):
    code, _, err = finished(launch(checkout, checkout / "bin/train", TOO_OLD="1"))
    assert code == 2
    assert "no Python 3.11, 3.12 or 3.13 found" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_environment(checkout, command):
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    started = time.monotonic()
    code, out, _ = finished(launch(checkout, checkout / "bin" / command, "--help", python=base))
    assert code == 0
    assert out[0].startswith(f"usage: bin/{command}")
    assert time.monotonic() - started < 20  # half a second on an idle machine
    assert not list(checkout.glob(".venv*")) and not calls(checkout)


def test_detector_has_an_environment_of_its_own_made_once(checkout):
    venv = checkout / ".venv-detect"
    code, out, err = finished(launch(checkout, checkout / "bin/_detector", HAS_PACKAGE="1"))
    assert (code, out) == (0, [str(venv / "bin/python")])
    assert "Installing the detector's packages into" in err
    assert calls(checkout) == ["venv", "pip pip", "pip ultralytics>=8.4"]
    assert not (checkout / ".venv").exists()
    code, out, err = finished(launch(checkout, checkout / "bin/_detector"))
    assert (code, out, err) == (0, [str(venv / "bin/python")], "")
    assert len(calls(checkout)) == 3


def test_detectors_environment_that_cannot_be_made_says_why(checkout):
    elsewhere = checkout.parent / "elsewhere"
    settings = {"TSGAN_DETECT_VENV": str(elsewhere), "PIP_CODE": "1"}
    code, out, err = finished(launch(checkout, checkout / "bin/_detector", **settings))
    assert (code, out) == (2, [])
    assert "said by pip" in err and f"the whole log is in {elsewhere}.log" in err
