"""One training by the worker: its Python interpreter with ultralytics, and its process.

The user names the interpreter, or the launchers make .venv-detect on first use.  It is separate because torch and jax
need different CUDA libraries, and because ultralytics is AGPL-3.0.  A finished training is reused; one that crashes or
hangs twice fails.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tsgan_jax.config.reading import config_hash
from tsgan_jax.detection import worker
from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256, read_json, write_json

CHECKOUT = Path(__file__).resolve().parent.parent.parent
MAKER = CHECKOUT / "bin" / "_detector"
ATTEMPTS = 2
LOWEST_PRIORITY = 19
RESULT, JOB, LOG, DETECTOR = "result.json", "job.json", "worker.log", "detector.pt"
NEEDS = "import sys; from importlib.util import find_spec; sys.exit(find_spec('ultralytics') is None)"

Say = Callable[[str], None]
Result = dict[str, Any]
"""The worker's result.json."""


def interpreter(named: Path | None) -> Path:
    """The detector's interpreter; the first call without `named` installs it, with messages on standard error.

    named: detection.python.  Raises UserError if it lacks ultralytics or cannot be made.
    """
    if named is not None:
        return _with_ultralytics(named)
    if not MAKER.is_file():
        raise UserError(
            "detection.python: not given, and without a checkout's launchers .venv-detect cannot be made; name the "
            "Python of an environment that has ultralytics (pip install 'ultralytics>=8.4')"
        )
    made = subprocess.run([MAKER], stdout=subprocess.PIPE, text=True)
    if made.returncode or not made.stdout.strip():
        raise UserError(
            "the detector's environment could not be made (the reason is above); correct it and run this again, or "
            "name a Python that has ultralytics as detection.python"
        )
    return _with_ultralytics(Path(made.stdout.strip().splitlines()[-1]))


@contextmanager
def installed_meanwhile(named: Path | None) -> Iterator[None]:
    """Install what `interpreter(named)` needs during the block, with the time that other processes leave.

    `interpreter` waits for it, and tries again what failed.  What is unfinished at the block's end is stopped.
    """
    if named is not None or not MAKER.is_file():
        yield
        return
    process = subprocess.Popen([MAKER], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    os.setpriority(os.PRIO_PGRP, process.pid, LOWEST_PRIORITY)
    try:
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group, and its child processes, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def clean_environment() -> dict[str, str]:
    """This process's environment variables without those that point to its packages."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def _with_ultralytics(python: Path) -> Path:
    try:
        found = subprocess.run([python, "-P", "-c", NEEDS], capture_output=True, env=clean_environment(), timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"detection.python: {python} cannot be run: {error}") from None
    if found.returncode:
        raise UserError(
            f"detection.python: {python} has no ultralytics; install it there (pip install 'ultralytics>=8.4'), or "
            "omit detection.python to have .venv-detect made"
        )
    return python.absolute()


@dataclass(frozen=True)
class Job:
    """One training, and the folder of its result.

    data: YOLO's YAML file; images: length of its training list.  made_from: hashes of its images.  With 0 epochs the
    detector in `weights` is tested as it is; images: length of the test list.
    """

    folder: Path
    model: str
    data: Path
    images: int
    epochs: int
    batch_size: int
    image_size: int
    learning_rate: float
    seed: int
    augmented: bool
    weights: Path | None
    device: str
    made_from: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Hash of everything that decides the result."""
        decisive = {key: value for key, value in asdict(self).items() if key not in ("folder", "data")}
        return config_hash({**decisive, "weights": self.weights_sha256})

    @property
    def weights_sha256(self) -> str | None:
        """Hash of the file of starting weights; UserError if it is missing."""
        if self.weights is None:
            return None
        try:
            return file_sha256(self.weights)
        except OSError as error:
            raise UserError(f"detection.weights: {self.weights} cannot be read: {error.strerror}") from None

    def told(self, settings: Path) -> dict[str, Any]:
        """The job as the worker reads it."""
        paths = {"folder": self.folder, "data": self.data, "weights": self.weights, "settings": settings}
        absolute = {name: str(path.absolute()) if path is not None else None for name, path in paths.items()}
        return {**asdict(self), **absolute, "weights_sha256": self.weights_sha256, "sha256": self.sha256}


def run(job: Job, python: Path, settings: Path, minutes: float, say: Say) -> Result | str:
    """Train and test one detector, or take its finished result; returns the worker's result, or why there is none.

    minutes: time limit of a worker.  A worker that crashes or exceeds it is started once more.
    """
    try:
        told = job.told(settings)
    except UserError as error:
        return str(error)
    known = _finished(job)
    if known is not None:
        return known
    doing = "training" if job.epochs else "testing"
    say(f"detection: {doing} in {job.folder}; its progress is in {LOG} there")
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True)
        write_json(job.folder / JOB, told)
        outcome = _attempt(job, python, minutes) or _checked(job)
        if not isinstance(outcome, str):
            return outcome
        if (job.folder / "refused.txt").is_file():
            return (job.folder / "refused.txt").read_text()
        if attempt < ATTEMPTS:
            say(f"detection: {job.folder.name}: {outcome}; trying once more")
    return f"{outcome} (tried {ATTEMPTS} times)"


def _finished(job: Job) -> Result | None:
    """The result of an earlier, equal job."""
    path = job.folder / RESULT
    try:
        if path.is_file() and read_json(job.folder / JOB)["sha256"] == job.sha256:
            result: Result = read_json(path)
            return result if result["images"] == job.images else None
    except (UserError, KeyError, TypeError):  # damaged: train again
        pass
    return None


def _attempt(job: Job, python: Path, minutes: float) -> str:
    """Run the worker; returns why it failed, or ""."""
    log = job.folder / LOG
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-P", worker.__file__, (job.folder / JOB).absolute()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=job.folder,
            env=clean_environment(),
            start_new_session=True,
        )
        try:
            code = process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            return f"the worker was still running after {minutes:g} minutes (detection.timeout_minutes); log: {log}"
        finally:
            _end(process)
    if code == 0:
        return ""
    ended = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    return f"the worker {ended}: {_last_line(log)}; log: {log}"


def _checked(job: Job) -> Result | str:
    """The result, checked for completeness and the requested images."""
    try:
        result: Result = json.loads((job.folder / RESULT).read_text())
    except (OSError, ValueError) as error:
        return f"the worker left no result: {error}"
    if result["images"] != job.images:
        kind = "training" if job.epochs else "test"
        return f"the worker used {result['images']} of {job.images} {kind} images; see {job.folder / LOG}"
    return result


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it printed nothing"
