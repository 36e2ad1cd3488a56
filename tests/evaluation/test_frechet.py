"""Records of images compared as distributions: names, floors, intervals, cache, and what happens with too few."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.evaluation.networks_of_numpy import means_network, noise
from tsgan_jax.config import EvaluationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import distances, parts
from tsgan_jax.evaluation.distances import frechet_distance, measure_distances
from tsgan_jax.evaluation.features import Features, gather
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.sources import GeneratedSlice

SETTINGS = EvaluationConfig(bootstrap=40)
NETWORK = means_network()


def by_metric(records: list[Record]) -> dict[str, Record]:
    return {record.metric: record for record in records}


def measured(
    real: np.ndarray, generated: np.ndarray, other: np.ndarray | None = None, scans: list | None = None
) -> dict[str, Record]:
    other = noise(50, seed=99) if other is None else other
    found = (gather(NETWORK, images) for images in (real, iter(generated), other))
    record = partial(Record, "distance", "a", "full")
    scans = list(map(str, range(len(real)))) if scans is None else scans
    return by_metric(measure_distances(record, NETWORK, *found, scans, SETTINGS))


def test_figures_carry_the_name_of_their_network() -> None:
    assert list(measured(noise(9), noise(9))) == ["FD-Means", "KD-Means", "Precision-Means", "Recall-Means"]
    assert list(means_network(is_fid=True).names) == ["FID", "KID", "Precision-Means", "Recall-Means"]


def test_equal_sets_and_distant_sets() -> None:
    same = measured(noise(30), noise(30))
    assert abs(same["FD-Means"].value) < 1e-6 and same["Precision-Means"].value == same["Recall-Means"].value == 1
    apart = measured(noise(30), noise(30, seed=1, low=200))
    assert apart["FD-Means"].value > 5 * apart["FD-Means"].floor
    assert apart["FD-Means"].interval[0] > apart["FD-Means"].floor
    # Bright images alone: each looks like a real one, and most real ones look like none of them.
    assert apart["Precision-Means"].value == 1 and apart["Recall-Means"].value < 0.2 < apart["Recall-Means"].floor


def test_values_are_those_of_all_images_and_intervals_hold_them() -> None:
    real, generated = noise(40), noise(70, seed=1, high=240)
    found = measured(real, generated)
    a, b = (NETWORK.features(images).astype(float) for images in (real, generated))
    assert found["FD-Means"].value == pytest.approx(frechet_distance(a, b), rel=1e-6)
    for record in found.values():
        low, high = record.interval
        assert low < high and low - 1e-9 <= record.value <= high + 1e-9
        assert record.n == 70 and record.details["n_real"] == 40
    assert found["Precision-Means"].details["n_each"] == 40


def test_an_interval_covers_what_other_draws_give() -> None:
    """The figures of 40 other pairs of sets lie in the interval of the first about as often as they should."""
    low, high = measured(noise(60), noise(60, seed=1, high=200))["FD-Means"].interval
    pairs = [(noise(60, seed=s), noise(60, seed=s + 1, high=200)) for s in range(2, 42, 2)]
    others = [frechet_distance(*(NETWORK.features(images).astype(float) for images in pair)) for pair in pairs]
    assert np.mean([low <= value <= high for value in others]) > 0.7
    assert high - low < 3 * (max(others) - min(others))


def test_the_floor_is_of_other_real_images_in_equal_number() -> None:
    found = measured(noise(30), noise(12, seed=1), other=noise(50, seed=2))
    assert found["FD-Means"].details["floor_n"] == [30, 12]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_images_give_reasons_and_leave_the_other_figures(count: int) -> None:
    found = measured(noise(20), noise(20)[:count])
    missing = {name: record.reason for name, record in found.items() if record.value is None}
    assert f"{count} generated image" in missing["Precision-Means"] and "needs 4 or more" in missing["Recall-Means"]
    assert ("FD-Means" in missing) == ("KD-Means" in missing) == (count < 2)
    assert "20 real" not in str(missing) and found["FD-Means"].n == count
    empty = measured(noise(0), noise(20))
    assert all(record.value is None and "0 real images" in record.reason for record in empty.values())


def test_real_features_are_cached_by_content(tmp_path: Path) -> None:
    calls: list[int] = []
    network = means_network(calls=calls)
    first = gather(network, noise(100), tmp_path)
    assert sum(calls) == 100
    again = gather(network, noise(100), tmp_path)
    assert sum(calls) == 100
    np.testing.assert_array_equal(first.rows, again.rows)
    changed = noise(100)
    changed[50, 0, 0] ^= 1
    assert gather(network, changed, tmp_path).images_sha256 != first.images_sha256 and sum(calls) == 200
    for file in tmp_path.iterdir():
        file.write_bytes(b"torn")
    assert len(gather(network, noise(100), tmp_path)) == 100 and sum(calls) == 300


def test_pairs_are_of_a_fixed_number_of_images_and_the_distance_is_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "KEPT", 50)
    real, images = noise(40, seed=1), noise(300)
    found, a, b = measured(real, images), *(NETWORK.features(one).astype(float) for one in (real, images))
    assert found["FD-Means"].n == 300 and found["FD-Means"].value == pytest.approx(frechet_distance(a, b), rel=1e-5)
    assert found["FD-Means"].interval[0] < found["FD-Means"].interval[1]
    assert found["KD-Means"].details["subset"] == found["Recall-Means"].details["n_each"] == 40
    by_patient = measured(images, real, scans=[str(place // 3) for place in range(300)])["Recall-Means"].details
    assert (by_patient["n_real"], by_patient["n_each"], by_patient["floor_n"]) == (300, 40, [50, 40])


def test_features_that_are_not_finite_are_refused() -> None:
    broken = means_network()
    object.__setattr__(broken, "features", lambda images: np.full((len(images), 6), np.nan, np.float32))
    with pytest.raises(UserError, match=r"none.npz: features are not finite"):
        gather(broken, noise(3))


def test_a_region_that_cannot_be_had_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def features(source: str, region: str) -> Features:
        if region == "lungs":
            raise UserError("no lungs")
        return gather(NETWORK, noise(0 if region == "nodules" else 8, seed=len(source)))

    monkeypatch.setattr(parts, "owners", lambda pairs, region, names: [] if region == "nodules" else names)
    slices = [GeneratedSlice("a.png", np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.int16), 1.0)]
    subject = SimpleNamespace(
        config=SimpleNamespace(evaluation=SETTINGS),
        record=lambda kind, **fields: partial(Record, kind, "a", **fields),
        generated=SimpleNamespace(spread=lambda count: slices),
        keep=lambda name, **arrays: None,
        window=(-1000, 400),
        fold=2,
        network=NETWORK,
        features=features,
        pairs=lambda source: None,
        test=SimpleNamespace(seriesuid=[str(place // 2) for place in range(8)]),
    )
    records = parts.evaluate_distances(subject)
    regions = ["full", "lungs", "nodules"]
    subjects = [*regions, *(f"{region}, of test masks" for region in regions)]
    assert [record.subject for record in records] == [subject for subject in subjects for _ in range(4)]
    assert all((record.value is None) == ("full" not in record.subject) and record.fold == 2 for record in records)
    assert records[0].value != records[12].value  # the set's, then that of test masks
    assert records[4].reason == "no lungs" and "0 real images" in records[-1].reason
