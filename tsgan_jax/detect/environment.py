"""The Python that has ultralytics: one that the user names, or .venv-detect, made on first use by the launchers.

It is apart from the one that runs this because torch and jax disagree about CUDA libraries, and because ultralytics
is AGPL-3.0.
"""

import os
import subprocess
from pathlib import Path

from tsgan_jax.errors import UserError

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NEEDS = "import sys; from importlib.util import find_spec; sys.exit(find_spec('ultralytics') is None)"


def interpreter(named: Path | None) -> Path:
    """The detector's interpreter; the first call without a name installs it, which is told on standard error.

    named: detection.python.  Raises UserError where it lacks ultralytics, or none can be made.
    """
    if named is not None:
        return _checked(named)
    maker = CHECKOUT / "bin" / "_detector"
    if not maker.is_file():
        raise UserError(
            "detection.python: not given, and this is no checkout whose launchers could make .venv-detect; name the "
            "Python of an environment that has ultralytics (pip install 'ultralytics>=8.4')"
        )
    made = subprocess.run([maker], stdout=subprocess.PIPE, text=True)
    if made.returncode or not made.stdout.strip():
        raise UserError(
            "the detector's environment could not be made (the reason stands above); mend it and run this again, or "
            "name a Python that has ultralytics as detection.python"
        )
    return _checked(Path(made.stdout.strip().splitlines()[-1]))


def clean_environment() -> dict[str, str]:
    """This process's variables without those that would lead the other interpreter to this one's packages."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def _checked(python: Path) -> Path:
    try:
        found = subprocess.run([python, "-P", "-c", NEEDS], capture_output=True, env=clean_environment(), timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"detection.python: {python} cannot be run: {error}") from None
    if found.returncode:
        raise UserError(
            f"detection.python: {python} has no ultralytics; install it there (pip install 'ultralytics>=8.4'), or "
            "leave detection.python out and .venv-detect is made"
        )
    return python.absolute()
