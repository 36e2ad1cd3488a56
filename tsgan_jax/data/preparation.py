"""Stored slices of one scan, and of all scans of a tree in parallel.  Runs in worker processes, without TensorFlow."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from tsgan_jax import labels
from tsgan_jax.data.lungs import body_mask, segment
from tsgan_jax.data.slices import StoredSlice, chosen_indices, labelled_slices, resample
from tsgan_jax.data.verify import Case, Checked, ScanVerdict, Tree, check_case
from tsgan_jax.errors import UserError
from tsgan_jax.workers import cores, run_all

ScanProgress = Callable[[int, int, ScanVerdict], None]
"""Called after each scan with the scans done, the total and the verdict."""

ASTRAY_MM = 10.0
"""Largest usual distance from a nodule's edge to the nearest lung; of 1,038 real nodules one is farther away."""

AIRLESS_HU = -400.0
"""A slice whose lungs have a higher median HU has no valid lungs; real lungs reach -570."""

SMALLEST_MM = 20.0
"""Side of a slice below which nothing can be told of a chest."""

MAX_WORKERS = 8  # each holds a whole volume and its segmentation


def prepare_case(case: Case, root: Path, resolution: int) -> tuple[ScanVerdict, list[StoredSlice]]:
    """Read, check, label and resample one scan; whatever is wrong with it ends in its verdict.

    A defect of ours is raised: refusing scans for it would hide it.
    """
    try:
        checked = check_case(case, root)
        indices = chosen_indices(checked.volume, checked.nodules)
        if not indices:
            return checked.verdict, []
        slices = labelled_slices(checked.volume, checked.nodules, anatomy(checked, indices))
        stored = [resample(one, resolution) for one in slices]
    except UserError as error:
        return replace(case.verdict(root), status="refused", reasons=(str(error),)), []
    except (OSError, MemoryError) as error:
        place, cause = getattr(error, "filename", None) or case.path, getattr(error, "strerror", None) or error
        reason = f"{place}: cannot be read ({cause}); check permissions, the disk and the memory"
        return replace(case.verdict(root), status="refused", reasons=(reason,)), []
    verdict = replace(checked.verdict, slices=len(stored))
    if found := doubts(stored):
        verdict = replace(verdict, status="warning", reasons=(*verdict.reasons, *found))
    return verdict, stored


def doubts(slices: Sequence[StoredSlice]) -> list[str]:
    """Warnings that annotations, lung mask and CT may not belong together; no slice is dropped."""
    nodules, far, dense = 0, 0, 0
    for one in slices:
        lungs = (one.mask == labels.LEFT_LUNG) | (one.mask == labels.RIGHT_LUNG)
        dense += bool(lungs.any() and np.median(one.ct[lungs]) > AIRLESS_HU)
        distance = ndimage.distance_transform_edt(~lungs) if lungs.any() else np.full(lungs.shape, np.inf)
        for nodule in one.nodules:
            row = min(int(nodule.box.y + nodule.box.h / 2), len(lungs) - 1)
            column = min(int(nodule.box.x + nodule.box.w / 2), len(lungs) - 1)
            nodules += 1
            far += bool(distance[row, column] * one.pixel_mm - nodule.diameter_mm / 2 > ASTRAY_MM)
    found = []
    if far:
        found.append(
            f"{far} of {nodules} nodules drawn more than {ASTRAY_MM:g} mm from any lung: check that annotations.csv "
            "is in world coordinates (LPS, mm) and that CT and lung mask are of the same scan"
        )
    if dense:
        found.append(
            f"the lungs of {dense} of {len(slices)} slices have a median above {AIRLESS_HU:g} HU: check "
            "that CT and lung mask are of the same scan"
        )
    return found


def anatomy(checked: Checked, indices: Sequence[int]) -> np.ndarray:
    """uint8 [n, h, w], classes 0 to 4 of some slices, from the scan's lung mask if it has one, else segmented."""
    volume = checked.volume
    sides = [size * mm for size, mm in zip(volume.hu.shape[1:], volume.spacing[1:], strict=True)]
    if min(sides) < SMALLEST_MM:
        found = f"{sides[1]:g} x {sides[0]:g} mm"
        raise UserError(f"{checked.verdict.file}: slices of {found}; a chest needs {SMALLEST_MM:g} mm at least")
    if checked.lungs is None:
        return segment(volume.hu, volume.spacing)[list(indices)]
    given = checked.lungs[list(indices)]
    body = np.stack([body_mask(volume.hu[k : k + 1], volume.spacing)[0] for k in indices])
    return np.where(given > 0, given, np.where(body, labels.BODY, labels.BACKGROUND)).astype(np.uint8)


def prepare_cases(
    tree: Tree, resolution: int, workers: int | None = None, progress: ScanProgress | None = None
) -> list[tuple[ScanVerdict, list[StoredSlice]]]:
    """Prepare every case of the tree, in order, in `workers` processes (None: one per core, at most MAX_WORKERS)."""
    workers = min(workers or min(cores(), MAX_WORKERS), len(tree.cases))
    report = progress or (lambda done, total, verdict: None)
    return run_all(
        partial(prepare_case, root=tree.root, resolution=resolution),
        tree.cases,
        workers,
        lambda done, result: report(done, len(tree.cases), result[0]),
    )
