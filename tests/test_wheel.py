"""The wheel, used from a folder that is not the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tsgan_jax.images import read_mask
from tsgan_jax.labels import NODULE

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel in a folder of its own; what it depends on is that of the tests."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"  # a build writes next to its source
    for name in ("configs", "tsgan_jax"):
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", base, source], check=True)
    (wheel,) = base.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", base / "installed", wheel], check=True)
    return base / "installed"


def tsgan(installed, folder, *arguments):
    """Exit code, stdout and stderr of the installed command, in a folder."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", installed / "bin" / "tsgan", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("config", ["quickstart", "configs/quickstart.yaml", "tables/table1_cpu"])
def test_trains_by_a_config_s_name(installed, tmp_path, config):
    code, plan, errors = tsgan(installed, tmp_path, "train", "--config", config, "--dry-run")
    assert code == 0, errors
    assert f"runs/{Path(config).stem}" in plan


def test_holds_every_config(installed):
    relative = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    folder = installed / "tsgan_jax" / "configs"
    assert {path.relative_to(folder) for path in folder.rglob("*.yaml")} == relative


def test_generates_with_a_network_that_comes_with_it(installed, tmp_path):
    code, _, errors = tsgan(installed, tmp_path, "generate", "--network", "phantom-64", "--count", "2", "--out", "made")
    assert code == 0, errors
    assert read_mask(tmp_path / "made" / "masks" / "000000.png").max() == NODULE
    assert (tmp_path / "made" / "index.html").is_file()
