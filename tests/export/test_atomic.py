"""A file is whole or absent, and a name from outside never leads out of its folder."""

import errno
import math
import os
import stat

import pytest

from tsgan_jax.errors import UserError
from tsgan_jax.export import atomic


@pytest.mark.parametrize(
    "name",
    [
        "../x.png",
        "/etc/passwd",
        "a/b.png",
        "a\\b.png",
        "",
        ".",
        "..",
        ".hidden",
        "-flag.png",
        "a\x00.png",
        "a\n",
        "é.png",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(UserError, match="refused"):
        atomic.safe_name(name)


@pytest.mark.parametrize("name", [None, 3, b"a.png", ["a.png"], "a" * 300])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UserError):
        atomic.safe_name(name)


def test_series_uids_are_names():
    assert atomic.safe_name("1.3.6.1.4.1.14519.5.2.1_0042.png") == "1.3.6.1.4.1.14519.5.2.1_0042.png"


def test_disk_full_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    atomic.write_json(path, {"old": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic.write_json(path, {"new": 2})
    assert atomic.read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_writer_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic.replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_files_keep_the_permissions_of_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_sweep_removes_only_unfinished_files(tmp_path):
    (tmp_path / f"{atomic.UNFINISHED}12-a.png").write_bytes(b"half")
    (tmp_path / "a.png").write_bytes(b"whole")
    assert atomic.sweep(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"x": math.nan})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="a.json"):
        atomic.read_json(tmp_path / "a.json")
