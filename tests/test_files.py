"""A file is whole or absent, a name from outside never leads out of its folder, and a run directory has one trainer."""

import errno
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tsgan_jax import files
from tsgan_jax.errors import UserError
from tsgan_jax.files import locked_run


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
        files.safe_name(name)


@pytest.mark.parametrize("name", [None, 3, b"a.png", ["a.png"], "a" * 300])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UserError):
        files.safe_name(name)


def test_series_uids_are_names():
    assert files.safe_name("1.3.6.1.4.1.14519.5.2.1_0042.png") == "1.3.6.1.4.1.14519.5.2.1_0042.png"


def test_disk_full_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"new": 2})
    assert files.read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_writer_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_files_keep_the_permissions_of_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_sweep_removes_only_unfinished_files(tmp_path):
    (tmp_path / f"{files.UNFINISHED}12-a.png").write_bytes(b"half")
    (tmp_path / "a.png").write_bytes(b"whole")
    assert files.sweep(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": math.nan})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="a.json"):
        files.read_json(tmp_path / "a.json")


ROOT = Path(__file__).resolve().parents[2]


def test_second_trainer_is_refused_until_the_first_ends(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path; from tsgan_jax.files import locked_run\n"
        "with locked_run(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is training here"), locked_run(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with locked_run(tmp_path):
        pass


def test_run_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used as a run directory"), locked_run(tmp_path / "file"):
        pass
