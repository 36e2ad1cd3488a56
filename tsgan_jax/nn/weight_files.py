"""Files of published weights: their hash, and safe reading of PyTorch's format."""

import pickle
import re
from pathlib import Path

import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256


def sha256(path: Path) -> str:
    """SHA-256 of the file.  UserError unless it begins with the digits of a name ...-XXXXXXXX.pth, as torch uses."""
    digest = file_sha256(path)
    named = re.fullmatch(r".*-([0-9a-f]{8,64})\.pth", path.name)
    if named and not digest.startswith(named[1]):
        raise UserError(
            f"{path}: its SHA-256 begins with {digest[:8]}, not with {named[1]} as its name says; fetch it again"
        )
    return digest


def read_torch(path: Path, instead: str = "") -> dict[str, np.ndarray]:
    """The arrays of a state dict, by name, loaded with weights_only.

    instead: an alternative for the user, for the message when torch is not installed.
    Raises ValueError for a file with anything else than tensors.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path}: reading a .pth file needs torch, which is not installed; install torch (the CPU build is enough)"
            f"{instead}"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return {name: value.numpy() for name, value in state.items() if hasattr(value, "numpy")}
