"""CT of masks that somebody painted: six-class masks in PNG or NIfTI files, to CT in files of the same kind.

All files are checked before the first is translated.  The CT of a file depends on its masks, the seed and the network
alone: the noise of slice i comes from `fold_in(key, i)` whatever the file.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.data.metaimage import axial
from tsgan_jax.data.scans import is_nifti, read_nifti, stem, voxels_of, write_nifti
from tsgan_jax.errors import UserError
from tsgan_jax.files import replacing
from tsgan_jax.generation.generate import set_key
from tsgan_jax.generation.networks import Networks
from tsgan_jax.images import check_mask, read_mask, resized_mask, to_uint8, write_hu, write_png
from tsgan_jax.labels import NUM_CLASSES

Say = Callable[[str], None]


def mask_files(masks: Path, side: int, resize: bool = False, say: Say = print) -> list[Path]:
    """The PNG and NIfTI files of a folder, by name, or the one file; all are read and checked.

    side: pixels of the network's masks.  resize: accept other squares, with a note.
    Raises UserError, with file, value and place, for what is no mask of the six classes or not of that size.
    """
    files = _files(masks, say)
    for path in files:
        if note := _read(path, side, resize)[2]:
            say(note)
    return files


def translate_files(networks: Networks, files: Sequence[Path], out: Path, seed: int = 0, say: Say = print) -> None:
    """Write the CT of each file of `mask_files` into the folder `out`, which must be new or empty.

    A PNG gives images/ (8 bits, in the network's window) and hu/ (16 bits, HU + 1024), a NIfTI file of axial slices
    nifti/ (HU, int16, on the same grid).  Masks of another size are resized by nearest neighbour.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: has files; choose a new folder")
    config = networks.trained.config
    for done, path in enumerate(files, start=1):
        codes, image, _ = _read(path, config.data.resolution, resize=True)
        ct = networks.ct(codes, set_key(seed, "ct"))
        if not np.isfinite(ct).all():
            raise UserError(f"{path}: the translator's CT is not finite; its training has diverged")
        hu = np.rint(ct).astype(np.int16)
        if image is not None:
            with replacing(_made(out / "nifti") / f"{stem(path)}.nii.gz") as temporary:
                write_nifti(temporary, hu, image)
        else:
            write_png(_made(out / "images") / f"{stem(path)}.png", to_uint8(hu[0], config.data.hu_window))
            write_hu(_made(out / "hu") / f"{stem(path)}.png", hu[0])
        say(f"{done} of {len(files)}: {path.name}, {len(codes)} slice{'s' * (len(codes) > 1)}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _files(masks: Path, say: Say) -> list[Path]:
    if not masks.is_dir():
        if not masks.is_file():
            raise UserError(f"{masks}: does not exist; give a folder of masks, PNG or NIfTI")
        return [masks]
    there = sorted(path for path in masks.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in there if is_nifti(path) or path.suffix.lower() == ".png"]
    if not files:
        raise UserError(f"{masks}: holds no masks; expected .png, .nii or .nii.gz")
    if len(files) < len(there):
        say(f"left out: {len(there) - len(files)} files that are neither PNG nor NIfTI")
    for one, other in zip(files, files[1:], strict=False):
        if stem(one) == stem(other) and is_nifti(one) == is_nifti(other):
            raise UserError(f"{other}: {one.name} would give CT of the same name; rename one")
    return files


def _read(path: Path, side: int, resize: bool) -> tuple[NDArray[np.uint8], Any, str]:
    """Masks uint8 [n, side, side] of a file, ITK's image of a NIfTI file or None, and a note if they were resized."""
    image = None
    if is_nifti(path):
        image = read_nifti(path)
        voxels = voxels_of(image)
        codes = voxels.astype(np.int64)
        if not np.array_equal(codes, voxels):
            raise UserError(f"{path}: values that are not whole; expected class codes, 0 to {NUM_CLASSES - 1}")
        check_mask(codes, str(path))
        masks = axial(image, path)[0].astype(np.uint8)
    else:
        masks = read_mask(path)[None]
    height, width = masks.shape[1:]
    if (height, width) == (side, side):
        return masks, image, ""
    resized = resized_mask(masks, side, str(path))
    found = f"{path}: {width} x {height} pixels, the network has {side} x {side}"
    if not resize:
        raise UserError(f"{found}; resize the mask, or say --resize to have it done by nearest neighbour")
    return resized, image, f"{found}: resized by nearest neighbour"
