"""The README is run: its Python as it stands, its commands as far as their arguments, its links as files."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = (line for block in blocks("bash") for line in block.splitlines())
    return [line.partition("#")[0].strip() for line in lines if line.startswith("bin/")]


def test_python_blocks_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = blocks("python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", commands())
def test_commands_exist_and_their_configs_load(command):
    from tsgan_jax.configio import load_config

    launcher, *arguments = shlex.split(command)
    assert (ROOT / launcher).stat().st_mode & 0o111, f"{launcher} is not executable"
    if "--config" in arguments:
        overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
        load_config(ROOT / arguments[arguments.index("--config") + 1], overrides)


def test_links_and_named_files_exist():
    names = [n for n in re.findall(r"\]\(([^)]+)\)", README) if not n.startswith("http")]
    names += re.findall(r"`(configs/[\w/.]+)`", README)
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing
