"""Scans as a hospital's archive gives them: a DICOM series written slice by slice, and NIfTI with a header to spoil."""

import gzip
import locale
import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SERIES = "1.2.826.0.1.3680043.2.1125.1"


def image_of(
    voxels: np.ndarray,
    spacing: tuple[float, float, float] = (0.7, 0.7, 2.5),
    origin: tuple[float, float, float] = (-195.1, -160.3, -340.7),
) -> sitk.Image:
    """ITK's image of voxels [z, y, x]; spacing and origin: x, y, z."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def write_dicom(folder: Path, image: sitk.Image, series: str = SERIES, first: int = 0, **tags: str) -> list[Path]:
    """A series, one file a slice, returned in order of k; tags: `x0018_1120="12"` sets a tag of every slice."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    characters = locale.setlocale(locale.LC_CTYPE)
    paths = []
    for k in range(image.GetDepth()):
        plane = image[:, :, k]
        position = image.TransformIndexToPhysicalPoint((0, 0, k))
        written = {
            "0008|0060": "CT",
            "0008|103e": "chest",
            "0010|0020": "patient 1",
            "0020|000e": series,
            "0008|0018": f"{series}.{first + k}",
            "0020|0032": "\\".join(f"{c:.10g}" for c in position),
            "0020|0037": "\\".join(f"{direction[at]:.10g}" for at in (0, 3, 6, 1, 4, 7)),
            "0020|0013": str(k),
            **{name[1:].replace("_", "|"): value for name, value in tags.items()},
        }
        for tag, value in written.items():
            plane.SetMetaData(tag, value)
        # Names in no order of position, as archives give them.
        path = folder / f"IM{(7 * (first + k)) % 101:04d}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(plane)
        paths.append(path)
    locale.setlocale(locale.LC_CTYPE, characters)  # which GDCM's writer sets to C, and later tests read text
    return paths


def spoil_nifti(path: Path, offset: int, form: str, *values: float) -> None:
    """Overwrite values of a .nii.gz header, at a byte."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(f"<{form}", content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)))
