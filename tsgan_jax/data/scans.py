"""Scans as hospitals keep them: a DICOM series, NIfTI or MetaImage, on the grid that their files describe.

World coordinates are ITK's, LPS in mm, whatever the file's own: NIfTI's are RAS.  SimpleITK reads the files; what it
would let pass of NIfTI is checked here, of DICOM in dicom.py, of MetaImage in metaimage.py.
"""

import gzip
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.data.dicom import read_series, reason, value
from tsgan_jax.data.metaimage import SPACING_MM, Triple, VolumeError, load
from tsgan_jax.errors import UserError

NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Scan:
    """An image on the grid of its files.

    image: ITK's; name: the file's without suffix, or the SeriesInstanceUID; patient: the same for the series of one
    patient; slices: the DICOM file of each k of the grid (i, j, k), relative to its folder, else empty.
    """

    path: Path
    image: Any
    name: str
    patient: str
    slices: tuple[str, ...] = ()


def read_scan(path: Path, series: str | None = None) -> Scan:
    """A scan from a folder with a DICOM series (series: its SeriesInstanceUID), or from a .nii, .nii.gz or .mhd file.

    Raises VolumeError for whatever makes it unusable, with the file and the fix.
    """
    if path.is_dir():
        image, uid, patient, slices = read_series(path, series)
        scan = Scan(path, image, uid, patient or uid, slices)
    elif series is not None:
        raise UserError(f"{path}: not a folder of DICOM files; --series chooses among the series of one")
    elif not path.is_file():
        raise UserError(f"{path}: does not exist; give a folder of DICOM files, or a .nii, .nii.gz or .mhd file")
    elif path.name.lower().endswith(NIFTI):
        name = stem(path)
        scan = Scan(path, read_nifti(path), name, name)
    elif path.suffix == ".mhd":
        scan = Scan(path, load(path, path.parent), path.stem, path.stem)
    else:
        raise UserError(f"{path}: expected .nii, .nii.gz or .mhd, or for DICOM the folder of the whole series")
    if not all(SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in scan.image.GetSpacing()):
        raise VolumeError(f"{path}: spacing {scan.image.GetSpacing()} mm; expected {SPACING_MM[0]} to {SPACING_MM[1]}")
    return scan


def stem(path: Path) -> str:
    """The file's name without .nii, .nii.gz or its other suffix."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) if is_nifti(path) else path.stem


def is_nifti(path: Path) -> bool:
    """Whether a file is NIfTI by its name."""
    return path.name.lower().endswith(NIFTI)


def read_nifti(path: Path) -> Any:
    """ITK's image of a NIfTI file, in LPS, its slope and intercept applied.

    NIfTI stores spacing and origin in single precision: each is read as the shortest decimal that rounds to it, so
    that 0.7 is 0.7.
    Raises VolumeError for a file that is damaged, not a volume of one channel, sheared, or without orientation.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            shape, channels = " x ".join(map(str, reader.GetSize())), reader.GetNumberOfComponents()
            raise VolumeError(f"{path}: an image of {shape} voxels of {channels} values; expected one 3-D volume")
        if all(_whole(reader, name) == 0 for name in ("qform_code", "sform_code")):
            raise VolumeError(f"{path}: neither qform nor sform is set, so left and right are unknown; export it again")
        needed = math.prod(reader.GetSize()) * _whole(reader, "bitpix") // 8
        _check_bytes(path, float(value(reader, "vox_offset") or 0), needed)
        image = reader.Execute()
    except RuntimeError as error:
        raise VolumeError(f"{path}: ITK cannot read it ({reason(error)}); export it again") from None
    if _whole(reader, "sform_code"):
        affine = np.array([value(reader, f"srow_{axis}").split() for axis in "xyz"], float) * [[-1], [-1], [1]]
        axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        if not np.allclose(affine, np.column_stack([axes, image.GetOrigin()]), atol=0.02):
            raise VolumeError(
                f"{path}: sform is sheared, and ITK takes qform for it; resample the image to an axial grid"
            )
    image.SetSpacing([_decimal(mm) for mm in image.GetSpacing()])
    image.SetOrigin([_decimal(mm) for mm in image.GetOrigin()])
    return image


def _check_bytes(path: Path, offset: float, needed: int) -> None:
    """Raise VolumeError unless a NIfTI file has its voxels: ITK fills in what is missing of a compressed one."""
    found = path.stat().st_size
    if path.suffix.lower() == ".gz":
        found = 0
        try:
            with gzip.open(path) as stream:
                while part := stream.read(1 << 24):
                    found += len(part)
        except (EOFError, OSError, zlib.error) as error:
            raise VolumeError(f"{path}: ends early or is damaged ({error}); fetch or export it again") from None
    if found - offset < needed:
        raise VolumeError(f"{path}: {found - offset:.0f} bytes of voxels, its header needs {needed}; export it again")


def write_nifti(path: Path, voxels: np.ndarray, like: Any) -> None:
    """Write voxels [z, y, x] of `axial(like)` in the axes of the image `like`; if they are fewer, they are larger."""
    import SimpleITK as sitk

    axes = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(like.GetDirection())
    _write(path, sitk.DICOMOrient(image_like(voxels, sitk.DICOMOrient(like, "LPS")), axes))


def voxels_of(image: Any) -> np.ndarray:
    """Voxels [k, j, i] of ITK's image."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image)


def image_like(voxels: np.ndarray, like: Any) -> Any:
    """ITK's image of voxels [k, j, i] that fill the space of the image `like`."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels)
    factor = np.divide(like.GetSize(), image.GetSize())
    image.SetDirection(like.GetDirection())
    image.SetSpacing((factor * like.GetSpacing()).tolist())
    image.SetOrigin(like.TransformContinuousIndexToPhysicalPoint(((factor - 1) / 2).tolist()))
    return image


def write_metaimage(path: Path, voxels: np.ndarray, spacing: Triple, origin: Triple) -> None:
    """Write voxels [z, y, x] of an axial grid as .mhd with .zraw; spacing z, y, x and origin x, y, z in mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin(origin)
    _write(path, image)


def _write(path: Path, image: Any) -> None:
    import SimpleITK as sitk

    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be written ({reason(error)}); check the disk") from None


def _whole(reader: Any, name: str) -> int:
    return int(value(reader, name) or 0)


def _decimal(number: float) -> float:
    """The shortest decimal that is `number` in single precision."""
    return float(str(np.float32(number)))
