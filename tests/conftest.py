"""Fixtures of the whole suite, and how it compiles."""

import os
from pathlib import Path

import pytest

# Most of a test's time is LLVM optimising code that runs for a second: without, a step compiles in a third of the time.
# Commands that tests start inherit it.  Set XLA_FLAGS, empty or not, to test with what users run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real CT kept beside the checkout where the project is developed; other machines do not have it."""
    if not (SHARED / "data" / "README.md").is_file():
        pytest.skip("real CT data (../shared) is not beside this checkout")
    return SHARED
