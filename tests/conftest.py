"""Fixtures of the whole suite."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real CT kept beside the checkout where the project is developed; other machines do not have it."""
    if not (SHARED / "data" / "README.md").is_file():
        pytest.skip("real CT data (../shared) is not beside this checkout")
    return SHARED
