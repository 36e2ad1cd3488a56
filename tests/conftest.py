"""Fixtures of the whole suite, and how it compiles."""

import os
from pathlib import Path

import pytest

# Most of a test's time is XLA compiling code that runs for a second. Without LLVM's optimisations, with XLA's older
# fusions and a program in one piece, a small step of StyleGAN compiles in 6 s of CPU, not 50. Commands that tests start
# inherit it. Set XLA_FLAGS, empty or not, to test what users run.
QUICK_TO_COMPILE = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}
os.environ.setdefault("XLA_FLAGS", " ".join(f"--{name}={value}" for name, value in QUICK_TO_COMPILE.items()))

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real CT kept beside the checkout where the project is developed; other machines do not have it."""
    if not (SHARED / "data" / "README.md").is_file():
        pytest.skip("real CT data (../shared) is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of both stages, 16 px, networks untrained (trained_run.py).  Tests that change one copy it."""
    from trained_run import make_run

    run = tmp_path_factory.mktemp("trained") / "run"
    make_run(run)
    return run
