"""Nodules are discs of the right size in the right place, and none is lost in drawing."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from luna16_trees import write_annotations

from tsgan_jax.data.nodules import (
    Box,
    Nodule,
    NoduleSection,
    boxes,
    coverage,
    draw,
    find_annotations,
    read_annotations,
    section_radius,
)
from tsgan_jax.errors import UserError


def section(x: float, y: float, radius: float) -> NoduleSection:
    return NoduleSection(Nodule("a", (0.0, 0.0, 0.0), 2 * radius), (x, y), radius)


@pytest.mark.parametrize(("dz", "radius"), [(0, 5), (3, 4), (-4, 3), (5, 0), (9, 0)])
def test_a_section_is_pythagoras(dz: float, radius: float) -> None:
    assert section_radius(Nodule("a", (1.0, 2.0, 30.0), 10.0), 30.0 + dz) == pytest.approx(radius)


@given(st.floats(10, 30), st.floats(10, 30), st.floats(1.5, 9), st.floats(0.5, 1.5), st.floats(0.5, 1.5))
def test_coverage_has_the_discs_area_and_centre(x: float, y: float, radius: float, dy: float, dx: float) -> None:
    share = coverage((60, 70), (x + 10, y + 10), radius, (dy, dx))
    assert share.min() >= 0 and share.max() <= 1
    assert share.sum() * dx * dy == pytest.approx(math.pi * radius**2, rel=0.06)
    middle = (share.sum(0) @ np.arange(70) / share.sum(), share.sum(1) @ np.arange(60) / share.sum())
    assert middle == pytest.approx((x + 10, y + 10), abs=0.1)


@given(st.floats(-0.4, 19.4), st.floats(-0.4, 15.4), st.floats(0, 6))
@example(0.5, 0.515625, 0.5)  # on a corner, where four pixels are covered alike
def test_a_nodule_is_never_lost(x: float, y: float, radius: float) -> None:
    """However small it is and wherever its centre lies in the image, a pixel at its centre or beside it is drawn."""
    mask, area = draw((16, 20), section(x, y, radius), (1.0, 1.0))
    assert mask.any() and area >= 0
    ys, xs = np.nonzero(mask)
    assert np.hypot(xs - x, ys - y).min() <= math.sqrt(0.5) + 1 / 8  # coverage tells places an eighth apart


def test_a_quarter_of_a_pixel_is_enough() -> None:
    """A nodule outweighs the rest of its pixel three to one."""
    mask, _ = draw((9, 9), section(4.0, 4.0, 2.0), (1.0, 1.0))
    share = coverage((9, 9), (4.0, 4.0), 2.0, (1.0, 1.0))
    np.testing.assert_array_equal(mask, 3 * share >= 1 - share)


def test_boxes_are_of_the_component_at_each_centre() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:5, 3:9] = mask[5, 9] = mask[12:14, 12:13] = True
    assert boxes(mask, [(12.0, 13.0), (4.0, 3.0), (8.0, 4.0)]) == [Box(12, 12, 1, 2), Box(3, 2, 7, 4), Box(3, 2, 7, 4)]
    with pytest.raises(ValueError, match="no boxes"):
        boxes(np.zeros((4, 4), bool), [(1.0, 1.0)])


def test_rows_that_cannot_be_used_are_dropped_with_a_reason(tmp_path: Path) -> None:
    path = write_annotations(
        tmp_path,
        ("a", 1, 2, 3, 4.5),
        ("a", 1, 2, 3, 4.5),
        ("a", "nan", 2, 3, 4.5),
        ("a", 1, 2, 3, 0),
        ("a", 1, 2, 3, -4),
        ("b", 1, 2, 3, "nan"),
        ("b", 1, 2, "x", 4),
        ("b", 1, 2, 3, 4000),
        ("b", 90, 5, -40, 2, -182, 7, 13, 9),
        ("b", 1, 2),
    )
    nodules, dropped = read_annotations(path)
    assert nodules == {"a": [Nodule("a", (1.0, 2.0, 3.0), 4.5)]}
    assert len(dropped) == 9
    for line, word in enumerate(
        ("repeats", "finite", "diameter 0", "diameter -4", "finite", "numbers", "4000", "point"), 3
    ):
        assert f"line {line} " in dropped[line - 3] and word in dropped[line - 3]


@pytest.mark.parametrize("stray", ['"a,1,2,3,4', 'a,1,2,3,"4', 'a,1,2,"3,4', 'a"b,1,2,3,4'])
def test_a_stray_quote_costs_its_own_row_only(tmp_path: Path, stray: str) -> None:
    path = write_annotations(tmp_path, ("z", 1, 2, 3, 5))
    path.write_text(path.read_text() + f'{stray}\n"b",1,2,3,"4"\nc,1,2,3,4\n')
    nodules, dropped = read_annotations(path)
    assert sorted(nodules) == ["b", "c", "z"]
    assert len(dropped) == 1 and "line 3 " in dropped[0] and "stray quote" in dropped[0]


def test_a_file_that_is_no_annotation_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="annotations.csv does not exist"):
        find_annotations(tmp_path)
    path = write_annotations(tmp_path)
    path.write_text("seriesuid,x,y,z,d\na,1,2,3,4\n")
    with pytest.raises(UserError, match="column coordX is missing"):
        read_annotations(path)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="not a CSV"):
        read_annotations(path)


def test_the_list_is_also_found_where_luna16s_archive_has_it(tmp_path: Path) -> None:
    write_annotations(tmp_path / "CSVFILES", ("a", 1, 2, 3, 4))
    assert find_annotations(tmp_path) == tmp_path / "CSVFILES" / "annotations.csv"
