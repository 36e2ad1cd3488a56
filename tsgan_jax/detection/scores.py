"""Average precision, precision and recall (Eq. 14 to 16) from predictions and true objects.

mAP50-95 is the mean over the ten thresholds .50, .55, ... .95 (A32).  The formulas are those of pycocotools; precision
and recall are at IoU .5 and the confidence of the largest F1.  Images are matched once and then weighted, which is
fast enough for bootstrap intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100
"""Maximum number of predictions of an image, by decreasing score."""

FIGURES = ("precision", "recall", "mAP50", "mAP50-95")

Prediction = Sequence[float]
"""image, x, y, width, height, score."""


@dataclass(frozen=True)
class Matched:
    """Predictions of a test set by decreasing score, and whether they match an object.

    image: of each prediction [p], from 0; hit: bool [10, p] by threshold; score: [p]; objects: of each image [n].
    """

    image: NDArray[np.int64]
    hit: NDArray[np.bool_]
    score: NDArray[np.float64]
    objects: NDArray[np.int64]


def match(truth: dict[str, Any], predictions: Sequence[Prediction]) -> Matched:
    """Match each prediction, by decreasing score, to the unmatched object with the largest overlap.

    truth: COCO tree with images numbered from 1, without crowds.
    """
    count = len(truth["images"])
    real: list[list[list[float]]] = [[] for _ in range(count)]
    for annotation in truth["annotations"]:
        real[annotation["image_id"] - 1].append(annotation["bbox"])
    found: list[list[Prediction]] = [[] for _ in range(count)]
    for prediction in predictions:
        found[int(prediction[0]) - 1].append(prediction)
    images, hits, scores = [], [], []
    for number in range(count):
        surest = sorted(found[number], key=lambda prediction: -prediction[5])[:MOST]
        images += [number] * len(surest)
        scores += [prediction[5] for prediction in surest]
        hits.append(_hits(np.array([p[1:5] for p in surest]).reshape(-1, 4), np.array(real[number]).reshape(-1, 4)))
    score = np.array(scores, np.float64)
    order = np.argsort(-score, kind="mergesort")
    return Matched(
        image=np.array(images, np.int64)[order],
        hit=np.concatenate(hits, axis=1)[:, order],
        score=score[order],
        objects=np.array([len(boxes) for boxes in real], np.int64),
    )


def figures(matched: Matched, weights: NDArray[Any] | None = None) -> dict[str, float]:
    """The four figures.  weights: of each image [n], default 1.

    Raises ValueError if no image with a weight has an object.
    """
    counts = np.ones(len(matched.objects), np.int64) if weights is None else np.asarray(weights)
    objects = int(counts @ matched.objects)
    if not objects:
        raise ValueError("no objects to find")
    weight = counts[matched.image]
    true = np.cumsum(matched.hit * weight, axis=1, dtype=np.float64)
    false = np.cumsum(~matched.hit * weight, axis=1, dtype=np.float64)
    average = [_average_precision(t, f, objects) for t, f in zip(true, false, strict=True)]
    precision, recall = _best_f1(true[0], false[0], objects)
    return {"precision": precision, "recall": recall, "mAP50": average[0], "mAP50-95": float(np.mean(average))}


def cocotools(truth: dict[str, Any], predictions: Sequence[Prediction]) -> dict[str, float]:
    """mAP50 and mAP50-95 by pycocotools itself."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not predictions:
        return {"mAP50": 0.0, "mAP50-95": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        real = COCO()
        real.dataset = truth
        real.createIndex()
        category = truth["categories"][0]["id"]
        found = real.loadRes(
            [
                {"image_id": int(image), "category_id": category, "bbox": [x, y, w, h], "score": score}
                for image, x, y, w, h, score in predictions
            ]
        )
        evaluation = COCOeval(real, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"mAP50": float(evaluation.stats[1]), "mAP50-95": float(evaluation.stats[0])}


def overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes (x, y, width, height): [a, 4] and [b, 4] to [a, b]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, :2] + one[:, None, 2:], other[None, :, :2] + other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = np.prod(one[:, 2:], axis=1)[:, None] + np.prod(other[:, 2:], axis=1)[None, :]
    return shared / np.maximum(areas - shared, np.finfo(np.float64).tiny)


def _hits(found: NDArray[np.float64], real: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[10, p] for one image's predictions, by decreasing score."""
    hit = np.zeros((len(THRESHOLDS), len(found)), bool)
    if not len(real):
        return hit
    iou = overlaps(found, real)
    for row, threshold in enumerate(THRESHOLDS):
        taken = np.zeros(len(real), bool)
        for place in range(len(found)):
            free = np.where(taken, -1.0, iou[place])
            best = len(real) - 1 - int(np.argmax(free[::-1]))  # the last of equal overlaps, as in pycocotools
            if free[best] >= threshold:
                hit[row, place] = taken[best] = True
    return hit


def _average_precision(true: NDArray[np.float64], false: NDArray[np.float64], objects: int) -> float:
    """Mean over 101 recalls of the best precision at that recall or a higher one."""
    if not len(true):
        return 0.0
    recall = true / objects
    precision = true / np.maximum(true + false, np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(places < len(envelope), envelope[np.minimum(places, len(envelope) - 1)], 0.0).mean())


def _best_f1(true: NDArray[np.float64], false: NDArray[np.float64], objects: int) -> tuple[float, float]:
    if not len(true) or not true[-1]:
        return 0.0, 0.0
    best = int(np.argmax(2 * true / (true + false + objects)))
    return float(true[best] / (true[best] + false[best])), float(true[best] / objects)
