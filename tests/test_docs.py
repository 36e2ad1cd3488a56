"""README and pages are run: README's Python as it is, commands as far as their arguments, links as files."""

import re
import shlex
from pathlib import Path

import pytest

from tests.test_imports import LAYERS

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("architecture", "config", "control", "export", "extending", "formats", "gpu", "masks", "methods")
MORE = ("own_ct", "reliability", "scaling", "studio")
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in (*NAMES, *MORE)))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands() -> list[str]:
    lines = (line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines())
    return [line.partition("#")[0].strip() for line in lines if line.startswith("bin/")]


def test_python_blocks_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = blocks(PAGES[0], "python")
    assert found
    for block in found:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", commands())
def test_commands_exist_and_their_configs_load(command):
    from tsgan_jax.config.reading import is_study, load_config
    from tsgan_jax.study.settings import load_study

    launcher, *arguments = shlex.split(command)
    assert (ROOT / launcher).stat().st_mode & 0o111, f"{launcher} is not executable"
    if "--config" in arguments:
        overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
        config = ROOT / arguments[arguments.index("--config") + 1]
        (load_study if is_study(config) else load_config)(config, overrides)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page):
    text = page.read_text()
    links = [page.parent / n for n in re.findall(r"\]\(([^)]+)\)", text) if not n.startswith("http")]
    named = [ROOT / name for name in re.findall(r"`((?:configs|tests|tsgan_jax)/[\w/.]+)`", text)]
    missing = [str(path) for path in links + named if not path.exists()]
    assert not missing


def test_architecture_states_the_import_rule():
    (rule,) = (block for block in blocks(ROOT / "docs" / "architecture.md", "") if block.startswith("labels types"))
    assert [set(line.split()) for line in rule.splitlines()] == LAYERS
