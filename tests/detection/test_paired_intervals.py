"""Differences are paired, come from whole scans, and know when there is none."""

import numpy as np

from tests.detection.test_scores import random_case, truth_of
from tsgan_jax.detection.results import differences
from tsgan_jax.detection.scores import figures, match


def test_a_detector_does_not_differ_from_itself():
    truth, found = random_case(3, images=12)
    matched = match(truth, found)
    for one in differences([matched], [matched], [f"scan{n}" for n in range(12)], 50, 0).values():
        assert (one.value, one.error, one.interval) == (0.0, 0.0, (0.0, 0.0))


def test_a_better_detector_is_told_and_seeds_are_averaged():
    boxes = [[(4.0 * n, 4.0, 10.0, 10.0)] for n in range(10)]
    truth = truth_of(*boxes)
    perfect = match(truth, [[n, *boxes[n - 1][0], 0.9] for n in range(1, 11)])
    half = match(truth, [[n, *boxes[n - 1][0], 0.9] for n in range(1, 6)])
    scans = [f"scan{n // 2}" for n in range(10)]
    found = differences([perfect, perfect], [half], scans, 200, 1)["recall"]
    assert found.value == 0.5
    assert 0.0 < found.interval[0] < 0.5 < found.interval[1] <= 1.0
    mixed = differences([perfect, half], [half], scans, 20, 1)["mAP50"]
    assert mixed.value == np.mean([1.0, figures(half)["mAP50"]]) - figures(half)["mAP50"]


def test_slices_of_one_scan_are_drawn_together():
    """Ten slices of one scan are one witness: there is nothing to draw from, so no spread can be claimed."""
    truth, found = random_case(5, images=10)
    other = match(truth, found[: len(found) // 2])
    one = differences([match(truth, found)], [other], ["scan"] * 10, 30, 0)["mAP50"]
    assert one.error < 1e-12 and one.interval == (one.value, one.value)
