"""AP equals pycocotools', perfect detections are 1, thresholds are .50 to .95, P and R are at the largest F1 (T22)."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tsgan_jax.detection.datasets import ground_truth
from tsgan_jax.detection.scores import THRESHOLDS, figures, match
from tsgan_jax.generation.labelled import LabelledImage


def truth_of(*images):
    return ground_truth([LabelledImage(Path(f"{n}.png"), 64, 64, tuple(boxes), {}) for n, boxes in enumerate(images)])


def cocotools(truth, predictions):
    """mAP50 and mAP50-95 by pycocotools itself."""
    if not predictions:
        return {"mAP50": 0.0, "mAP50-95": 0.0}
    with redirect_stdout(StringIO()):
        real = COCO()
        real.dataset = truth
        real.createIndex()
        boxes = [{"image_id": i, "category_id": 1, "bbox": box, "score": score} for i, *box, score in predictions]
        evaluation = COCOeval(real, real.loadRes(boxes), "bbox")
        for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
            step()
    return {"mAP50": evaluation.stats[1], "mAP50-95": evaluation.stats[0]}


def random_case(seed, images=6):
    """Objects, and predictions that partly hit them; scores with ties."""
    rng = np.random.default_rng(seed)
    real = [
        [(*rng.uniform(0, 40, 2), *rng.uniform(3, 20, 2)) for _ in range(rng.integers(0, 4))] for _ in range(images)
    ]
    real[0].append((1.0, 2.0, 10.0, 9.0))
    found = []
    for number, boxes in enumerate(real, 1):
        for box in boxes * int(rng.integers(0, 3)):
            moved = np.array(box) + rng.normal(0, 1.5, 4)
            found.append([number, *moved[:2], *np.maximum(moved[2:], 1.0), float(rng.choice([0.2, 0.5, rng.random()]))])
        for _ in range(rng.integers(0, 4)):
            found.append([number, *rng.uniform(0, 40, 2), *rng.uniform(3, 20, 2), float(rng.random())])
    return truth_of(*real), found


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_average_precision_equals_pycocotools(seed):
    truth, found = random_case(seed)
    ours, theirs = figures(match(truth, found)), cocotools(truth, found)
    assert ours["mAP50"] == pytest.approx(theirs["mAP50"], abs=1e-9)
    assert ours["mAP50-95"] == pytest.approx(theirs["mAP50-95"], abs=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_an_image_counted_twice_is_an_image_that_is_there_twice(seed):
    """Weights are what resampling needs: they must be exact (a copy stands beside its like, so scores have no ties)."""
    truth, found = random_case(seed, images=4)
    counts = np.random.default_rng(seed).integers(0, 3, 4)
    counts[0] = max(counts[0], 1)
    boxes = [[a["bbox"] for a in truth["annotations"] if a["image_id"] == n] for n in range(1, 5)]
    copies = [n for n in range(4) for _ in range(counts[n])]
    repeated = truth_of(*([tuple(box) for box in boxes[n]] for n in copies))
    untied = [[*p[:5], p[5] + 1e-6 * place] for place, p in enumerate(found)]
    again = [[place, *p[1:]] for place, n in enumerate(copies, 1) for p in untied if p[0] == n + 1]
    assert figures(match(truth, untied), counts)["mAP50"] == pytest.approx(
        cocotools(repeated, again)["mAP50"], abs=1e-9
    )


def test_perfect_detections_are_one_and_none_are_zero():
    truth = truth_of([(1, 2, 10, 9)], [], [(5, 5, 4, 4), (30, 30, 8, 8)])
    perfect = [[a["image_id"], *a["bbox"], 0.9] for a in truth["annotations"]]
    assert figures(match(truth, perfect)) == pytest.approx(
        {"precision": 1, "recall": 1, "mAP50": 1, "mAP50-95": 1}, abs=1e-12
    )
    assert set(figures(match(truth, [])).values()) == {0.0}


def test_thresholds_are_ten_from_half_to_95_hundredths():
    np.testing.assert_allclose(THRESHOLDS, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])


def test_precision_and_recall_are_at_the_largest_f1():
    """Three objects; hits at .9 and .8, a miss at .7, a hit at .6: F1 is largest when all four count."""
    truth = truth_of([(0, 0, 8, 8), (20, 0, 8, 8), (40, 0, 8, 8)])
    found = [[1, 0, 0, 8, 8, 0.9], [1, 20, 0, 8, 8, 0.8], [1, 0, 40, 8, 8, 0.7], [1, 40, 0, 8, 8, 0.6]]
    scored = figures(match(truth, found))
    assert (scored["precision"], scored["recall"]) == (0.75, 1.0)
    found[3] = [1, 0, 55, 8, 8, 0.6]
    scored = figures(match(truth, found))
    assert (scored["precision"], scored["recall"]) == (1.0, pytest.approx(2 / 3))


def test_a_set_without_objects_has_no_figures():
    with pytest.raises(ValueError, match="no objects"):
        figures(match(truth_of([]), [[1, 0, 0, 4, 4, 0.5]]))
