"""The prepared case, once for all tests; and the interpreter of real detectors, where there is one."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.detection import comparison_case
from tsgan_jax.config import Config
from tsgan_jax.data.luna16 import prepare
from tsgan_jax.data.pipeline import SliceSet

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Case:
    """folder: of config and data; others: slices of patients outside the folds."""

    folder: Path
    config: Config
    others: SliceSet


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Phantom slices in five folds, each with at least one."""
    folder = tmp_path_factory.mktemp("detect")
    config = comparison_case.config_at(folder)
    prepare(config.data)
    return Case(folder, config, comparison_case.other_patients(folder))


@pytest.fixture
def run(case: Case, tmp_path: Path) -> Path:
    """A trained run with a synthetic set."""
    comparison_case.make_run(tmp_path / "run", case.config)
    comparison_case.write_set(tmp_path / "run" / "sets" / "synthetic", case.others, case.config, 3)
    return tmp_path / "run"


@pytest.fixture(scope="session")
def detector_python() -> Path:
    """A Python with ultralytics: $TSGAN_DETECT_PYTHON, or the checkout's .venv-detect."""
    named = os.environ.get("TSGAN_DETECT_PYTHON")
    python = Path(named) if named else ROOT / ".venv-detect" / "bin" / "python"
    check = "from importlib.util import find_spec; import sys; sys.exit(find_spec('ultralytics') is None)"
    if not python.is_file() or subprocess.run([python, "-P", "-c", check]).returncode:
        pytest.skip(f"{python} has no ultralytics; set TSGAN_DETECT_PYTHON, or run bin/_detector once")
    return python
