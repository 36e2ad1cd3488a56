"""Properties are measured right, distances are Wasserstein's, floors come from real masks."""

from functools import partial

import numpy as np
import pytest
from chests import chest, chests
from scipy.stats import wasserstein_distance

from tsgan_jax.config import EvaluationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.mask_statistics import (
    PROPERTIES,
    Gate,
    concatenate,
    gate_of,
    mean_pairwise_iou,
    measure,
    measure_masks,
)
from tsgan_jax.evaluation.records import Record
from tsgan_jax.labels import BODY, LEFT_LUNG, NODULE, RIGHT_LUNG, TRACHEA
from tsgan_jax.masks.plausibility import check

TEST, TRAINING = chests(range(500, 530)), chests(range(40))
RECORD, SETTINGS = partial(Record, "masks", "ours"), EvaluationConfig(bootstrap=30)
GATE = Gate(30, 40, {"no nodule": 10})


def measured(masks, test=TEST.mask, training=TRAINING.mask, gate=GATE):
    records, values = measure_masks(RECORD, iter(masks), len(masks), test, training, gate, 5.0, SETTINGS)
    return {record.subject: record for record in records}, values


def drawn():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:18, 2:18] = BODY
    mask[4:14, 3:8], mask[4:12, 10:15] = RIGHT_LUNG, LEFT_LUNG
    mask[3, 9] = TRACHEA
    mask[5:7, 4:6] = NODULE
    mask[13, 13] = NODULE  # a speck
    return mask


def test_properties_of_a_drawn_mask():
    (found,) = measure([drawn()], 2.0)
    assert found["body area"] == [256 * 4 / 100]
    assert found["lung area"] == [(46 + 40 + 5) * 4 / 100]
    assert found["left / right lung"] == [40 / 46]
    assert found["trachea area"] == [4]
    assert found["nodules"] == [1]
    assert found["nodule diameter"] == pytest.approx([2 * np.sqrt(4 / np.pi) * 2])
    assert found["lung around a nodule"] == [(5 * 5 - 4) / (6 * 6 - 4)]  # a ring of two pixels, partly wall
    assert found["nodule x"] == pytest.approx([(5 - 2) / 16]) and found["nodule y"] == pytest.approx([(6 - 2) / 16])


def test_a_mask_without_anatomy_has_no_ratio_and_no_nodule():
    (found,) = measure([np.zeros((8, 8), np.uint8)], 2.0)
    assert found["nodules"] == [0] and found["body area"] == [0]
    assert not len(found["left / right lung"]) and not len(found["nodule x"])


def test_distances_are_wassersteins_and_floors_are_real_against_real():
    ours = chests(range(900, 925)).mask
    by_name, values = measured(ours)
    for name in PROPERTIES:
        record = by_name[name]
        expected = wasserstein_distance(
            concatenate(measure(ours, 5.0))[name], concatenate(measure(TEST.mask, 5.0))[name]
        )
        assert record.value == pytest.approx(expected)
        assert record.interval[0] <= record.interval[1]
        np.testing.assert_array_equal(values["real"][name], concatenate(measure(TEST.mask, 5.0))[name])
        assert record.value <= 3 * record.floor  # the same distribution: about as far away as training masks are
    assert by_name["lung area"].floor > 0


def test_masks_of_another_distribution_are_far_above_the_floor():
    shrunken = np.where(TEST.mask == LEFT_LUNG, BODY, TEST.mask)
    shrunken[:, 20:24, 40:44] = LEFT_LUNG
    by_name, _ = measured(shrunken)
    for name in ("lung area", "left / right lung"):
        assert by_name[name].interval[0] > 2 * by_name[name].floor


def test_masks_without_nodules_give_a_reason_and_the_other_figures():
    by_name, _ = measured(np.where(TEST.mask == NODULE, LEFT_LUNG, TEST.mask))
    assert by_name["nodule diameter"].value is None and "no generated slice" in by_name["nodule diameter"].reason
    assert by_name["nodules"].value == pytest.approx(1) and by_name["lung area"].value is not None


def test_diversity_is_the_mean_iou_of_all_pairs():
    masks = [chest(seed)[0] for seed in range(4)]

    def iou(one, other, region):
        return (region(one) & region(other)).sum() / (region(one) | region(other)).sum()

    regions = [lambda m: m > 0, lambda m: m == LEFT_LUNG, lambda m: m == RIGHT_LUNG]
    pairs = [(a, b) for a in range(4) for b in range(a)]
    expected = np.mean([np.mean([iou(masks[a], masks[b], region) for region in regions]) for a, b in pairs])
    assert mean_pairwise_iou(masks) == pytest.approx(expected)
    assert mean_pairwise_iou(masks[:1] * 3) == 1 and mean_pairwise_iou(masks[:1]) is None


def test_a_collapsed_generator_shows_no_diversity():
    by_name, _ = measured([TEST.mask[0]] * 10)
    assert by_name["diversity"].value == 1 and by_name["diversity"].floor < 0.9


def test_precision_and_recall_stand_beside_those_of_training_masks():
    settings, masks = EvaluationConfig(bootstrap=30, nearest=2), iter(TRAINING.mask[:20].repeat(2, 0))
    records, _ = measure_masks(RECORD, masks, 40, TEST.mask, TRAINING.mask, GATE, 5.0, settings)
    found = {record.metric: record for record in records if record.subject == "variety"}
    assert list(found) == ["precision", "recall"] and all(record.kind == "masks" for record in found.values())
    assert found["recall"].details["n_each"] == 30 and found["recall"].details["k"] == 2 and found["recall"].n == 40
    assert found["recall"].floor > found["recall"].value  # forty masks, but only twenty different ones


def test_the_gates_share_and_reasons():
    manifest = {
        "images": [
            {"accepted": True, "refused": [["no body"], ["no nodule", "lungs swapped"]]},
            {"accepted": False, "refused": [["no nodule"]]},
        ]
    }
    gate = gate_of(manifest)
    assert gate == Gate(1, 4, {"no nodule": 2, "no body": 1, "lungs swapped": 1})
    by_name, _ = measured(TEST.mask, gate=gate)
    assert by_name["gate"].value == 0.25 and by_name["gate"].details["reasons"]["no nodule"] == 2
    assert by_name["gate"].floor == np.mean([check(mask, 5.0).accepted for mask in TEST.mask])


def test_an_empty_side_is_refused():
    with pytest.raises(UserError, match="0 are generated, 30 real"):
        measured([])
