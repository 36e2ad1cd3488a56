"""Sources of masks side by side: each figure is that of its masks, and records hold the table."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from chests import PIXEL_MM, chests

from tsgan_jax.config import GenerationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluate import mask_baselines, mask_table
from tsgan_jax.evaluate.mask_baselines import through_gate
from tsgan_jax.evaluate.mask_statistics import Gate, mean_pairwise_iou, measure, pooled
from tsgan_jax.evaluate.mask_table import ROWS, compare_masks, records, rows_of, spread
from tsgan_jax.evaluate.mask_variety import compared, mask_features, scaled
from tsgan_jax.labels import LEFT_LUNG, NODULE, TRACHEA
from tsgan_jax.masks.plausibility import NO_NODULE, judge

TEST, TRAINING = chests(range(500, 530)), chests(range(40))
BARE = np.where(np.isin(TRAINING.mask, (NODULE, TRACHEA)), LEFT_LUNG, TRAINING.mask).astype(np.uint8)


def table(sources, **more):
    return {row.name: row.values for row in compare_masks(sources, TEST.mask, PIXEL_MM, **more)}


def test_every_figure_is_that_of_its_masks():
    found = table({"a": TRAINING.mask, "b": BARE})
    assert list(found) == list(ROWS) and list(found["nodules"]) == ["real test", "a", "b"]
    every = pooled(measure(TRAINING.mask, PIXEL_MM))
    assert found["nodule diameter, 75 %"]["a"] == np.percentile(every["nodule diameter"], 75)
    assert found["body area, 10 %"]["a"] == found["body area, 10 %"]["b"] == np.percentile(every["body area"], 10)
    assert found["lung around a nodule"]["a"] == pytest.approx(every["lung around a nodule"].mean())
    assert found["pairwise IoU"]["a"] == mean_pairwise_iou(list(TRAINING.mask))
    assert found["accepted by the gate"]["real test"] == np.mean([judge(m, PIXEL_MM).accepted for m in TEST.mask])
    assert (found["trachea"]["a"], found["trachea"]["b"], found["nodules"]["b"]) == (1, 0, 0)
    assert found["nodule diameter, 50 %"]["b"] is None and found["accepted by the gate"]["b"] == 0
    assert "real test" not in found["recall"] and found["recall"]["a"] > found["recall"]["b"]


def test_trachea_inside_a_lung_is_counted():
    masks = TRAINING.mask.copy()
    for mask in masks[:10]:
        rows, columns = (int(np.median(axis)) for axis in np.nonzero(mask == LEFT_LUNG))
        mask[rows - 1 : rows + 2, columns - 1 : columns + 2] = TRACHEA
    assert table({"a": masks, "b": TRAINING.mask})["trachea inside a lung"] == {"real test": 0, "a": 0.25, "b": 0}


def test_a_gate_that_has_filtered_a_source_tells_its_share():
    assert table({"a": TRAINING.mask}, gates={"a": Gate(40, 160, {})})["accepted by the gate"]["a"] == 0.25


def test_precision_and_recall_are_of_equally_many_masks():
    real, ours = (mask_features(masks, PIXEL_MM) for masks in (TEST.mask, TRAINING.mask))
    held, other = scaled(real, real, ours)
    for size, sources in ((30, {"a": TRAINING.mask}), (8, {"a": TRAINING.mask, "b": TRAINING.mask[:8]})):
        found = table(sources)
        assert (found["precision"]["a"], found["recall"]["a"]) == compared(held, other, size)
    assert table({"a": TRAINING.mask[:3]})["recall"]["a"] is None


def test_records_hold_the_table():
    rows = compare_masks({"a": TRAINING.mask, "b": BARE, "none": []}, TEST.mask, PIXEL_MM)
    kept = records(rows, {"real test": 30, "a": 40, "b": 40, "none": 0}, "ours", {"set": "x"}, {"k": 3})
    assert json.loads(json.dumps([asdict(one) for one in kept], allow_nan=False))
    assert all(bool(one.reason) == (one.value is None) for one in kept)
    assert {one.n for one in kept if one.subject == "a"} == {40} and kept[0].kind == "mask sources"
    assert rows_of(kept[::-1]) == (["real test", "none", "b", "a"], rows)


def test_masks_are_drawn_until_the_gate_accepts_them():
    def draw(attempt, index):
        return (TRAINING.mask if attempt >= index else BARE)[index]

    masks, gate = through_gate(draw, 4, 3, PIXEL_MM)
    np.testing.assert_array_equal(masks, TRAINING.mask[:3])  # the fourth is given up
    assert (gate.accepted, gate.drawn, gate.reasons) == (3, 9, {NO_NODULE: 6})


def test_spread_takes_from_end_to_end():
    assert [int(one) for one in spread(np.arange(10), 4)] == [0, 3, 6, 9]
    assert len(spread(np.arange(3), 9)) == 3 and spread([], 4) == []


def judged():
    """24 masks of a set, one in two of which the gate had refused."""
    made = SimpleNamespace(
        spread=lambda count: (SimpleNamespace(mask=mask) for mask in TRAINING.mask[:24][:count]),
        manifest={"images": [{"accepted": True, "refused": [["no body"]]}] * 24},
        pixel_mm=PIXEL_MM,
    )
    settings = GenerationConfig(seed=5, attempts=7)
    return mask_baselines.judge_sources(made, TEST, TRAINING, settings, "ours", {"set": "x"}, 3)


def values(found, metric):
    return {one.subject: one.value for one in found if one.metric == metric}


def test_stage_1_is_measured_beside_deformed_and_real_masks(monkeypatch):
    asked = []

    def deformed(slices, *rest):
        asked.append((slices, *rest))
        return [TRAINING.mask[0]] * 24, Gate(24, 30, {})

    monkeypatch.setattr(mask_baselines, "deformed", deformed)
    found = judged()
    assert asked == [(TRAINING, 24, 5, 7, PIXEL_MM)]
    shares = values(found, "accepted by the gate")
    assert list(shares) == ["real test", "stage 1", "deform", "real training"]
    assert (shares["stage 1"], shares["deform"]) == (0.5, 0.8)
    assert values(found, "pairwise IoU")["deform"] == 1 and values(found, "recall")["deform"] < 0.2
    assert {one.n for one in found if one.subject == "real training"} == {24}  # as many as were generated


def test_the_others_stand_where_nothing_can_be_deformed(monkeypatch):
    def deformed(*_):
        raise UserError("nothing to deform")

    monkeypatch.setattr(mask_baselines, "deformed", deformed)
    found = judged()
    assert list(values(found, "recall")) == ["stage 1", "real training"]
    assert [one.reason for one in found if one.subject == "deform"] == ["nothing to deform"]
    assert mask_table.DEFORM not in rows_of(found)[0]
