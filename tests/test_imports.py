"""Imports run one way, heavy libraries stay where they belong, and commands start light."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tsgan_jax"

LAYERS = [
    {"labels", "types", "errors"},
    {"config", "components", "files", "workers"},
    {"images", "phantom"},
    {"nn", "losses", "train", "data"},
    {"masks", "translation"},
    {"generation"},
    {"evaluation", "studio"},
    {"detection"},  # its figures are evaluation's records
    {"experiment"},
    {"study"},
    {"cli"},
]
"""A part may import parts of earlier layers only; parts of one layer do not know each other."""

HOMES = {
    "tensorflow": {"data/dataset.py"},
    "tensorflow_datasets": {"data/dataset.py"},
    "SimpleITK": {"data/dicom.py", "data/metaimage.py", "data/scans.py", "phantom/writing.py", "generation/formats.py"},
    "ultralytics": {"detection/worker.py"},
    "torch": {"detection/worker.py"},
    "argparse": {"cli/"},
    "rich": {"cli/"},
}


@cache
def imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports, at any depth; relative imports resolved."""
    names = set()
    here = ["tsgan_jax", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_part_has_its_layer():
    assert {part_of(path) for path in sources()} <= set().union(*LAYERS)


def test_imports_run_one_way():
    rank = {part: place for place, layer in enumerate(LAYERS) for part in layer}
    against = []
    for path in sources():
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != "tsgan_jax" or len(parts) < 2 or parts[1] not in rank or parts[1] == part_of(path):
                continue
            if rank[parts[1]] >= rank[part_of(path)]:
                against.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not against


@pytest.mark.parametrize("library", sorted(HOMES))
def test_library_is_imported_only_at_home(library):
    users = {p.relative_to(PACKAGE).as_posix() for p in sources() if library in {n.split(".")[0] for n in imported(p)}}
    strangers = {user for user in users if not any(user.startswith(home) for home in HOMES[library])}
    assert not strangers


def commands() -> list[str]:
    return [f"tsgan_jax.cli.{path.stem}" for path in sorted((PACKAGE / "cli").glob("[a-z]*.py"))]


@pytest.mark.parametrize("module", ["tsgan_jax", *commands()])
def test_starts_without_installed_packages(module):
    """`--help` answers before an environment exists, so nothing outside the standard library is imported first."""
    check = (
        f"import sys, {module}\n"
        "sys.exit(any('site-packages' in str(getattr(one, '__file__', '')) for one in sys.modules.values()))"
    )
    assert subprocess.run([sys.executable, "-S", "-c", check], cwd=ROOT, timeout=60).returncode == 0
