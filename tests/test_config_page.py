"""docs/config.md has every key, as the models have it today."""

import subprocess
import sys
from pathlib import Path

from tsgan_jax.config import Config, DetectionConfig, PhantomConfig, Section
from tsgan_jax.config.reading import METHOD_SECTIONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "config.md"


def test_the_page_is_current():
    command = [sys.executable, ROOT / "docs" / "config_page.py"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert made.stdout == PAGE.read_text(), "python docs/config_page.py > docs/config.md"


def test_it_has_every_key():
    optional = {"data.phantom": PhantomConfig, "detection": DetectionConfig}
    sections = {name: type(value) for name, value in Config() if isinstance(value, Section)}
    keys = {f"{name}.{key}" for name, model in (sections | optional).items() for key in model.model_fields}
    keys |= {f"translation.{key}" for model in METHOD_SECTIONS.values() for key in model.model_fields}
    text = PAGE.read_text()
    assert not [key for key in keys | {"seed", "study.systems"} if f"`{key}`" not in text]
