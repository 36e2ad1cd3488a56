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

SEAL = "seal"
"""The field of a JSON object with the hash of the others."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def safe_name(name: object, source: str = "file name") -> str:
    """`name` if it is a bare file name of letters, digits, dot, dash and underscore.

    source: description of the name in the error message.
    Raises UserError otherwise, because a name read from a file must not lead out of its folder.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{source}: {name!r} is refused; use a bare name of letters, digits, '.', '-' and '_'")
    return name


def is_path(name: object) -> bool:
    """Whether a value that was read from a file can be a path: a text that file systems take."""
    if not isinstance(name, str) or not name or not name.isprintable():
        return False
    return all(len(part.encode()) <= 255 for part in Path(name).parts) and len(name) < 1000


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


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """As `write_json`, with a hash of the object in it, which `read_object` compares."""
    write_json(path, {**value, SEAL: seal_of(value)}, indent=1)


def seal_of(*values: Any) -> str:
    """SHA-256 (first 16 hex digits) of JSON values, independent of key order."""
    plain = json.loads(json.dumps(values))  # as they are read: names of fields are text
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def read_json(path: Path) -> Any:
    """The value in a JSON file; UserError names a file that is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None


def read_object(path: Path, **fields: Any) -> dict[str, Any]:
    """The object in a JSON file, without its seal.

    fields: the type of a field that must be there, or the value that one has which is not there, whose type it must
    have.  Raises UserError, which names the file, for another value or type, and where the seal is of another object.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds {type(found).__name__}, not an object; restore the file or remove it")
    if SEAL in found and found.pop(SEAL) != seal_of(found):
        raise UserError(f"{path}: changed since it was written; restore the file or remove it")
    for name, kind in fields.items():
        if not isinstance(kind, type):
            found.setdefault(name, kind)
            kind = type(kind)
        if not isinstance(found.get(name), (int, float) if kind is float else kind):
            raise UserError(f"{path}: {name} is {found.get(name)!r:.80}; restore the file or remove it")
    return found


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
