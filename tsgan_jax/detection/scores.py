"""Average precision, precision and recall (Eq. 14 to 16) from predictions and true objects.

mAP50-95 is the mean over the ten thresholds .50, .55, ... .95 (A32).  Matches and formulas are those of pycocotools,
with 100 predictions of an image at most; precision and recall are at IoU .5 and the confidence of the largest F1.
pycocotools cannot weight images: they are matched once and then weighted here, fast enough for bootstrap intervals.
"""

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.evaluation.records import DETECTION

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)

Prediction = Sequence[float]
"""image, x, y, width, height, score."""


@dataclass(frozen=True)
class Matched:
    """Predictions of a test set by decreasing score, and whether they match an object.

    image: of each prediction [p], from 0; hit: bool [10, p] by threshold; score: [p]; objects: of each image [n].
    found: score of the prediction that matches each object at IoU .5, in the order of the annotations [o]; -inf: none.
    """

    image: NDArray[np.int64]
    hit: NDArray[np.bool_]
    score: NDArray[np.float64]
    objects: NDArray[np.int64]
    found: NDArray[np.float64]


def match(truth: dict[str, Any], predictions: Sequence[Prediction]) -> Matched:
    """Match each prediction, by decreasing score, to the unmatched object with the largest overlap (by pycocotools).

    truth: COCO tree with images numbered from 1, without crowds.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = [(0, np.zeros((len(THRESHOLDS), 0), bool), np.zeros(0))]
    by_object = {one["id"]: -np.inf for one in truth["annotations"]}
    if predictions:
        category = truth["categories"][0]["id"]
        with redirect_stdout(StringIO()):
            real = COCO()
            real.dataset = truth
            real.createIndex()
            boxes = [
                {"image_id": int(image), "category_id": category, "bbox": box, "score": score}
                for image, *box, score in predictions
            ]
            evaluation = COCOeval(real, real.loadRes(boxes), "bbox")
            evaluation.evaluate()
        every_size = evaluation.evalImgs[: len(truth["images"])]  # of the ranges of size, the first is all
        for one in filter(None, every_size):
            matches = zip(one["dtMatches"][0], one["dtScores"], strict=True)
            by_object |= {int(number): score for number, score in matches if number}
        found += [(one["image_id"] - 1, one["dtMatches"] > 0, np.array(one["dtScores"])) for one in every_size if one]
    score = np.concatenate([scores for _, _, scores in found])
    order = np.argsort(-score, kind="stable")
    homes = np.array([one["image_id"] - 1 for one in truth["annotations"]], np.int64)
    return Matched(
        image=np.concatenate([np.full(len(scores), image) for image, _, scores in found])[order],
        hit=np.concatenate([hit for _, hit, _ in found], axis=1)[:, order],
        score=score[order],
        objects=np.bincount(homes, minlength=len(truth["images"])),
        found=np.array(list(by_object.values()), float),
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
    return dict(zip(DETECTION, (precision, recall, average[0], float(np.mean(average))), strict=True))


def best_threshold(matched: Matched) -> float | None:
    """The score of the largest F1 at IoU .5; None where no object is found."""
    true, false = (np.cumsum(hits, dtype=np.float64) for hits in (matched.hit[0], ~matched.hit[0]))
    if not len(true) or not true[-1]:
        return None
    return float(matched.score[_best(true, false, int(matched.objects.sum()))])


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
    best = _best(true, false, objects)
    return float(true[best] / (true[best] + false[best])), float(true[best] / objects)


def _best(true: NDArray[np.float64], false: NDArray[np.float64], objects: int) -> int:
    return int(np.argmax(2 * true / (true + false + objects)))
