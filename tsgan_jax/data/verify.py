"""Checks of a LUNA16 tree, with one verdict per scan.  A scan that cannot be used is reported and left out."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from tsgan_jax import labels
from tsgan_jax.data.metaimage import VolumeError
from tsgan_jax.data.nodules import Nodule, find_annotations, read_annotations
from tsgan_jax.data.slices import fold_of, scan_of
from tsgan_jax.data.volume import Volume, read_labels, read_volume
from tsgan_jax.errors import UserError

LUNG_MASKS = "seg-lungs-LUNA16"
SEG_LEFT, SEG_RIGHT, SEG_TRACHEA = 3, 4, 5  # LUNA16's codes, sides verified in every scan (FACTS A24)


@dataclass(frozen=True)
class Case:
    """A scan found in the tree, not yet read.  fault: why it cannot be used, whatever its content; "" for none."""

    seriesuid: str
    path: Path
    subset: int | None
    fold: int
    lung_mask: Path | None
    nodules: tuple[Nodule, ...]
    fault: str = ""

    def verdict(self, root: Path) -> "ScanVerdict":
        """The verdict before anything is read."""
        return ScanVerdict(self.seriesuid, str(self.path.relative_to(root)), self.subset, self.fold, "ok")


@dataclass(frozen=True)
class Tree:
    """A LUNA16 tree.

    dropped: rows of annotations.csv that cannot be used, with reasons; unknown: rows of scans that are not here.
    """

    root: Path
    cases: tuple[Case, ...]
    dropped: tuple[str, ...]
    unknown: int


@dataclass(frozen=True)
class ScanVerdict:
    """The result of checking one scan.

    nodules: usable annotations; dropped: reasons for the others; lungs: source of the lung mask.
    A scan without a lung mask is a warning only if the tree has lung masks for others.
    """

    seriesuid: str
    file: str
    subset: int | None
    fold: int
    status: Literal["ok", "warning", "refused"]
    reasons: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    nodules: int = 0
    dropped: tuple[str, ...] = ()
    lungs: Literal["seg-lungs", "segmented", ""] = ""
    slices: int = 0

    def line(self) -> str:
        """The verdict as one line of text."""
        facts = "left out"
        if self.status != "refused":
            facts = f"{self.nodules} nodules, {self.slices} slices, lungs {self.lungs}"
        notes = "; ".join((*self.reasons, *self.dropped))
        return f"{self.status:8} {self.file} (fold {self.fold}): {facts}" + (f"; {notes}" if notes else "")


@dataclass(frozen=True)
class Checked:
    """A usable scan.  lungs: uint8 [z, y, x], classes 0, 2, 3, 4; nodules: those in the volume."""

    verdict: ScanVerdict
    volume: Volume
    lungs: np.ndarray | None
    nodules: tuple[Nodule, ...]


def find_cases(root: Path) -> Tree:
    """The scans of a tree: subset*/**/*.mhd, or *.mhd in its root when it has no subset folders.

    Raises UserError when the root, the annotations or any scan is missing.
    """
    if not root.is_dir():
        raise UserError(f"data.root: {root} is not a folder; give the folder that holds subset0 .. subset9")
    annotations, dropped = read_annotations(find_annotations(root))
    files, subsets = _scan_files(root)
    if not files:
        raise UserError(f"data.root: {root} holds no .mhd scans, neither in subset folders nor directly")
    groups = defaultdict(list)
    for path, subset in files:
        groups[scan_of(path.stem)].append((path, subset))
    cases = []
    for path, subset in files:
        mask = root / LUNG_MASKS / path.name
        cases.append(
            Case(
                seriesuid=path.stem,
                path=path,
                subset=subset,
                fold=fold_of(path.stem, subset, subsets),
                lung_mask=mask if os.path.lexists(mask) else None,
                nodules=tuple(annotations.get(path.stem, ())),
                fault=_fault(root, path, groups[scan_of(path.stem)]),
            )
        )
    known = {case.seriesuid for case in cases}
    unknown = sum(len(rows) for seriesuid, rows in annotations.items() if seriesuid not in known)
    return Tree(root, tuple(cases), tuple(dropped), unknown)


def check_case(case: Case, root: Path) -> Checked:
    """Read one scan with its lung mask and place its nodules.

    Raises UserError for what makes the scan unusable, and OSError for a file that cannot be read.
    """
    if case.fault:
        raise UserError(case.fault)
    warnings: list[str] = []
    volume, lungs = read_volume(case.path, root), None
    if case.lung_mask is not None:
        lungs, warning = remap_lungs(read_labels(case.lung_mask, root, volume), case.lung_mask)
        warnings += [warning] if warning else []
    if lungs is None and (root / LUNG_MASKS).is_dir():
        warnings.append(f"no mask in {LUNG_MASKS}, lungs are segmented from HU")
    if volume.overflow:
        warnings.append(f"{volume.overflow} voxels above 3071 HU clamped")
    kept, dropped = place_nodules(volume, case.nodules)
    verdict = replace(
        case.verdict(root),
        status="warning" if warnings or dropped else "ok",
        reasons=tuple(warnings),
        size=volume.hu.shape[::-1],
        spacing_mm=volume.spacing[::-1],
        nodules=len(kept),
        dropped=dropped,
        lungs="seg-lungs" if lungs is not None else "segmented",
    )
    return Checked(verdict, volume, lungs, kept)


def place_nodules(volume: Volume, nodules: tuple[Nodule, ...]) -> tuple[tuple[Nodule, ...], tuple[str, ...]]:
    """The nodules that cross a slice of the volume, and the reasons for dropping the others.

    A centre above or below the volume is accepted as long as its sphere reaches the first or last slice.
    """
    kept, dropped = [], []
    size = np.array(volume.hu.shape[::-1])
    for nodule in nodules:
        voxel = volume.voxel(nodule.centre)
        inside = (voxel >= -0.5) & (voxel < size - 0.5)
        beyond = max(-voxel[2], voxel[2] - (size[2] - 1)) * volume.spacing[0]
        if inside[:2].all() and (inside[2] or beyond < nodule.diameter / 2):
            kept.append(nodule)
        else:
            place = ", ".join(f"{v:.0f}" for v in voxel)
            dropped.append(f"nodule at voxel ({place}) is outside the volume of {' x '.join(map(str, size))}")
    return tuple(kept), tuple(dropped)


def remap_lungs(mask: np.ndarray, path: Path) -> tuple[np.ndarray, str]:
    """LUNA16's codes as classes of this project: uint8, classes 0, 2, 3, 4, and a warning ("" for none).

    The left lung must have the larger mean x; swapped codes are corrected, with a warning.
    Raises VolumeError for codes that LUNA16 does not use.
    """
    codes = set(np.unique(mask).tolist())
    if not codes <= {0, SEG_LEFT, SEG_RIGHT, SEG_TRACHEA}:
        raise VolumeError(f"{path}: label codes {sorted(codes)}; expected 0, 3 (left), 4 (right), 5 (trachea)")
    if not codes & {SEG_LEFT, SEG_RIGHT}:
        raise VolumeError(f"{path}: no lung (codes {sorted(codes)}); remove it to have the lungs segmented from HU")
    left, right, warning = labels.LEFT_LUNG, labels.RIGHT_LUNG, ""
    if {SEG_LEFT, SEG_RIGHT} <= codes and _mean_x(mask == SEG_LEFT) < _mean_x(mask == SEG_RIGHT):
        left, right, warning = right, left, "lung mask has left and right exchanged, corrected"
    table = np.zeros(SEG_TRACHEA + 1, np.uint8)
    table[[SEG_LEFT, SEG_RIGHT, SEG_TRACHEA]] = left, right, labels.TRACHEA
    return table[mask.astype(np.uint8)], warning


def _scan_files(root: Path) -> tuple[list[tuple[Path, int | None]], set[int]]:
    """Every .mhd that is a scan, with the number of its subset folder, and those of all subset folders.

    Empty subset folders count, so that missing scans do not move the others to other folds.
    Raises UserError for a folder that cannot be listed.
    """

    def unlisted(error: OSError) -> NoReturn:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")

    def scans(folder: Path) -> list[Path]:
        walk = os.walk(folder, onerror=unlisted)
        return [Path(at) / name for at, _, names in walk for name in names if is_scan(name)]

    def is_scan(name: str) -> bool:
        return name.endswith(".mhd") and not name.startswith(".")

    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        unlisted(error)
    folders = [(entry, re.fullmatch(r"subset(\d+)", entry.name.lower())) for entry in entries if entry.is_dir()]
    subsets = [(folder, int(match[1])) for folder, match in folders if match]
    if not subsets:
        return [(entry, None) for entry in entries if is_scan(entry.name)], set()
    found = [(path, number) for folder, number in subsets for path in scans(folder)]
    return sorted(found), {number for _, number in subsets}


def _fault(root: Path, path: Path, group: list[tuple[Path, int | None]]) -> str:
    """Why a scan is not used, whatever its content; "" for none.  group: the files of the same scan, with subsets."""
    from tsgan_jax.files import safe_name  # imported here: the workers, which import this module, do not need it

    for other, _ in group:
        if other != path and other.stem == path.stem:
            return f"{path.name} is also in {other.parent.relative_to(root)}; keep one of the two"
    subsets = sorted({subset for _, subset in group if subset is not None})
    if len(subsets) > 1:
        return f"slices of scan {scan_of(path.stem)} are in subset folders {subsets}; keep a scan in one of them"
    try:
        safe_name(path.stem, str(path))
    except UserError as error:
        return str(error)
    return ""


def _mean_x(mask: np.ndarray) -> float:
    columns = mask.sum(axis=(0, 1), dtype=np.int64)
    return float(columns @ np.arange(columns.size) / columns.sum())
