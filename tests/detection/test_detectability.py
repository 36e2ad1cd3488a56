"""Sensitivity on synthetic nodules from saved predictions: the threshold of real ones, thirds by size and contrast."""

from functools import partial

import numpy as np
import pytest

from tests.detection.test_scores import random_case
from tests.evaluation.chests import PIXEL_MM, chests
from tsgan_jax.detection.datasets import ground_truth
from tsgan_jax.detection.detectability import measure, objects_of, of_detector
from tsgan_jax.detection.scores import best_threshold, figures, match
from tsgan_jax.evaluation.adherence import nodule_contrasts
from tsgan_jax.evaluation.records import Record
from tsgan_jax.generation import coco
from tsgan_jax.generation.labelled import open_set
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.images import to_uint8

RECORD = partial(Record, "detectability", "YOLOv8n", metric="sensitivity", fold=0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Pictures of two sets on disk: real, made."""
    found = []
    for first, count in ((0, 9), (50, 8)):
        slices, out = chests(range(first, first + count)), tmp_path_factory.mktemp("sets") / "set"
        with SetDirectory(out, {"kind": "test"}, {}, coco.SYNTHETIC) as directory:
            for k, (hu, mask) in enumerate(zip(slices.ct, slices.mask, strict=True)):
                directory.add(k, f"{k:06d}", SetImage(to_uint8(hu, (-1000, 400)), hu, mask, PIXEL_MM))
            directory.finish()
        contrasts = [
            one for mask, hu in zip(slices.mask, slices.ct, strict=True) for one in nodule_contrasts(mask, hu, PIXEL_MM)
        ]
        found.append((open_set(out).pictures, contrasts))
    return found


def predicted(pictures, scores):
    """Matched predictions of the boxes as they are, one score for each."""
    boxes = [(number, box) for number, one in enumerate(pictures, 1) for box in one.boxes]
    found = [[number, *box, score] for (number, box), score in zip(boxes, scores, strict=True) if score]
    return match(ground_truth(pictures), found)


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_that_of_the_largest_f1(seed):
    truth, found = random_case(seed)
    found = [[*rest, score + place * 1e-6] for place, (*rest, score) in enumerate(found)]
    matched = match(truth, found)
    threshold = best_threshold(matched)
    used = matched.score >= threshold
    assert matched.hit[0][used].sum() / used.sum() == pytest.approx(figures(matched)["precision"])
    assert (matched.found >= threshold).sum() / len(matched.found) == pytest.approx(figures(matched)["recall"])
    assert sorted(matched.found[np.isfinite(matched.found)]) == sorted(matched.score[matched.hit[0]])


def test_sensitivity_by_size_and_contrast(sets):
    (real, contrasts), (made, made_contrasts) = sets
    count = sum(len(one.boxes) for one in made)
    scores = [0.9 if place % 2 else 0.4 for place in range(count)]
    known = predicted(real, [0.8] * sum(len(one.boxes) for one in real))
    ours = predicted(made, scores)
    assert ours.found.tolist() == scores
    objects, others = objects_of(made, ours), objects_of(real, known)
    assert objects.contrast[np.isfinite(objects.contrast)] == pytest.approx(made_contrasts)
    assert others.contrast[np.isfinite(others.contrast)] == pytest.approx(contrasts)
    box = made[0].boxes[0]
    assert objects.size[0] == pytest.approx(np.sqrt(box[2] * box[3]) * PIXEL_MM)

    found = {r.subject: r for r in of_detector(RECORD, (real, known), (made, ours))}
    assert found["all"].value == count // 2 / count and found["all"].floor == 1.0 and found["all"].n == count
    assert found["all"].details["threshold"] == 0.8
    assert found["all"].interval[0] < found["all"].value < found["all"].interval[1]
    thirds = [r for subject, r in found.items() if subject.startswith("size")]
    assert sum(r.n for r in thirds) == count and sum(r.details["n_real"] for r in thirds) == len(others.size)
    small = objects.size <= np.quantile(others.size, 1 / 3)
    lower = found["size, lower third"]
    assert lower.n == small.sum()
    assert lower.value == (pytest.approx((ours.found[small] >= 0.8).mean()) if small.any() else None)
    assert len(found) == 7


def test_without_a_threshold_and_without_nodules_of_a_kind_there_is_a_reason(sets):
    (real, _), (made, _) = sets
    blind, ours = match(ground_truth(real), []), predicted(made, [0.5] * sum(len(one.boxes) for one in made))
    (record,) = of_detector(RECORD, (real, blind), (made, ours))
    assert record.value is None and "finds no real nodule" in record.reason
    none = objects_of([], match(ground_truth([]), []))
    records = measure(RECORD, objects_of(made, ours), none, 0.5)
    assert all(r.value is None and r.reason == "no synthetic nodule is of this kind" for r in records)
