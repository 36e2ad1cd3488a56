"""Every scan gets its verdict; what is wrong with one never touches the others."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from luna16_trees import chest, lung_mask, write_annotations, write_mhd, write_tree

from tsgan_jax import labels
from tsgan_jax.data.metaimage import VolumeError
from tsgan_jax.data.preparation import prepare_case
from tsgan_jax.data.verify import ScanVerdict, check_case, find_cases, remap_lungs
from tsgan_jax.errors import UserError


def scan_tree(root: Path) -> list[ScanVerdict]:
    return [prepare_case(case, root, 32)[0] for case in find_cases(root).cases]


def verdicts(root: Path) -> dict[str, ScanVerdict]:
    return {verdict.file: verdict for verdict in scan_tree(root)}


def test_a_sound_tree_is_all_ok(tmp_path: Path) -> None:
    found = scan_tree(write_tree(tmp_path))
    assert [v.status for v in found] == ["ok"] * 10
    assert [v.fold for v in found] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(v.nodules == 1 and v.lungs == "seg-lungs" and v.size == (64, 48, 6) for v in found)


def test_each_fault_is_named_and_stops_no_other_scan(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree")
    hu = chest()
    write_mhd(root / "subset0" / "scan0.mhd", hu, compressed=False)
    with (root / "subset0" / "scan0.raw").open("r+b") as stream:
        stream.truncate(1000)
    damaged = root / "subset1" / "scan1.zraw"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 4
    damaged.write_bytes(content)
    write_mhd(root / "subset2" / "scan2.mhd", hu, ElementSpacing="nan 1 1")
    (root / "subset3" / "scan3.zraw").unlink()
    (tmp_path / "outside.raw").write_bytes(hu.tobytes())
    write_mhd(root / "subset4" / "scan4.mhd", hu, ElementDataFile="../../outside.raw", CompressedData="False")
    (root / "subset5" / "scan5.zraw").rename(tmp_path / "moved")
    (root / "subset5" / "scan5.zraw").symlink_to(tmp_path / "moved")
    write_mhd(root / "seg-lungs-LUNA16" / "scan6.mhd", np.full(hu.shape, 7, np.uint8))
    (root / "seg-lungs-LUNA16" / "scan7.mhd").unlink()
    write_mhd(root / "seg-lungs-LUNA16" / "scan8.mhd", lung_mask(hu, left=4, right=3))

    found = verdicts(root)
    for scan, word in enumerate(
        ("1000 bytes", "damaged", "ElementSpacing = nan", "does not exist", "out of the tree", "outside", "codes")
    ):
        verdict = found[f"subset{scan}/scan{scan}.mhd"]
        assert verdict.status == "refused" and word in verdict.reasons[0], (scan, verdict)
        assert f"scan{scan}" in verdict.reasons[0]
    assert (found["subset7/scan7.mhd"].status, found["subset7/scan7.mhd"].lungs) == ("warning", "segmented")
    assert "left and right exchanged" in found["subset8/scan8.mhd"].reasons[0]
    assert found["subset8/scan8.mhd"].nodules == 1
    assert found["subset9/scan9.mhd"].status == "ok"


def test_annotations_outside_the_volume_are_dropped_and_counted(tmp_path: Path) -> None:
    root = write_tree(tmp_path, subsets=2)
    write_annotations(
        root,
        ("scan0", -10.0, 4.0, 9.0, 8.0),
        ("scan0", 500.0, 4.0, 9.0, 8.0),
        ("scan0", -10.0, 4.0, -60.0, 8.0),
        ("scan0", -10.0, 4.0, 18.0, 8.0),  # above the last slice, but reaches into it
        ("scan1", -10.0, 4.0, 9.0, "nan"),
        ("elsewhere", 0.0, 0.0, 0.0, 5.0),
        ("elsewhere", 0.0, 0.0, 9.0, 5.0),
    )
    tree = find_cases(root)
    assert tree.unknown == 2 and len(tree.dropped) == 1 and "not finite" in tree.dropped[0]
    one, other = scan_tree(root)
    assert (one.nodules, len(one.dropped), one.status) == (2, 2, "warning")
    assert "outside the volume of 64 x 48 x 6" in one.dropped[0]
    assert (other.nodules, other.status) == (0, "ok")


def test_the_same_scan_in_two_subsets_is_refused_in_both(tmp_path: Path) -> None:
    root = write_tree(tmp_path, subsets=3)
    write_mhd(root / "subset2" / "scan0.mhd", chest())
    found = verdicts(root)
    assert "is also in subset2" in found["subset0/scan0.mhd"].reasons[0]
    assert "is also in subset0" in found["subset2/scan0.mhd"].reasons[0]
    assert found["subset1/scan1.mhd"].status == found["subset2/scan2.mhd"].status == "ok"


def test_subset_folders_count_however_they_are_spelt(tmp_path: Path) -> None:
    root = write_tree(tmp_path, subsets=3)
    (root / "subset2").rename(root / "Subset2")
    assert [(verdict.file, verdict.fold, verdict.status) for verdict in scan_tree(root)] == [
        ("Subset2/scan2.mhd", 2, "ok"),
        ("subset0/scan0.mhd", 0, "ok"),
        ("subset1/scan1.mhd", 1, "ok"),
    ]


def test_slices_of_one_scan_in_two_subsets_are_refused(tmp_path: Path) -> None:
    write_annotations(tmp_path)
    for subset, number in ((0, 1), (0, 2), (1, 3)):
        write_mhd(tmp_path / f"subset{subset}" / f"1.2.3.s{number:04d}.mhd", chest())
    write_mhd(tmp_path / "subset1" / "1.2.4.s0001.mhd", chest())
    assert [v.status for v in scan_tree(tmp_path)] == ["refused", "refused", "refused", "ok"]


def test_a_tree_without_subsets_and_masks(tmp_path: Path) -> None:
    write_annotations(tmp_path, ("a", -10.0, 4.0, 9.0, 8.0))
    write_mhd(tmp_path / "a.mhd", chest())
    write_mhd(tmp_path / "nodule_masks" / "a.mhd", lung_mask(chest()))
    write_mhd(tmp_path / "._a.mhd", chest())
    (case,) = find_cases(tmp_path).cases
    verdict = check_case(case, tmp_path).verdict
    assert (verdict.status, verdict.subset, verdict.lungs, verdict.nodules) == ("ok", None, "segmented", 1)


def test_what_is_no_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data.root: .*nowhere is not a folder"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(UserError, match="annotations.csv"):
        find_cases(tmp_path)
    write_annotations(tmp_path)
    with pytest.raises(UserError, match="no .mhd scans"):
        find_cases(tmp_path)


@pytest.mark.parametrize("left", [3, 4])
def test_lung_sides_follow_from_geometry(tmp_path: Path, left: int) -> None:
    """T23: the left lung has the larger x, whichever code the mask gives it."""
    hu = chest()
    mask = lung_mask(hu, left=left, right=7 - left)
    mask[:, 2:4, 30:34] = 5
    classes, warning = remap_lungs(mask, tmp_path)
    np.testing.assert_array_equal(classes[:, :, 32:][hu[:, :, 32:] == -850], labels.LEFT_LUNG)
    np.testing.assert_array_equal(classes[:, :, :32][hu[:, :, :32] == -850], labels.RIGHT_LUNG)
    assert (classes[:, 2:4, 30:34] == labels.TRACHEA).all()
    assert bool(warning) == (left == 4)


def test_an_empty_lung_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="no lung"):
        remap_lungs(np.zeros((2, 3, 4), np.uint8), tmp_path)


def test_a_verdict_is_one_line(tmp_path: Path) -> None:
    line = scan_tree(write_tree(tmp_path, subsets=2))[0].line()
    assert line.startswith("ok ") and "\n" not in line


def test_an_empty_subset_folder_moves_no_other_scan_to_another_fold(tmp_path: Path) -> None:
    whole = {case.seriesuid: case.fold for case in find_cases(write_tree(tmp_path)).cases}
    shutil.rmtree(tmp_path / "subset3")
    (tmp_path / "subset3").mkdir()
    left = {case.seriesuid: case.fold for case in find_cases(tmp_path).cases}
    assert left == {name: fold for name, fold in whole.items() if name != "scan3"}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may list everything: so the system call refuses here."""
    write_tree(tmp_path, subsets=2)
    scandir = os.scandir

    def refuse(path: object) -> object:
        if str(path).endswith("subset1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"subset1: cannot be listed \(Permission denied\)"):
        find_cases(tmp_path)


@pytest.mark.parametrize("name", ["patient 01", "Müller_1"])
def test_a_scan_whose_name_could_not_name_a_set_is_refused(tmp_path: Path, name: str) -> None:
    write_annotations(tmp_path, (name, -10.0, 4.0, 9.0, 8.0), ("sound", -10.0, 4.0, 9.0, 8.0))
    write_mhd(tmp_path / f"{name}.mhd", chest())
    write_mhd(tmp_path / "sound.mhd", chest())
    strange, sound = sorted(scan_tree(tmp_path), key=lambda verdict: verdict.status == "ok")
    assert strange.status == "refused" and name in strange.reasons[0] and "use a bare name" in strange.reasons[0]
    assert sound.status != "refused"
