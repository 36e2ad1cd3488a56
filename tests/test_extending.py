"""docs/extending.md followed to the letter in a copy of the source tree: a method is added, configured and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "extending.md"
TRY = """
from pathlib import Path

import jax
import jax.numpy as jnp

import tsgan_jax
from tsgan_jax.types import PairBatch

assert Path(tsgan_jax.__file__).is_relative_to(Path.cwd())
config = tsgan_jax.load_config("levels.yaml")
method = tsgan_jax.translator(config.translation, images_per_epoch=8)
state = jax.jit(method.init)(jax.random.key(0))
step = jax.jit(method.step, donate_argnums=0)
mask = jnp.zeros((2, 16, 16), jnp.uint8).at[:, 4:8].set(5)
batch = PairBatch(mask=mask, ct=jnp.where(mask[..., None] == 5, 0.5, -0.5))
losses = []
for _ in range(20):
    state, metrics = step(state, batch)
    losses.append(float(metrics["l1"]))
assert losses[-1] < losses[0]
images = jax.jit(method.translate)(state, mask, jax.random.split(jax.random.key(1), 2))
assert images.shape == (2, 16, 16) and float(images[0, 5, 0]) > 0 > float(images[0, 0, 0])
print(config.translation.method, config.translation.learning_rate, int(state.images_seen))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def run(command: list[str | Path], folder: Path, text: str | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree with the page's commands and changes carried out."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed; it applies the page's changes")
    tree = tmp_path_factory.mktemp("extended")
    for folder in ("tsgan_jax", "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    lines = [line for block in blocks("bash") for line in block.splitlines() if not line.startswith("bin/")]
    run(["bash", "-euc", "\n".join(lines)], tree)
    changes = blocks("diff")
    assert len(changes) == 4
    for change in changes:
        run(["git", "apply", "--recount", "-C1", "--whitespace=nowarn", "-"], tree, change)
    return tree


def test_the_method_that_the_page_adds_is_configured_trained_and_used(extended: Path) -> None:
    (extended / "levels.yaml").write_text(
        "data: {resolution: 16}\ntranslation: {method: levels, epochs: 5, decay_start: 5}\n"
    )
    assert run([sys.executable, "-P", "-c", TRY], extended) == "levels 0.05 40\n"


@pytest.mark.slow
def test_it_passes_the_contract_tests(extended: Path) -> None:
    tests = ["tests/translation/test_contracts.py", "-k", "levels and not two_devices", "-p", "no:cacheprovider"]
    assert " passed" in run([sys.executable, "-P", "-m", "pytest", "-q", *tests], extended)


def test_a_method_is_used_without_being_added() -> None:
    (block,) = blocks("python")
    scope: dict = {}
    exec(compile(block, PAGE.name, "exec"), scope)
    assert scope["images"].shape == (2, 32, 32)
