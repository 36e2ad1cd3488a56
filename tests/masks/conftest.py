"""Fixtures of stage 1's tests."""

import pytest

from tsgan_jax.config import MasksConfig

from .tiny import tiny


@pytest.fixture(scope="session")
def config() -> MasksConfig:
    """The tiny StyleGAN, up to 8 px."""
    return tiny()
