"""Records survive their file, a crash in the middle of a line, and refuse what is not theirs."""

import pytest

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.records import Record, append, current, read

PSNR = Record("similarity", "dl_pix2pix", "full", "PSNR", 20.5, 238, interval=(20.1, 20.9), fold=0)


def test_round_trip(tmp_path):
    records = [PSNR, Record("distance", "pix2pix", "full", "FID", None, 3, reason="too few images")]
    for record in records:
        append(tmp_path / "new" / "records.jsonl", [record])
    assert read(tmp_path / "new" / "records.jsonl") == records


def test_no_file_has_no_records(tmp_path):
    assert read(tmp_path / "records.jsonl") == []


def test_a_line_cut_short_is_passed_over(tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, [PSNR])
    path.write_text(path.read_text() + path.read_text()[:40])
    assert read(path) == [PSNR]


@pytest.mark.parametrize("line", ["{}", "[1]", "nonsense", '{"kind": "similarity", "colour": 3}'])
def test_a_foreign_line_is_named(tmp_path, line):
    path = tmp_path / "records.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(UserError, match="records.jsonl, line 1"):
        read(path)


def test_only_the_newest_record_of_each_figure_counts():
    newer = Record("similarity", "dl_pix2pix", "full", "PSNR", 21.0, 238, fold=0)
    other = Record("similarity", "dl_pix2pix", "full", "PSNR", 19.0, 238, fold=1)
    assert current([PSNR, other, newer]) == [newer, other]


def test_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        append(tmp_path / "records.jsonl", [Record("similarity", "m", "full", "PSNR", float("nan"), 1)])
    assert not (tmp_path / "records.jsonl").exists()
