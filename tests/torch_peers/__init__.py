"""Methods written a second time, in eager PyTorch and from the publications, to compare ours with.

Each module here is a script of its own, run by an interpreter that has torch: `python PEER IN.npz OUT [ARGUMENT ...]`
reads named arrays and writes what it computes, one array (OUT.npy) or several by name (OUT.npz).
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

DETECTORS_PYTHON = Path(__file__).resolve().parents[2] / ".venv-detect" / "bin" / "python"


def torch_python() -> str:
    """An interpreter that has torch: this one, TSGAN_TORCH_PYTHON's, or that of the detectors' environment.

    Skips the test where there is none.
    """
    if importlib.util.find_spec("torch") is not None:
        return sys.executable
    named = os.environ.get("TSGAN_TORCH_PYTHON")
    if named:
        return named
    if DETECTORS_PYTHON.exists():
        return str(DETECTORS_PYTHON)
    pytest.skip("no interpreter with torch: install it here, set TSGAN_TORCH_PYTHON, or make .venv-detect")


def run_peer(script: Path, arrays: dict[str, np.ndarray], *args: str) -> np.ndarray:
    """The array that `script` computes of `arrays`, which it finds by name in the file of its first argument."""
    return _run(script, arrays, "out.npy", args)["out"]


def run_peer_of_many(script: Path, arrays: dict[str, np.ndarray], *args: str) -> dict[str, np.ndarray]:
    """As `run_peer`, of a script that computes several arrays: each by its name."""
    return _run(script, arrays, "out.npz", args)


def _run(script: Path, arrays: dict[str, np.ndarray], out: str, args: tuple[str, ...]) -> dict[str, np.ndarray]:
    python = torch_python()
    with tempfile.TemporaryDirectory() as folder:
        given, computed = Path(folder, "in.npz"), Path(folder, out)
        np.savez(given, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
        command = [python, str(script), str(given), str(computed), *args]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-3000:]}"
        loaded = np.load(computed)
        return dict(loaded) if computed.suffix == ".npz" else {"out": loaded}
