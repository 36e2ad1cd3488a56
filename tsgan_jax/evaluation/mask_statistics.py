"""Comparison of generated and real masks: Wasserstein distances of anatomical properties.

All masks are measured with the pixel size of the generated set, because the generator does not know the pixel size of
real patients and could not learn this difference.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import wasserstein_distance

from tsgan_jax.config import EvaluationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.intervals import bootstrap, by_scan, wilson
from tsgan_jax.evaluation.mask_variety import mask_features, measure_variety, place_in
from tsgan_jax.evaluation.records import MakeRecord, Record
from tsgan_jax.evaluation.sources import evenly
from tsgan_jax.labels import BACKGROUND, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA
from tsgan_jax.masks.plausibility import check, nodule_components

PROPERTIES = {
    "body area": "cm²",
    "lung area": "cm²",
    "left / right lung": "ratio",
    "trachea area": "mm²",
    "nodules": "per slice",
    "nodule diameter": "mm",
    "lung around a nodule": "share of 5 mm",
    "nodule x": "share of the body's width",
    "nodule y": "share of the body's height",
}
"""Properties and their units.  Nodule properties have one value per nodule, the others one per slice."""
PAIRED = 200
"""Number of masks for the diversity, which uses all pairs."""
FLOOR_DRAWS = 20

Sample = dict[str, np.ndarray]
"""The values of each property."""


class Gate(NamedTuple):
    """Counts of accepted and drawn masks; reasons: how often each was given."""

    accepted: int
    drawn: int
    reasons: dict[str, int]


def measure(masks: Iterable[np.ndarray], pixel_mm: float) -> tuple[Sample, ...]:
    """The properties of each mask, uint8 [r, r]; pixel_mm: side of a pixel.  A property may have no value.

    Nodules are connected components of at least 3 pixels and 3 mm (A28); their position is relative to the body's
    bounding box.
    """
    return tuple(_measure(mask, pixel_mm) for mask in masks)


def concatenate(samples: Iterable[Sample]) -> Sample:
    """The values of several masks, one array per property."""
    samples = list(samples)
    return {name: np.concatenate([sample[name] for sample in samples] or [np.zeros(0)]) for name in PROPERTIES}


def measure_masks(
    record: MakeRecord,
    generated: Iterable[np.ndarray],
    count: int,
    test: np.ndarray,
    training: np.ndarray,
    gate: Gate,
    pixel_mm: float,
    settings: EvaluationConfig,
    scans: Sequence[str] | None = None,
) -> tuple[list[Record], dict[str, Sample]]:
    """Records, and the measured values of "generated" and "real" (test) masks for the plots.

    generated: uint8 [r, r], `count` of them, streamed; test, training: held-out and training real masks [n, r, r];
    scans: the series of each test mask, None: every mask is a separate scan.  A figure's floor is that of random
    training masks, as many as generated ones, against the same test masks.
    Raises UserError without generated or without test masks.
    """
    chosen, few, passed = set(evenly(count, PAIRED)), [], []
    for place, mask in enumerate(generated):
        passed.append((_measure(mask, pixel_mm), mask_features([mask], pixel_mm)))
        few += [mask] if place in chosen else []
    if not passed or not len(test):
        raise UserError(f"mask statistics need masks on both sides; {len(passed)} are generated, {len(test)} real")
    ours, held, known = [sample for sample, _ in passed], measure(test, pixel_mm), measure(training, pixel_mm)
    out = [_distance(record, name, ours, held, known, scans, settings.bootstrap) for name in PROPERTIES]
    features = np.concatenate([one for _, one in passed])
    real, other = (mask_features(masks, pixel_mm) for masks in (test, training))
    out += measure_variety(record, features, real, other, scans, settings.nearest, settings.bootstrap)
    out.append(
        record(
            "diversity",
            "mean pairwise IoU",
            mean_pairwise_iou(few),
            len(few),
            floor=mean_pairwise_iou(list(test[evenly(len(test), PAIRED)])),
            reason=None if len(few) > 1 else "there is only one mask",
            details={"classes": "body, left lung, right lung", "note": "smaller is more diverse"},
        )
    )
    accepted, drawn, reasons = gate
    share, reason = (accepted / drawn, None) if drawn else (None, "no mask was drawn")
    floor = float(np.mean([check(mask, pixel_mm).accepted for mask in test]))
    interval, details = wilson(accepted, drawn), {"reasons": reasons}
    out.append(record("gate", "share accepted", share, drawn, interval, floor, reason=reason, details=details))
    return out, {"generated": concatenate(ours), "real": concatenate(held)}


def gate_of(manifest: dict[str, Any]) -> Gate:
    """The gate's counts for a set, from its manifest."""
    images = manifest["images"]
    refusals = [reasons for image in images for reasons in image.get("refused", [])]
    accepted = sum(bool(image["accepted"]) for image in images)
    reasons = Counter(reason for refusal in refusals for reason in refusal)
    return Gate(accepted, accepted + len(refusals), dict(reasons.most_common()))


def mean_pairwise_iou(masks: list[np.ndarray]) -> float | None:
    """Mean over pairs of masks of the mean IoU of body, left and right lung; None for fewer than two masks.

    A class that neither mask of a pair has is excluded for the pair.
    """
    if len(masks) < 2:
        return None
    stack = np.stack(masks)
    pairs = np.triu_indices(len(stack), 1)
    with np.errstate(invalid="ignore"):
        shares = [_ious(stack != BACKGROUND, pairs), *(_ious(stack == lung, pairs) for lung in (LEFT_LUNG, RIGHT_LUNG))]
    counts = np.isfinite(shares).sum(0)
    return float((np.nansum(shares, 0)[counts > 0] / counts[counts > 0]).mean()) if counts.any() else None


def _ious(regions: np.ndarray, pairs: tuple[np.ndarray, ...]) -> np.ndarray:
    flat = regions.reshape(len(regions), -1).astype(np.float32)
    both, area = flat @ flat.T, flat.sum(1)
    return (both / (area[:, None] + area[None] - both))[pairs]


def _distance(
    record: MakeRecord,
    name: str,
    generated: Sequence[Sample],
    test: Sequence[Sample],
    training: Sequence[Sample],
    scans: Sequence[str] | None,
    times: int,
) -> Record:
    """Wasserstein distance of one property."""
    ours, held, known = ([one[name] for one in side] for side in (generated, test, training))
    details = {"unit": PROPERTIES[name], "pixel_mm_of_all": "the generated set's"}
    return compare_values(partial(record, name), ours, held, known, scans, times, details)


def compare_values(
    record: MakeRecord,
    generated: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    training: Sequence[np.ndarray],
    scans: Sequence[str] | None,
    times: int,
    details: dict[str, Any],
) -> Record:
    """Wasserstein distance between the values of generated and of test slices, each with any number of values.

    scans: as in `measure_masks`.  floor: that of random training slices, as many as generated ones.
    """
    record = partial(record, metric="Wasserstein distance")
    values, real = (np.concatenate([*side, np.zeros(0)]) for side in (generated, test))
    missing = [side for side, found in (("generated", values), ("real", real)) if not len(found)]
    if missing:
        return record(value=None, n=len(values), reason=f"no {' and no '.join(missing)} slice has a value")
    rng, size = np.random.default_rng(0), min(len(generated), len(training))
    drawn = [rng.permutation(len(training))[:size] for _ in range(FLOOR_DRAWS)]
    draws = [np.concatenate([*(training[place] for place in places), np.zeros(0)]) for places in drawn]
    groups = by_scan(generated), by_scan(test, scans)
    return record(
        value=float(wasserstein_distance(values, real)),
        n=len(values),
        interval=bootstrap(wasserstein_distance, *groups, times=times),
        floor=float(np.mean([wasserstein_distance(draw, real) for draw in draws])) if all(map(len, draws)) else None,
        details={
            **details,
            "median": float(np.median(values)),
            "median_real": float(np.median(real)),
            "n_real": len(real),
        },
    )


def _measure(mask: np.ndarray, pixel_mm: float) -> Sample:
    area = pixel_mm**2
    body = mask != BACKGROUND
    left, right = (int((mask == lung).sum()) for lung in (LEFT_LUNG, RIGHT_LUNG))
    nodules = [nodule for nodule in nodule_components(mask, pixel_mm) if not nodule.is_speckle]
    places = [place_in(body, nodule.box) for nodule in nodules]
    values = {
        "body area": [body.sum() * area / 100],
        "lung area": [(left + right + int((mask == NODULE).sum())) * area / 100],
        "left / right lung": [left / right] if left and right else [],
        "trachea area": [(mask == TRACHEA).sum() * area],
        "nodules": [len(nodules)],
        "nodule diameter": [nodule.diameter_mm for nodule in nodules],
        "lung around a nodule": [nodule.lung_around for nodule in nodules],
        "nodule x": [x for x, _ in places],
        "nodule y": [y for _, y in places],
    }
    return {name: np.array(found, float) for name, found in values.items()}
