"""Preparing: what is stored is what was cut, and the cache is neither stale nor tripped over."""

import fcntl
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from luna16_trees import chest, lung_mask, write_annotations, write_mhd, write_tree

from tsgan_jax import labels
from tsgan_jax.cli import prepare as command
from tsgan_jax.config import DataConfig, PhantomConfig
from tsgan_jax.data import luna16, pipeline, preparation
from tsgan_jax.data.luna16 import PreparationSummary, prepare
from tsgan_jax.data.nodules import Box
from tsgan_jax.data.preparation import prepare_case, prepare_cases
from tsgan_jax.data.verify import ScanVerdict, find_cases
from tsgan_jax.errors import UserError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def config(tree: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(root=tree, prepared=tmp_path / "prepared", resolution=32)


def refuse(*_: object) -> None:
    raise AssertionError("a connection was tried")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tree and its prepared slices, made without a network."""
    root = tmp_path_factory.mktemp("made")
    config = DataConfig(root=write_tree(root / "tree"), prepared=root / "prepared", resolution=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        assert prepare(config, workers=1).fresh
        assert len(pipeline.load(config, [0])) == 2
    return root


@pytest.fixture
def done(made: Path, tmp_path: Path) -> DataConfig:
    """The config of a copy of that folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return DataConfig(root=tmp_path / "tree", prepared=tmp_path / "prepared", resolution=32)


def no_reading(*_: object) -> None:
    raise AssertionError("the tree was read again")


def test_what_is_stored_is_what_was_cut(done: DataConfig) -> None:
    slices, tree = pipeline.load(done, range(5)), done.root
    assert len(slices) == 10 and slices.seriesuid == tuple(f"scan{n}" for n in range(10))
    np.testing.assert_array_equal(slices.fold, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    cut = [stored for case in find_cases(tree).cases for stored in prepare_case(case, tree, 32)[1]]
    np.testing.assert_array_equal(slices.ct, [one.ct for one in cut])
    np.testing.assert_array_equal(slices.mask, [one.mask for one in cut])
    assert slices.ct.dtype == np.int16 and slices.ct.min() == -1024 and slices.mask.dtype == np.uint8
    assert set(np.unique(slices.mask)) >= {labels.BODY, labels.LEFT_LUNG, labels.RIGHT_LUNG, labels.NODULE}
    np.testing.assert_allclose(slices.pixel_mm, 2.0)
    np.testing.assert_array_equal(slices.native_mm, np.ones((10, 2)))
    np.testing.assert_array_equal(slices.slice_index, 2)
    np.testing.assert_allclose(slices.z_mm, 9.0)
    for mask, (nodule,) in zip(slices.mask, slices.nodules, strict=True):
        ys, xs = np.nonzero(mask == labels.NODULE)
        assert nodule.box == Box(xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
        assert nodule.box_native.w in (8, 9) and nodule.diameter_mm == 8.0


def test_the_summary_counts(config: DataConfig, tree: Path) -> None:
    (tree / "subset3" / "scan3.zraw").unlink()
    (tree / "seg-lungs-LUNA16" / "scan4.mhd").unlink()
    rows = [(f"scan{n}", -10.0, 4.0, 9.0, 8.0) for n in range(10)]
    write_annotations(
        tree, *rows, ("scan5", 900, 0, 0, 4), ("scan6", 0, 0, 0, 0), ("gone", 0, 0, 0, 3), ("scan7", 10, 4, 5, 1)
    )
    prepared = prepare(config, workers=1)
    summary = prepared.summary
    assert summary == PreparationSummary(
        resolution=32,
        scans=10,
        refused=1,
        warned=2,
        slices=10,
        nodules=10,
        subpixel=1,
        dropped=2,
        unknown=1,
        lungs_given=8,
        lungs_segmented=1,
        folds=(2, 1, 2, 3, 2),
        seconds=summary.seconds,
    )
    assert [v.slices for v in prepared.record.scans] == [1, 1, 1, 0, 1, 1, 1, 2, 1, 1]


def test_the_second_time_nothing_is_read(done: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luna16, "prepare_cases", no_reading)
    second = prepare(done)
    assert not second.fresh and second.summary.slices == len(second.record.scans) == 10


def test_a_refused_scan_is_read_again_when_it_was_mended(config: DataConfig, tree: Path) -> None:
    """The file as it was, of the same size and time, as `cp -p` brings it: nothing but the inode tells."""
    path = tree / "subset3" / "scan3.zraw"
    good, stat = path.read_bytes(), path.stat()
    path.write_bytes(good[:20] + bytes([good[20] ^ 255]) + good[21:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepare(config, workers=1).summary.refused == 1
    assert not prepare(config, workers=1).fresh
    time.sleep(0.05)
    path.write_bytes(good)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    mended = prepare(config, workers=1)
    assert mended.fresh and mended.summary.refused == 0 and mended.summary.slices == 10


@pytest.mark.parametrize("name", ["fold_0", "dataset_info.json"])
def test_damaged_slices_are_named_with_the_way_out(done: DataConfig, name: str) -> None:
    (file,) = [path for path in done.prepared.rglob("*") if path.is_file() and name in path.name]
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UserError, match=r"prepared slices cannot be read \(.*run bin/prepare again"):
        pipeline.load(done, [0])


def test_a_second_preparation_says_that_it_waits(config: DataConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config.prepared.mkdir()
    lock = (config.prepared / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Timer(1.0, lock.close).start()
    assert prepare(config, workers=1).fresh
    assert "another process is preparing slices there" in capsys.readouterr().err


def test_a_damaged_record_is_made_anew(done: DataConfig) -> None:
    (record,) = done.prepared.rglob("verify.json")
    record.write_text(record.read_text()[:40])
    again = prepare(done, workers=1)
    assert again.fresh and len(again.record.scans) == 10


def verdicts(tree: Path) -> list[ScanVerdict]:
    return [prepare_case(case, tree, 32)[0] for case in find_cases(tree).cases]


def test_coordinates_of_another_convention_are_doubted(tree: Path) -> None:
    """x and y negated, as in RAS: the nodules come to lie in the volume, but outside the lungs."""
    write_annotations(tree, ("scan0", -10.0, 4.0, 9.0, 8.0), ("scan2", -28.0, -18.0, 9.0, 4.0))
    sound, _, doubted = verdicts(tree)[:3]
    assert sound.status == "ok" and doubted.status == "warning" and doubted.slices == 1
    assert "1 of 1 nodules drawn more than 10 mm from any lung" in doubted.line()


def test_a_lung_mask_of_another_scan_is_doubted(tree: Path) -> None:
    mask = np.zeros_like(lung_mask(chest()))
    mask[:, 14:34, 26:31], mask[:, 14:34, 33:38] = 4, 3
    write_mhd(tree / "seg-lungs-LUNA16" / "scan2.mhd", mask)
    found = verdicts(tree)
    assert "the lungs of 1 of 1 slices have a median above -400 HU" in found[2].line()
    assert [v.status for v in found] == ["ok", "ok", "warning", *["ok"] * 7]


def test_a_moved_tree_is_recognised(done: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = done.root.rename(done.root.parent / "moved here")
    monkeypatch.setattr(luna16, "prepare_cases", no_reading)
    assert not prepare(done.model_copy(update={"root": moved})).fresh


def same_size(tree: Path) -> None:
    path = tree / "subset0" / "scan0.zraw"
    os.utime(path, (path.stat().st_mtime + 60,) * 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: write_annotations(tree, *[(f"scan{n}", -10.0, 4.0, 9.0, 9.0) for n in range(10)]),
        lambda tree: shutil.rmtree(tree / "subset9"),
        lambda tree: (tree / "seg-lungs-LUNA16" / "scan1.zraw").unlink(),
        lambda tree: write_mhd(tree / "subset0" / "more.mhd", chest()),
        same_size,
    ],
)
def test_a_changed_tree_is_another_dataset(done: DataConfig, change: Callable[[Path], object]) -> None:
    change(done.root)
    with pytest.raises(UserError, match="not prepared, or it has changed"):
        pipeline.load(done, [0])


def test_another_resolution_or_recipe_is_prepared_anew(
    done: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(done)
    assert prepare(done.model_copy(update={"resolution": 16}), workers=1).fresh
    source = tmp_path / "source" / "data"
    shutil.copytree(luna16._SOURCE, source)
    for name in ("components.py", "errors.py", "labels.py", "workers.py"):
        shutil.copy(luna16._SOURCE.parent / name, source.parent)
    monkeypatch.setattr(luna16, "_SOURCE", source)
    assert prepare(done).directory == first.directory
    with (source / "slices.py").open("a") as stream:
        stream.write("\n")
    assert prepare(done, workers=1).directory != first.directory


def test_all_code_that_prepares_is_in_the_recipe_and_none_of_it_is_heavy() -> None:
    """What a worker imports decides what is stored; TensorFlow or JAX in each worker would cost its memory."""
    program = "import sys, tsgan_jax.data.preparation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    ours = {
        name.removeprefix("tsgan_jax.") for name in loaded if name.startswith("tsgan_jax.") and name != "tsgan_jax.data"
    }
    recipe = {name.removeprefix("../") if "../" in name else f"data.{name}" for name in luna16._RECIPE}
    assert {f"{name}.py" for name in ours} <= recipe
    assert not {"tensorflow", "jax", "flax", "tensorflow_datasets"} & set(loaded)


def die_while_writing(config: DataConfig) -> None:
    luna16.Luna16Slices._generate_examples = lambda self, fold: os._exit(9)
    prepare(config, workers=1)


@pytest.mark.slow
def test_what_a_killed_run_leaves_is_removed(config: DataConfig) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die_while_writing, args=(config,))
    process.start()
    process.join()
    assert process.exitcode == 9
    (directory,) = (config.prepared / "luna16_slices").iterdir()
    assert [p for p in directory.iterdir() if "incomplete" in p.name] and (directory / "verify.json").is_file()
    prepared = prepare(config, workers=1)
    assert prepared.fresh and prepared.directory == directory
    assert sorted(p.name for p in directory.iterdir()) == ["1.0.0", "verify.json"]
    assert len(pipeline.load(config, range(5))) == 10


def test_workers_change_nothing_but_the_time(tree: Path) -> None:
    found = find_cases(tree)
    calls: list[tuple[int, int]] = []
    alone = prepare_cases(found, 32, workers=1)
    together = prepare_cases(found, 32, workers=2, progress=lambda done, total, verdict: calls.append((done, total)))
    assert calls == [(n, 10) for n in range(1, 11)]
    for (one, slices), (other, same) in zip(alone, together, strict=True):
        assert one == other
        for a, b in zip(slices, same, strict=True):
            np.testing.assert_array_equal(a.ct, b.ct)
            np.testing.assert_array_equal(a.mask, b.mask)


@pytest.mark.parametrize("fault", [OSError("no such page"), MemoryError("no room"), UserError("no lung")])
def test_a_scan_that_cannot_be_used_is_refused_alone(
    tree: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(checked: object, indices: object) -> None:
        raise fault

    monkeypatch.setattr(preparation, "anatomy", fail)
    verdict, stored = prepare_case(find_cases(tree).cases[0], tree, 32)
    assert verdict.status == "refused" and str(fault) in verdict.reasons[0] and not stored


def test_a_defect_of_ours_is_no_fault_of_a_scan(
    config: DataConfig, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(checked: object, indices: object) -> None:
        raise ZeroDivisionError("no pixels")

    monkeypatch.setattr(preparation, "anatomy", fail)
    file = tmp_path / "c.yaml"
    file.write_text(f"data: {{root: {tree}, prepared: {config.prepared}, resolution: 32}}\n")
    assert command.main(["--config", str(file), "--workers", "1"]) == 70
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: no pixels" in shown and "this is a defect of tsgan_jax" in shown


def test_a_defect_in_reading_slices_is_not_taken_for_damage(done: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_nodules", lambda rows: {}["box"])
    with pytest.raises(KeyError):
        pipeline.load(done, [0])


def test_a_tree_without_a_usable_slice_says_why(config: DataConfig, tree: Path) -> None:
    write_annotations(tree, ("gone", 0.0, 0.0, 0.0, 5.0))
    (tree / "subset0" / "scan0.zraw").unlink()
    with pytest.raises(UserError, match=r"no usable slice: 1 of 10 scans are refused .*1 annotations .*scan0.zraw"):
        prepare(config, workers=1)


def test_an_empty_side_of_the_split_says_why(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", subsets=3)
    config = DataConfig(root=tree, prepared=tmp_path / "prepared", resolution=16, test_fold=4)
    with pytest.raises(UserError, match=r"data.test_fold: 4 is empty .*choose one of \[0, 1, 2\]"):
        prepare(config, workers=1)
    assert sum(prepare(config.model_copy(update={"test_fold": 1})).summary.folds) == 3
    with pytest.raises(UserError, match=r"folds \[3, 4\] have no slice"):
        pipeline.load(config, [3, 4])
    shutil.rmtree(tree / "subset1"), shutil.rmtree(tree / "subset2")
    fold = find_cases(tree).cases[0].fold
    with pytest.raises(UserError, match="all slices are in the test fold"):
        prepare(config.model_copy(update={"test_fold": fold}), workers=1)


def test_neither_root_nor_phantom_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data.root: missing"):
        prepare(DataConfig(prepared=tmp_path))


def test_without_a_root_the_phantom_is_written_and_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phantom = PhantomConfig(patients=10, slices=1, size=64)
    config = DataConfig(phantom=phantom, prepared=tmp_path, resolution=16)
    prepared = prepare(config, workers=1)
    assert prepared.summary.refused == 0 and all(prepared.summary.folds)
    monkeypatch.setattr(luna16, "prepare_cases", no_reading)
    assert not prepare(config).fresh
    assert len(pipeline.load(config, range(5))) == prepared.summary.slices


def test_the_lungs_of_the_mask_and_the_body_of_the_ct(tmp_path: Path) -> None:
    """Air that the mask does not call lung stays body; a nodule lies over all."""
    hu, mask = chest(), lung_mask(chest())
    mask[:, 20:, :32] = 0
    spacing = (5.0, 5.0, 2.0)  # a chest of the usual width, so that its wall is thicker than any table
    write_mhd(tmp_path / "subset0" / "a.mhd", hu, spacing)
    write_mhd(tmp_path / "seg-lungs-LUNA16" / "a.mhd", mask, spacing)
    write_annotations(tmp_path, ("a", -30 + 5 * 48, -20 + 5 * 24, 9.0, 30.0))
    _, (stored,) = prepare_case(find_cases(tmp_path).cases[0], tmp_path, 64)
    assert stored.mask[8 + 15, 20] == labels.RIGHT_LUNG and stored.mask[8 + 28, 20] == labels.BODY
    assert stored.mask[8 + 30, 42] == labels.LEFT_LUNG and stored.mask[8 + 24, 48] == labels.NODULE
    assert stored.mask[0, 0] == labels.BACKGROUND


def test_the_command(config: DataConfig, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "subset3" / "scan3.zraw").unlink()
    file = tmp_path / "c.yaml"
    file.write_text(f"data: {{root: {tree}, prepared: {config.prepared}, resolution: 32}}\n")
    assert command.main(["--config", str(file), "--workers", "1"]) == 0
    out, err = capsys.readouterr()
    assert "refused  subset3/scan3.mhd" in out and "9 usable" in out and "1 refused" in out
    assert "scan 10 of 10" in err and "Download" not in out
    assert command.main(["--config", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["slices"] == 9
    assert command.main(["--config", str(file), "data.root=/does/not/exist"]) == 2
    assert "error: data.root: /does/not/exist is not a folder" in capsys.readouterr().err


def test_real_volumes(shared_dir: Path, tmp_path: Path) -> None:
    """Four CT scans in LUNA16's layout, one of them without a lung mask."""
    tree = shared_dir / "data" / "luna16"
    wanted = [case for case in find_cases(tree).cases if case.subset in (1, 2)]
    for case in wanted:
        verdict, (stored,) = prepare_case(case, tree, 128)
        assert (verdict.status, verdict.lungs) == ("ok", "seg-lungs")
        shares = np.bincount(stored.mask.ravel(), minlength=6) / stored.mask.size
        assert 0.2 < shares[labels.BODY] < 0.7 and (shares[[labels.LEFT_LUNG, labels.RIGHT_LUNG]] > 0.03).all()
        (nodule,) = stored.nodules
        assert nodule.box.w * stored.pixel_mm == pytest.approx(nodule.diameter_mm, abs=2 * stored.pixel_mm)
        inside = stored.mask == labels.NODULE
        assert stored.ct[inside].mean() > stored.ct[stored.mask == labels.LEFT_LUNG].mean() + 300
