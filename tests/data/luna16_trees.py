"""Small LUNA16 trees for tests: a made-up chest of boxes, written file by file so that any part can be spoilt."""

import csv
import zlib
from pathlib import Path

import numpy as np

ROW = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")


def chest(shape: tuple[int, int, int] = (6, 48, 64)) -> np.ndarray:
    """int16 HU [z, y, x]: air, a body and two lungs."""
    z, h, w = shape
    hu = np.full(shape, -1000, np.int16)
    hu[:, h // 8 : -h // 8, w // 8 : -w // 8] = 40
    hu[:, h // 4 : -h // 4, w // 5 : 2 * w // 5] = -850
    hu[:, h // 4 : -h // 4, 3 * w // 5 : 4 * w // 5] = -850
    return hu


def lung_mask(hu: np.ndarray, left: int = 3, right: int = 4) -> np.ndarray:
    """uint8 [z, y, x]: LUNA16's codes for the lungs of `chest`; the patient's left has the larger x."""
    mask = np.where(hu == -850, right, 0).astype(np.uint8)
    half = hu.shape[2] // 2
    mask[:, :, half:][hu[:, :, half:] == -850] = left
    return mask


def write_mhd(
    path: Path,
    voxels: np.ndarray,
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0),
    origin: tuple[float, float, float] = (-30.0, -20.0, 5.0),
    compressed: bool = True,
    **fields: str,
) -> Path:
    """A .mhd with its data file.  spacing and origin: x, y, z.  fields: header lines to add, replace or ("") drop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.with_suffix(".zraw" if compressed else ".raw")
    payload = zlib.compress(voxels.tobytes()) if compressed else voxels.tobytes()
    data.write_bytes(payload)
    types = {"int16": "MET_SHORT", "uint8": "MET_UCHAR", "float32": "MET_FLOAT", "uint16": "MET_USHORT"}
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        "CompressedDataSize": str(len(payload)) if compressed else "",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": " ".join(map(str, origin)),
        "ElementSpacing": " ".join(map(str, spacing)),
        "DimSize": " ".join(map(str, voxels.shape[::-1])),
        "ElementType": types[voxels.dtype.name],
        **fields,
    }
    last = lines.pop("ElementDataFile", data.name)
    text = [f"{key} = {value}" for key, value in lines.items() if value] + [f"ElementDataFile = {last}"]
    path.write_text("\n".join(text) + "\n")
    return path


def write_annotations(root: Path, *rows: tuple) -> Path:
    """annotations.csv: rows of seriesuid, x, y, z, diameter."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "annotations.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(ROW)
        writer.writerows(rows)
    return path


def write_tree(root: Path, subsets: int = 10, masks: bool = True) -> Path:
    """One scan and one nodule, at voxel (20, 24, 2), in each subset folder."""
    hu = chest()
    for subset in range(subsets):
        write_mhd(root / f"subset{subset}" / f"scan{subset}.mhd", hu)
        if masks:
            write_mhd(root / "seg-lungs-LUNA16" / f"scan{subset}.mhd", lung_mask(hu))
    write_annotations(root, *((f"scan{subset}", -10.0, 4.0, 9.0, 8.0) for subset in range(subsets)))
    return root
