"""One trainer at a time in a run directory."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tsgan_jax.errors import UserError


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run directory; a second trainer is refused.  The lock goes with the process, however it ends."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("a+")
    except OSError as error:
        raise UserError(f"{run}: cannot be used as a run directory: {error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{run}: another process is training here; wait for it or choose another --run") from None
        yield
