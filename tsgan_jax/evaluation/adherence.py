"""Adherence of generated CT to its mask: Dice of this project's lung segmentation of the CT, and nodule contrast.

The segmentation has errors on real slices too, so its agreement with real masks is reported as the ceiling of each
figure.  The ceiling is too high where real masks are from the same segmentation (scans without seg-lungs masks).
"""

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
from scipy import ndimage
from scipy.stats import wasserstein_distance

from tsgan_jax.components import SMALLEST_NODULE, Component, components
from tsgan_jax.data import lungs
from tsgan_jax.data.slices import pool_classes
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.intervals import bootstrap, by_scan
from tsgan_jax.evaluation.records import MakeRecord, Record
from tsgan_jax.labels import BACKGROUND, LEFT_LUNG, NODULE, NUM_CLASSES, RIGHT_LUNG, TRACHEA

CLASSES = {
    "body": [label for label in range(NUM_CLASSES) if label != BACKGROUND],
    "left lung": [LEFT_LUNG],
    "right lung": [RIGHT_LUNG],
    "trachea": [TRACHEA],
}
"""Names and their labels."""
BLIND = 0.05
"""With a lower ceiling the segmentation cannot measure a class."""
FINEST_MM = 2.0
"""Coarser pixels are subdivided before the CT is segmented."""
RING_MM = 5.0
"""Width (mm) of the ring of lung around a nodule that its contrast refers to."""
RING_PIXELS = 5
"""Minimum number of lung pixels in the ring."""

HuWithMask = tuple[np.ndarray, np.ndarray, float]
"""(mask uint8 [r, r], HU [r, r], side of a pixel in mm)."""


def measure_adherence(
    record: MakeRecord,
    generated: Iterable[HuWithMask],
    real: Iterable[HuWithMask],
    bootstraps: int = 200,
    scans: Iterable[str] | None = None,
) -> tuple[list[Record], dict[str, np.ndarray]]:
    """Records of Dice per class and of nodule contrast with the figure of real pairs as `floor`, and all contrasts.

    scans: the series of each real pair, None: every pair is a separate scan.
    Raises UserError if there are no generated or no real pairs.
    """
    made, held = ([(dice(*pair), nodule_contrasts(*pair)) for pair in pairs] for pairs in (generated, real))
    if not made or not held:
        raise UserError(f"mask adherence needs pairs on both sides; {len(made)} are generated, {len(held)} real")
    out = []
    for name in CLASSES:
        ours, theirs = (np.array([found[name] for found, _ in pairs if name in found]) for pairs in (made, held))
        reason = None if len(ours) else f"neither masks nor CT contain any {name}"
        if len(theirs) and theirs.mean() < BLIND:
            reason = f"the segmentation does not find the {name} in real slices of this pixel size either"
        value = None if reason else _mean(ours)
        interval = None if reason else bootstrap(np.mean, by_scan(ours), times=bootstraps)
        details = {"n_real": len(theirs)}
        out.append(record(name, "Dice", value, len(ours), interval, _mean(theirs), reason=reason, details=details))
    by_slice, by_patient = by_scan(values for _, values in made), by_scan((values for _, values in held), scans)
    contrasts = {"generated": np.concatenate([[], *by_slice]), "real": np.concatenate([[], *by_patient])}
    ours, theirs = contrasts["generated"], contrasts["real"]
    reason = None
    if not len(ours) or not len(theirs):
        reason = f"no nodule with lung around it: {len(ours)} generated, {len(theirs)} real ones"
    record = partial(record, "nodule contrast", n=len(ours), reason=reason, details={"n_real": len(theirs)})
    interval = bootstrap(np.mean, by_slice, times=bootstraps)
    out.append(record("HU above lung", value=_mean(ours), floor=_mean(theirs), interval=interval))
    value = None if reason else float(wasserstein_distance(ours, theirs))
    interval = bootstrap(wasserstein_distance, by_slice, by_patient, times=bootstraps)
    out.append(record("Wasserstein distance, HU", value=value, floor=_halves_apart(theirs), interval=interval))
    return out, contrasts


def dice(mask: np.ndarray, hu: np.ndarray, pixel_mm: float) -> dict[str, float]:
    """Dice of each class that the mask or the segmented CT has, 0 to 1.

    Body is all that is not background.  Nodule pixels are excluded, because the segmentation labels them as lung.
    """
    found, rest = _segmented(hu, pixel_mm), mask != NODULE
    out = {}
    for name, classes in CLASSES.items():
        drawn, segmented = (np.isin(labels, classes) & rest for labels in (mask, found))
        total = int(drawn.sum() + segmented.sum())
        if total:
            out[name] = 2 * float((drawn & segmented).sum()) / total
    return out


def nodule_contrasts(mask: np.ndarray, hu: np.ndarray, pixel_mm: float) -> list[float]:
    """HU of each nodule minus that of the lung within 5 mm; nodules with too little lung around them are excluded.

    Specks are not nodules (A28).  Pixels next to the nodule are mixed and are not used.
    """
    nodules = [one for one in components(mask == NODULE) if SMALLEST_NODULE.admits(one, pixel_mm)]
    found = [contrast(one, mask, hu, pixel_mm) for one in nodules]
    return [one for one in found if one is not None]


def contrast(component: Component, mask: np.ndarray, hu: np.ndarray, pixel_mm: float) -> float | None:
    """`nodule_contrasts` of one nodule; None with too little lung around it."""
    reach = 1 + max(1, round(RING_MM / pixel_mm))
    around, nodule = component.widened(reach, mask.shape)
    distance = ndimage.distance_transform_edt(~nodule)
    ring = np.isin(mask[around], (LEFT_LUNG, RIGHT_LUNG)) & (distance > 1.5) & (distance <= reach)
    if ring.sum() < RING_PIXELS:
        return None
    return float(hu[around][nodule].mean() - hu[around][ring].mean())


def _segmented(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Classes of CT [r, r]; coarse pixels are subdivided, because the segmentation has to resolve walls of 2 mm."""
    factor = max(1, math.ceil(pixel_mm / FINEST_MM))
    mm = pixel_mm / factor
    fine = ndimage.zoom(hu.astype(np.float32), factor, order=1, mode="nearest", grid_mode=True)
    found = lungs.segment(fine[None], (mm, mm, mm))[0]
    return pool_classes(found, len(hu)).argmax(-1) if factor > 1 else found


def _halves_apart(values: np.ndarray) -> float | None:
    """Mean Wasserstein distance between random halves."""
    if len(values) < 4:
        return None
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(values) for _ in range(20)]
    return float(np.mean([wasserstein_distance(v[: len(v) // 2], v[len(v) // 2 :]) for v in shuffled]))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
