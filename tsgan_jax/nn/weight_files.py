"""Files of published weights: their hash, and safe reading."""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256

T = TypeVar("T")


def read_weights(path: Path, network: str, readers: Mapping[str, Callable[[Path], T]], instead: str) -> tuple[T, str]:
    """What the reader for the file's suffix returns, and the file's SHA-256.

    instead: the fix if there is no such file.  Raises UserError for a file that is missing or cannot be read, has
    another suffix, or begins with other digits than those of a name ...-XXXXXXXX.pth, as torch uses.
    """
    if path.suffix not in readers:
        known = ", ".join(readers)
        raise UserError(f"{path}: {network} weights must be one of {known}, not {path.suffix or 'no suffix'!r}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; {instead}")
    digest = file_sha256(path)
    named = re.fullmatch(r".*-([0-9a-f]{8,64})\.pth", path.name)
    if named and not digest.startswith(named[1]):
        raise UserError(
            f"{path}: its SHA-256 begins with {digest[:8]}, not with {named[1]} as its name says; fetch it again"
        )
    try:
        return readers[path.suffix](path), digest
    except (OSError, ValueError, RuntimeError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as {network} weights ({error}); fetch the file again") from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
