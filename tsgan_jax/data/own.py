"""A hospital's own scans as a LUNA16 tree: voxels as MetaImage in subset folders, nodules in annotations.csv.

Everything after this reads the tree as it reads LUNA16's, and neither DICOM headers nor names of patients are in it.
A nodule is a sphere (FACTS A25).  Of a mask's component it has the centre and the area of the widest axial section.
"""

import csv
import hashlib
import io
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from tsgan_jax.components import SMALLEST_NODULE
from tsgan_jax.data.metaimage import VolumeError, axial, read_image
from tsgan_jax.data.nodules import COLUMNS, Nodule, read_annotations
from tsgan_jax.data.scans import Scan, image_like, read_scan, write_metaimage
from tsgan_jax.data.slices import NUM_FOLDS, scan_of
from tsgan_jax.data.volume import HU_MAX, Volume, check_grid, hounsfield
from tsgan_jax.errors import UserError
from tsgan_jax.files import UNFINISHED, locked, read_json, read_object, safe_name, write_bytes, write_json

RECORD = "sources.json"
ANNOTATIONS = "annotations.csv"

Say = Callable[[str], None]


def add_scans(
    root: Path, images: Sequence[Path], nodules: Sequence[Path], series: str | None = None, say: Say = print
) -> int:
    """Add scans with their nodules to the tree `root`, which is made; returns how many were added or already there.

    nodules: one CSV of LUNA16's columns for all images, or for each image, in their order, a COCO file (.json) or a
    volume of the image's grid whose components are nodules.  An image that cannot be used is named and left out.
    Scans of one patient get the same subset folder, others the folder with the fewest scans.
    Raises UserError if no image can be used, and for a tree that this function has not made.
    """
    if len(nodules) != (1 if nodules and nodules[0].suffix.lower() == ".csv" else len(images)):
        raise UserError(
            f"--nodules: {len(nodules)} files for {len(images)} images; give one .csv for all, or for each image "
            "a COCO .json or a mask, in the order of the images"
        )
    if series is not None and len(images) > 1:
        raise UserError("--series: chooses a series of one folder; give one --image")
    if root.is_dir() and not (root / RECORD).is_file() and any(root.iterdir()):
        raise UserError(f"data.root: {root} is not empty, and its scans were not added by --image; name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    refused = []
    with locked(root, f"{root}: another process adds scans to it"):
        record = _record(root / RECORD)
        write_json(root / RECORD, record, indent=1)
        for fold in range(NUM_FOLDS):
            (root / f"subset{fold}").mkdir(exist_ok=True)
        table = _Table(nodules[0], say) if nodules[0].suffix.lower() == ".csv" else None
        for number, path in enumerate(images):
            try:
                scan = read_scan(path, series)
                source = nodules[0 if table else number]
                _add(root, record, scan, source, table, say)
            except UserError as error:
                refused.append(str(error))
                say(f"refused  {error}")
    if len(refused) == len(images):
        raise UserError(f"{root}: no image could be added; the first refusal: {refused[0]}")
    return len(images) - len(refused)


def _record(path: Path) -> dict[str, Any]:
    """What the tree's scans are from; UserError if it cannot be known."""
    record = read_object(path) if path.is_file() else {}
    if not all(isinstance(facts, dict) and isinstance(facts.get("patient"), str) for facts in record.values()):
        raise UserError(f"{path}: does not name the patient of each scan; add the scans anew, to another folder")
    return record


class _Table:
    """A CSV of nodules of several scans; reasons for rows that cannot be used are said."""

    def __init__(self, path: Path, say: Say) -> None:
        if not path.is_file():
            raise UserError(f"{path}: does not exist; expected a CSV with the columns {','.join(COLUMNS)}")
        self.path, (self.rows, dropped) = path, read_annotations(path)
        for reason in dropped:
            say(f"dropped  {reason}")

    def of(self, scan: Scan) -> list[Nodule]:
        """The nodules of a scan, by its name in the tree or its file's."""
        names = dict.fromkeys((scan.name, scan.path.name))
        found = [nodule for name in names for nodule in self.rows.get(name, ())]
        if not found:
            held = ", ".join(sorted(self.rows)[:3]) or "none"
            raise UserError(f"{self.path}: no nodule has the seriesuid {scan.name}; it has {held}")
        return found


def _add(root: Path, record: dict[str, Any], scan: Scan, source: Path, table: _Table | None, say: Say) -> None:
    """Write one scan, its rows and its entry in the record."""
    name = safe_name(scan.name, str(scan.path))
    voxels, spacing, origin = axial(scan.image, scan.path)
    volume = hounsfield(scan.path, name, voxels, spacing, origin)
    found = table.of(scan) if table else _spheres(source, volume, _marked(source, scan, volume), say)
    patient = hashlib.sha256(scan_of(scan.patient).encode()).hexdigest()[:16]
    place = _folder(root, record, name, patient) / f"{name}.mhd"
    if place.is_file():
        held, held_spacing, held_origin = read_image(place, root)
        if not np.array_equal(held, volume.hu) or (held_spacing, held_origin) != (spacing, origin):
            raise UserError(f"{scan.path}: {place} holds another scan of this name; rename one, or remove it there")
    else:
        part = root / f"{UNFINISHED}{name}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        write_metaimage(part / place.name, volume.hu, spacing, origin)
        for suffix in (".zraw", ".mhd"):  # the header last: without it nothing is a scan
            (part / place.name).with_suffix(suffix).replace(place.with_suffix(suffix))
        part.rmdir()
    record[name] = {"image": str(scan.path.resolve()), "nodules": str(source.resolve()), "patient": patient}
    write_json(root / RECORD, record, indent=1)
    _write_rows(root / ANNOTATIONS, name, found)
    clamped = f"; {volume.overflow} voxels above {HU_MAX} HU clamped" if volume.overflow else ""
    say(f"added    {scan.path} as {place.relative_to(root)}: {len(found)} nodules{clamped}")


def _folder(root: Path, record: dict[str, Any], name: str, patient: str) -> Path:
    """The subset folder of a scan: where it is, else where the patient's others are, else the emptiest."""
    places = {path.stem: path.parent for path in sorted(root.glob("subset*/*.mhd"))}
    same = [name, *(other for other, facts in record.items() if facts["patient"] == patient)]
    if known := [places[one] for one in same if one in places]:
        return known[0]
    folders = [root / f"subset{fold}" for fold in range(NUM_FOLDS)]
    return min(folders, key=list(places.values()).count)


def _write_rows(path: Path, name: str, nodules: Sequence[Nodule]) -> None:
    """Write or replace a scan's rows."""
    rows = read_annotations(path)[0] if path.is_file() else {}
    rows[name] = list(nodules)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((uid, *one.centre, one.diameter) for uid in sorted(rows) for one in rows[uid])
    write_bytes(path, text.getvalue().encode())


def _marked(source: Path, scan: Scan, volume: Volume) -> np.ndarray:
    """[z, y, x], numbers of nodules, 0 elsewhere, from a mask or from the boxes of a COCO file."""
    if source.suffix.lower() == ".json":
        return axial(image_like(_boxes(source, scan), scan.image), source)[0]
    mask, spacing, origin = axial(read_scan(source).image, source)
    check_grid(source, mask, spacing, origin, volume)
    if not np.array_equal(mask, np.rint(mask)) or mask.min() < 0 or mask.max() >= 2**16:
        raise VolumeError(f"{source}: values from {mask.min():g} to {mask.max():g}; expected 0, and a number a nodule")
    return mask


def _spheres(source: Path, volume: Volume, marked: np.ndarray, say: Say) -> list[Nodule]:
    """A nodule for each component of equal numbers; those below 3 mm are left out.

    Raises UserError if none is left.
    """
    found, specks = [], 0
    step_z, step_y, step_x = volume.spacing
    for number, part in enumerate(ndimage.find_objects(marked.astype(np.uint16)), start=1):
        if part is None:
            continue
        components, _ = ndimage.label(marked[part] == number, np.ones((3, 3, 3), bool))
        for index, window in enumerate(ndimage.find_objects(components), start=1):
            inside = components[window] == index
            areas = inside.sum(axis=(1, 2))
            widest = np.flatnonzero(areas == areas.max())
            k = int(widest[len(widest) // 2])
            diameter = 2 * math.sqrt(areas[k] * step_y * step_x / math.pi)
            if diameter < SMALLEST_NODULE.diameter_mm:
                specks += 1
                continue
            rows, columns = np.nonzero(inside[k])
            first = [outer.start + inner.start for outer, inner in zip(part, window, strict=True)]
            voxel = (first[2] + columns.mean(), first[1] + rows.mean(), first[0] + k)
            x, y, z = np.add(volume.origin, np.multiply(voxel, (step_x, step_y, step_z))).tolist()
            found.append(Nodule(volume.seriesuid, (x, y, z), diameter))
    if specks:
        say(f"dropped  {source}: {specks} components below {SMALLEST_NODULE.diameter_mm:g} mm")
    if not found:
        raise UserError(f"{source}: marks no nodule")
    return found


def _boxes(path: Path, scan: Scan) -> np.ndarray:
    """uint8 [k, j, i] on the grid of the scan's files: 1 in the ellipse of each box of a COCO file.

    An image of the file is a DICOM file of the scan, by `file_name`, or slice `slice_index` of another.
    """
    tree = read_json(path)
    try:
        images = {image["id"]: image for image in tree["images"]}
        names = {one["id"]: str(one["name"]) for one in tree["categories"]}
        found = [a for a in tree["annotations"] if len(names) == 1 or "nodule" in names[a["category_id"]].lower()]
        boxes = [(images[a["image_id"]], *_four(a["bbox"])) for a in found]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: not a COCO file of boxes ({type(error).__name__}: {error})") from None
    if not boxes:
        raise UserError(f"{path}: no box of a category named nodule; categories are {sorted(names.values())}")
    width, height, depth = scan.image.GetSize()
    marked = np.zeros((depth, height, width), np.uint8)
    for image, x, y, w, h in boxes:
        k = _slice_of(path, image, scan)
        for side, size in (("width", width), ("height", height)):
            if image.get(side, size) != size:
                raise UserError(f"{path}: image {image['id']} has {side} {image[side]}, the scan's slices have {size}")
        if not (w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width and y + h <= height):
            raise UserError(f"{path}: the box {[x, y, w, h]} is not inside the slice of {width} x {height} pixels")
        across = (np.arange(width) - (x + (w - 1) / 2)) / (w / 2)
        down = (np.arange(height) - (y + (h - 1) / 2)) / (h / 2)
        marked[k] |= down[:, None] ** 2 + across**2 <= 1
    return marked


def _four(box: Any) -> tuple[float, float, float, float]:
    x, y, w, h = map(float, box)
    return x, y, w, h


def _slice_of(path: Path, image: dict[str, Any], scan: Scan) -> int:
    """The slice k of the scan's own grid that an image of a COCO file is."""
    if not scan.slices:
        k = image.get("slice_index")
        if not isinstance(k, int) or not 0 <= k < scan.image.GetSize()[2]:
            last = scan.image.GetSize()[2] - 1
            raise UserError(f"{path}: image {image['id']} has slice_index {k!r}; expected 0 to {last}")
        return k
    name = str(image.get("file_name"))
    found = [k for k, one in enumerate(scan.slices) if name in (one, Path(one).name)]
    if len(found) != 1:
        raise UserError(f"{path}: file_name {name} is {'no file' if not found else 'several files'} of {scan.path}")
    return found[0]
