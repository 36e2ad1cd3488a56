"""Packed networks: half precision, no path of the machine, damage is noticed, sets come from them as from a run."""

import shutil

import jax
import numpy as np
import pytest

from tsgan_jax.cli import pack as command
from tsgan_jax.config.reading import dump_config, run_config
from tsgan_jax.errors import UserError
from tsgan_jax.generation import packed, runs
from tsgan_jax.generation.generate import generate_run
from tsgan_jax.generation.manifest import read_manifest


@pytest.fixture(scope="module")
def folders(trained, tmp_path_factory):
    """(a run, its packed networks)."""
    base = tmp_path_factory.mktemp("packed")
    config = run_config(shutil.copytree(trained, base / "run"))
    placed = config.model_copy(update={"data": config.data.model_copy(update={"root": base / "LUNA16"})})
    (base / "run" / "config.yaml").write_text(dump_config(placed))
    assert command.main(["--run", str(base / "run"), "--out", str(base / "small")]) == 0
    return base / "run", base / "small"


def test_weights_are_the_run_s_in_half_precision(folders):
    run, small = map(runs.restore, folders)
    pairs = zip(*(jax.tree.leaves((t.generator.params, t.generator.w_avg)) for t in (run, small)), strict=True)
    for exact, rounded in pairs:
        assert exact.dtype == rounded.dtype
        wanted = np.float16(exact) if exact.ndim > 1 else exact
        np.testing.assert_array_equal(np.float32(wanted), rounded)
    assert small.generator.alpha == run.generator.alpha == 1
    assert small.pixel_mm == run.pixel_mm and not small.unfinished


def test_a_set_is_made_from_them_alone(folders, tmp_path):
    run, small = folders
    one = generate_run(small, 3, tmp_path / "a", say=lambda line: None)
    generate_run(small, 3, tmp_path / "b", say=lambda line: None)
    assert one.count == 3
    for path in sorted((tmp_path / "a").glob("*/*.png")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    source = read_manifest(tmp_path / "a")["made_from"]
    assert source["parents"]["masks"]["step"] == 4 and "masks.npz" in source["packed"]


def test_no_path_of_the_machine_is_packed(folders):
    base = str(folders[0].parent)
    for path in folders[1].iterdir():
        assert base.encode() not in path.read_bytes(), path.name
    assert run_config(folders[1]).data.root is None


@pytest.mark.parametrize("name", ["masks.npz", "translation.npz"])
def test_a_flipped_bit_is_noticed(folders, tmp_path, name):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folders[1].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(UserError, match=f"{name}: changed since it was written"):
        runs.restore(copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing"):
        runs.restore(copy)


def test_a_folder_with_files_is_not_packed_into(folders, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert command.main(["--run", str(folders[0]), "--out", str(tmp_path)]) == 2
    assert "has files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unknown_network_is_named_with_those_there_are():
    with pytest.raises(UserError, match="no network is called 'lung'"):
        packed.shipped("lung")
