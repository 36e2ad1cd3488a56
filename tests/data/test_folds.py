"""No scan in two folds, every scan in one, LUNA16's subsets in pairs (T24)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tsgan_jax.config import DataConfig
from tsgan_jax.data.folds import NUM_FOLDS, fold_of, scan_of, training_folds


def test_luna16s_subsets_are_folds_in_pairs() -> None:
    folds = [fold_of("any", subset, range(10)) for subset in range(10)]
    assert folds == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("count", range(2, 13))
def test_other_numbers_of_subsets_are_dealt_out_evenly(count: int) -> None:
    sizes = Counter(fold_of("any", subset, range(count)) for subset in range(count))
    assert len(sizes) == min(count, NUM_FOLDS)
    assert max(sizes.values()) - min(sizes.values()) <= 1


@pytest.mark.parametrize("subsets", [(), (0,), (7,)])
def test_without_subsets_the_name_decides(subsets: tuple) -> None:
    """Any scan stays where it is when others come, and five folds are filled about evenly."""
    subset = subsets[0] if subsets else None
    sizes = Counter(fold_of(f"1.3.6.1.{n}", subset, subsets) for n in range(1000))
    assert set(sizes) == set(range(NUM_FOLDS)) and all(150 < size < 250 for size in sizes.values())


@given(st.text("0123456789.", min_size=1), st.integers(0, 9999), st.integers(0, 9999))
def test_slices_of_a_scan_share_its_fold(uid: str, one: int, other: int) -> None:
    assert fold_of(f"{uid}.s{one:04d}", None, ()) == fold_of(f"{uid}.s{other:04d}", None, ()) == fold_of(uid, None, ())
    assert scan_of(f"{uid}.s{one:04d}") == uid


@pytest.mark.parametrize("fold", range(NUM_FOLDS))
def test_training_folds_are_the_other_four(fold: int) -> None:
    assert sorted((*training_folds(fold), fold)) == list(range(NUM_FOLDS))


def test_several_folds_can_be_kept_for_tests() -> None:
    assert training_folds((1, 3)) == (0, 2, 4)
    assert DataConfig(test_fold=3).test_folds == (3,)
    assert DataConfig(test_fold=[3, 1]).test_folds == (1, 3)
    assert DataConfig(test_fold=[2]) == DataConfig(test_fold=2)


@pytest.mark.parametrize("folds", [5, -1, [], [0, 1, 2, 3, 4], [0, 5], "one", True])
def test_folds_that_do_not_exist_or_leave_none_to_train_on_are_refused(folds: object) -> None:
    with pytest.raises(ValidationError, match="give one fold, 0 to 4, or a list of up to four"):
        DataConfig(test_fold=folds)
