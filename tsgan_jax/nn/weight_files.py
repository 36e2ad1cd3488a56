"""Files of published weights: their hash, and PyTorch's format read without trusting what is in it."""

import pickle
import re
from pathlib import Path

import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256


def sha256(path: Path) -> str:
    """Of the file; one named ...-XXXXXXXX.pth, as torch names its files, must begin with those digits."""
    digest = file_sha256(path)
    named = re.fullmatch(r".*-([0-9a-f]{8,64})\.pth", path.name)
    if named and not digest.startswith(named[1]):
        raise UserError(f"{path}: its SHA-256 begins with {digest[:8]}, its name promises {named[1]}; fetch it again")
    return digest


def read_torch(path: Path, instead: str = "") -> dict[str, np.ndarray]:
    """The arrays of a state dict, by name, tensors only (weights_only).

    instead: what else the user could give, for the message where torch is not installed.
    Raises ValueError for a file that holds anything but tensors.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path}: reading a .pth file needs torch, which is not installed; install torch (the CPU build will do)"
            f"{instead}"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return {name: value.numpy() for name, value in state.items() if hasattr(value, "numpy")}
