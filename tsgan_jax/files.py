"""Atomic writing of files (under a temporary name, synced, then renamed), and locks on folders."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

from filelock import FileLock, Timeout

from tsgan_jax.errors import UserError

UNFINISHED = ".part-"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def safe_name(name: object, source: str = "file name") -> str:
    """`name` if it is a bare file name of letters, digits, dot, dash and underscore.

    source: description of the name in the error message.
    Raises UserError otherwise, because a name read from a file must not lead out of its folder.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{source}: {name!r} is refused; use a bare name of letters, digits, '.', '-' and '_'")
    return name


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """A temporary path next to `path`, which replaces `path` when the block ends without an exception.

    The suffix is kept, because some writers choose the format by it.  sync: have the content on the disk before, so
    that a power failure cannot leave an empty file; not needed where a reader compares the content's hash.
    """
    temporary = path.with_name(f"{UNFINISHED}{os.getpid()}-{get_ident()}-{path.name}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes, sync: bool = True) -> None:
    """Write or replace one file; sync: as `replacing`."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write or replace a JSON file; NaN and infinity raise ValueError, because JSON has neither."""
    write_bytes(path, (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value in a JSON file; UserError names a file that is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_unfinished(path: Path) -> bool:
    """Whether `path` is a temporary file of `replacing`."""
    return path.name.startswith(UNFINISHED)


def sweep(folder: Path) -> int:
    """Remove unfinished files and folders of interrupted processes; returns their number.

    Use it only for a folder that no other process writes to.
    """
    leftovers = list(folder.glob(f"{UNFINISHED}*"))
    for leftover in leftovers:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return len(leftovers)


@contextmanager
def locked(path: Path, busy: str, wait: bool = False) -> Iterator[None]:
    """Lock a file, which is made if missing, or a folder (by the file `.NAME.lock` next to it) against other processes.

    busy: the message if another process has the lock: of the UserError or, with `wait`, on standard error before
    waiting.  The lock ends with the process.
    """
    path = path.resolve()
    beside = path.with_name(f".{path.name}.lock") if path.is_dir() else None
    lock = FileLock(beside or path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise UserError(busy) from None
        print(busy, file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        if beside:  # while it is held: who waits for a removed file tries again
            beside.unlink(missing_ok=True)
        lock.release()


@contextmanager
def locked_run(run: Path) -> Iterator[None]:
    """Lock a run directory, which is made if missing; UserError if another process trains there."""
    lock = run / ".lock"
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise UserError(f"{run}: cannot be used as a run directory: {error}") from None
    with locked(lock, f"{run}: another process is training here; wait for it or choose another --run"):
        yield
