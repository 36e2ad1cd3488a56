"""Every shipped config goes through the whole path, shrunk to a size that a test can afford."""

from pathlib import Path

import pytest

from tsgan_jax.configio import load_config

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_configs_open_with_their_command_and_cost():
    for path in CONFIGS:
        head = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
        assert f"bin/train --config {path.relative_to(ROOT)}" in head, path.name
