"""Sources of masks side by side: each figure is that of its masks, and records hold the table."""

import json
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from chests import PIXEL_MM, chests
from pandas.testing import assert_frame_equal

from tsgan_jax.config import Config, EvaluationConfig, GenerationConfig
from tsgan_jax.evaluation import mask_table
from tsgan_jax.evaluation.mask_statistics import concatenate, mean_pairwise_iou, measure
from tsgan_jax.evaluation.mask_table import (
    ROWS,
    SWEPT_ROWS,
    compare_masks,
    measure_sources,
    measure_truncations,
    records,
    spread,
    table_lines,
    table_of,
)
from tsgan_jax.evaluation.mask_variety import compared, mask_features, scaled
from tsgan_jax.evaluation.records import Record
from tsgan_jax.labels import LEFT_LUNG, NODULE, TRACHEA
from tsgan_jax.masks.deform import Deformer
from tsgan_jax.masks.plausibility import check

TEST, TRAINING = chests(range(500, 530)), chests(range(40))
PARENT = {"step": 4, "images_seen": 64, "sha256": "ab"}
BARE = np.where(np.isin(TRAINING.mask, (NODULE, TRACHEA)), LEFT_LUNG, TRAINING.mask).astype(np.uint8)


def table(masks):
    return {row: dict(values) for row, values in compare_masks(masks, TEST.mask, PIXEL_MM).iterrows()}


def test_every_figure_is_that_of_its_masks():
    found = table({"a": TRAINING.mask, "b": BARE})
    assert list(found) == list(ROWS) and list(found["nodules"]) == ["real test", "a", "b"]
    every = concatenate(measure(TRAINING.mask, PIXEL_MM))
    assert found["nodule diameter, 75 %"]["a"] == np.percentile(every["nodule diameter"], 75)
    assert found["lung area, 90 %"]["a"] == np.percentile(every["lung area"], 90)
    assert found["body area, 10 %"]["a"] == found["body area, 10 %"]["b"] == np.percentile(every["body area"], 10)
    assert found["lung around a nodule"]["a"] == pytest.approx(every["lung around a nodule"].mean())
    assert found["pairwise IoU"]["a"] == mean_pairwise_iou(list(TRAINING.mask))
    assert found["passes the gate"]["real test"] == np.mean([check(m, PIXEL_MM).accepted for m in TEST.mask])
    assert (found["trachea"]["a"], found["trachea"]["b"], found["nodules"]["b"]) == (1, 0, 0)
    assert np.isnan(found["nodule diameter, 50 %"]["b"]) and found["passes the gate"]["b"] == 0
    assert np.isnan(found["recall"]["real test"]) and found["recall"]["a"] > found["recall"]["b"]


def test_trachea_inside_a_lung_is_counted():
    masks = TRAINING.mask.copy()
    for mask in masks[:10]:
        rows, columns = (int(np.median(axis)) for axis in np.nonzero(mask == LEFT_LUNG))
        mask[rows - 1 : rows + 2, columns - 1 : columns + 2] = TRACHEA
    assert table({"a": masks, "b": TRAINING.mask})["trachea inside a lung"] == {"real test": 0, "a": 0.25, "b": 0}


def test_precision_and_recall_are_of_equally_many_masks():
    real, ours = (mask_features(masks, PIXEL_MM) for masks in (TEST.mask, TRAINING.mask))
    held, other = scaled(real, real, ours)
    for size, columns in ((30, {"a": TRAINING.mask}), (8, {"a": TRAINING.mask, "b": TRAINING.mask[:8]})):
        found = table(columns)
        assert (found["precision"]["a"], found["recall"]["a"]) == compared(held, other, size)
    assert np.isnan(table({"a": TRAINING.mask[:3]})["recall"]["a"])


def test_spread_takes_from_end_to_end():
    assert [int(one) for one in spread(np.arange(10), 4)] == [0, 3, 6, 9]
    assert len(spread(np.arange(3), 9)) == 3 and spread([], 4) == []


@pytest.fixture
def case(monkeypatch):
    """Stage 1 that draws training masks in turn; at a truncation below 1 always the same one."""
    monkeypatch.setattr(mask_table, "MEASURED", 24)
    monkeypatch.setattr(mask_table, "SWEPT", 20)

    def sample_masks(generator, key, indices, truncation):
        return TRAINING.mask[[index if truncation == 1 else 0 for index in indices]]

    monkeypatch.setattr(mask_table, "sample_masks", sample_masks)
    generator = SimpleNamespace(synthesis=SimpleNamespace(resolution=64))
    return SimpleNamespace(
        config=Config(generation=GenerationConfig(seed=5, truncation=1.0), evaluation=EvaluationConfig(nearest=3)),
        stage_1=(generator, PARENT),
        test=TEST,
        training=TRAINING,
        pixel_mm=PIXEL_MM,
        record=lambda kind, **fields: partial(Record, kind, "ours", **fields),
        real_hashes={"test_slices": "x"},
    )


def test_records_hold_the_table(case):
    masks = {"a": TRAINING.mask, "b": BARE, "none": []}
    rows = compare_masks(masks, TEST.mask, PIXEL_MM)
    kept = records("mask sources", case, masks)
    assert json.loads(json.dumps([asdict(one) for one in kept], allow_nan=False))
    assert all(bool(one.reason) == (one.value is None) for one in kept)
    assert {one.n for one in kept if one.subject == "a"} == {40} and kept[0].kind == "mask sources"
    assert kept[0].made_from["masks"]["step"] == 4 and kept[0].details["k"] == 3
    assert not any(one.subject == "real test" and one.metric == "recall" for one in kept)
    assert_frame_equal(table_of(kept[::-1]), rows[["real test", "none", "b", "a"]])


def test_a_table_can_be_read_in_a_terminal(case):
    lines = table_lines(records("mask sources", case, {"a": TRAINING.mask, "b": BARE}))
    assert lines[0].split() == ["real", "test", "a", "b"] and len(lines) == len(ROWS) + 1
    assert len({len(line) for line in lines}) == 1, "columns stand below each other"
    shown = {line.split(" (")[0]: line.split()[-3:] for line in lines[1:]}
    assert shown["nodules"] == ["1", "1", "0"] and shown["recall"][0] == shown["nodule diameter, 50 %"][2] == "–"


def values(found, metric):
    return {one.subject: one.value for one in found if one.metric == metric}


def test_stage_1_is_measured_as_it_draws_beside_deformed_and_real_masks(case, monkeypatch):
    monkeypatch.setattr(mask_table, "deformed", lambda slices, seed, count: BARE[:count])
    found = measure_sources(case)
    assert {one.kind for one in found} == {"mask sources"}
    shares = values(found, "passes the gate")
    assert list(shares) == ["real test", "stage 1", "deform", "real training"]
    assert shares["stage 1"] == np.mean([check(mask, PIXEL_MM).accepted for mask in TRAINING.mask[:24]])
    assert shares["deform"] == 0, "masks that the gate refuses are measured too"
    assert {one.subject: one.n for one in found} == {"real test": 30, "stage 1": 24, "deform": 24, "real training": 24}


def test_deformed_masks_are_first_attempts(case):
    masks = mask_table.deformed(TRAINING, 5, 3)
    deformer = Deformer.of_masks(TRAINING.mask, TRAINING.pixel_mm)
    np.testing.assert_array_equal(masks, [deformer.draw(5, 0, index) for index in range(3)])


def test_the_others_stand_where_nothing_can_be_deformed(case):
    case.training = replace(TRAINING, mask=BARE)
    found = measure_sources(case)
    assert list(values(found, "recall")) == ["stage 1", "real training"]
    (reason,) = (one.reason for one in found if one.subject == "deform")
    assert "none of the 40 training masks" in reason and mask_table.DEFORM not in table_of(found)


def test_each_truncation_is_measured(case):
    found = measure_truncations(case)
    assert {one.kind for one in found} == {"mask truncation"} and {one.metric for one in found} == set(SWEPT_ROWS)
    names = [f"psi {psi}" for psi in (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)]
    assert list(values(found, "recall")) == ["real training", *names]
    same, varied = (values(found, "pairwise IoU")[name] for name in ("psi 0.9", "psi 1.0"))
    assert same == 1 and varied == pytest.approx(mean_pairwise_iou(list(TRAINING.mask[:20])))
    assert {one.n for one in found if one.subject != "real test"} == {20}
