"""Scans of one's own: every format gives the slices that MetaImage gives, and what is no CT series is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hospital_files import SERIES, image_of, spoil_nifti, write_dicom
from luna16_trees import chest, write_annotations, write_mhd

from tsgan_jax.cli import prepare as command
from tsgan_jax.data import dicom
from tsgan_jax.data.metaimage import VolumeError, axial
from tsgan_jax.data.nodules import Nodule, read_annotations
from tsgan_jax.data.own import add_scans
from tsgan_jax.data.preparation import prepare_case
from tsgan_jax.data.scans import read_scan
from tsgan_jax.data.verify import find_cases
from tsgan_jax.errors import UserError

CENTRE = (-181.1, -143.5, -333.2)  # voxel (20, 24, 3)


@pytest.fixture(scope="module")
def scan() -> sitk.Image:
    noise = np.random.default_rng(0).integers(0, 50, (6, 48, 64)).astype(np.int16)
    return image_of(chest() + noise)


@pytest.fixture
def nodules(tmp_path: Path) -> Path:
    write_annotations(tmp_path / "csv", ("ct", *CENTRE, 8.0), (SERIES, *CENTRE, 8.0))
    return tmp_path / "csv" / "annotations.csv"


def as_dicom(image: sitk.Image, folder: Path) -> Path:
    write_dicom(folder / "series", image)
    (folder / "series" / "report.txt").write_text("no image")
    return folder / "series"


def as_file(name: str) -> Callable[[sitk.Image, Path], Path]:
    def write(image: sitk.Image, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(folder / name))
        return folder / name

    return write


def slices(root: Path) -> list[dict]:
    """What preparation stores of a tree's only scan, but for its name."""
    (case,) = find_cases(root).cases
    verdict, stored = prepare_case(case, root, 32)
    assert verdict.status == "ok", verdict.reasons
    return [{**vars(one), "seriesuid": ""} for one in stored]


def quiet(line: str) -> None:
    pass


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "SPL", "RIP"])
@pytest.mark.parametrize("write", [as_file("ct.mhd"), as_file("ct.nii.gz"), as_dicom], ids=["mhd", "nifti", "dicom"])
def test_every_format_and_orientation_gives_the_slices_of_the_metaimage(
    tmp_path: Path, scan: sitk.Image, nodules: Path, write: Callable, axes: str
) -> None:
    as_file("ct.mhd")(scan, tmp_path / "plain")
    shutil.copy(nodules, tmp_path / "plain")
    expected = slices(tmp_path / "plain")
    assert len(expected) == 1 and expected[0]["slice_index"] == 3 and len(expected[0]["nodules"]) == 1
    add_scans(tmp_path / "tree", [write(sitk.DICOMOrient(scan, axes), tmp_path / "given")], [nodules], say=quiet)
    (found,) = slices(tmp_path / "tree")
    for name, value in expected[0].items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
        elif name == "nodules":
            assert [(n.box, n.box_native) for n in found[name]] == [(n.box, n.box_native) for n in value]
            np.testing.assert_allclose(found[name][0].centre, value[0].centre, atol=1e-9)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-12) if name != "seriesuid" else None


def test_slope_and_intercept_of_each_slice_are_applied(tmp_path: Path, scan: sitk.Image) -> None:
    voxels = sitk.GetArrayFromImage(scan) // 4 * 4
    folder = tmp_path / "ct"
    files = write_dicom(folder, image_of(voxels), x0028_1053="2", x0028_1052="-1024")
    content, slope = files[1].read_bytes(), b"\x28\x00\x53\x10\x02\x00\x00\x00"
    assert content.count(slope + b"2 ") == 1
    files[1].write_bytes(content.replace(slope + b"2 ", slope + b".5"))
    voxels[1] = (voxels[1] + 1024) // 4 - 1024
    found, spacing, origin = axial(read_scan(folder).image, folder)
    np.testing.assert_array_equal(found, voxels)
    assert spacing == (2.5, 0.7, 0.7) and origin == scan.GetOrigin()


def spoiled(tmp_path: Path, scan: sitk.Image, fault: str) -> Path:
    """A folder with a DICOM series that has a fault."""
    folder = tmp_path / "ct"
    files = write_dicom(folder, scan)
    tags = {"modality": {"x0008_0060": "MR"}, "tag": {"x0018_1120": "-12"}}
    if fault in tags:
        write_dicom(folder, scan, **tags[fault])
    elif fault == "shear":
        for k in range(6):
            one = sitk.GetArrayFromImage(scan)[k : k + 1]
            write_dicom(folder, image_of(one, origin=(0, 3.0 * k, 2.5 * k)), first=k)
    elif fault == "missing":
        files[2].unlink()
    elif fault == "twice":
        shutil.copy(files[2], folder / "copy.dcm")
    elif fault == "mixed":
        write_dicom(folder, scan, series="1.2.3", first=6)
    elif fault == "localizer":
        write_dicom(folder, image_of(np.zeros((1, 9, 12), np.int16)), first=6)
    elif fault == "oblique":
        tilted = image_of(sitk.GetArrayFromImage(scan))
        tilted.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0, 0, 0.2).GetMatrix())
        write_dicom(folder, tilted)
    elif fault == "cut":
        files[3].write_bytes(files[3].read_bytes()[:-3000])
    elif fault == "header":
        files[3].write_bytes(files[3].read_bytes()[:700])
    return folder


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("modality", r"IM\d+.dcm: Modality is MR; expected CT"),
        ("tag", r"GantryDetectorTilt is -12 degrees; resample"),
        ("shear", "a tilted gantry; resample"),
        ("missing", r"between IM0007.dcm and IM0021.dcm, at -338.2 and -333.2 mm: 1 missing"),
        ("twice", r"IM0014.dcm and copy.dcm are at one position, -335.7 mm"),
        ("mixed", rf"holds 2 series; choose one by --series UID: 1.2.3: CT, 6 files, chest; {SERIES}: CT, 6 files"),
        ("localizer", r"IM0042.dcm: size, spacing and orientation .* differ .* is it a localizer"),
        ("oblique", "is oblique"),
        ("cut", "cannot be read"),
        ("header", "cannot be read"),
    ],
)
def test_what_is_no_ct_series_is_refused_by_name(tmp_path: Path, scan: sitk.Image, fault: str, message: str) -> None:
    folder = spoiled(tmp_path, scan, fault)
    with pytest.raises(VolumeError, match=message):
        axial(read_scan(folder).image, folder)


def test_one_of_mixed_series_can_be_chosen(tmp_path: Path, scan: sitk.Image) -> None:
    folder = spoiled(tmp_path, scan, "mixed")
    assert read_scan(folder, "1.2.3").name == "1.2.3"
    with pytest.raises(VolumeError, match="has no series 9; choose one"):
        read_scan(folder, "9")


def test_nifti_that_is_no_scan_in_hu_is_refused(tmp_path: Path, scan: sitk.Image, nodules: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(UserError, match=message):
            add_scans(tmp_path / "tree", [path], [nodules], say=quiet)

    path = as_file("ct.nii.gz")(scan + 1024, tmp_path / "given")
    refused(path, "the rescale slope and intercept were not applied")
    as_file("ct.nii.gz")(scan, tmp_path / "given")
    spoil_nifti(path, 252, "2h", 0, 0)
    refused(path, "left and right are unknown")
    as_file("ct.nii.gz")(scan, tmp_path / "given")
    spoil_nifti(path, 252, "2h", 0, 1)
    spoil_nifti(path, 280, "12f", -0.7, 0.3, 0, 0, 0, -0.7, 0, 0, 0, 0, 2.5, 0)
    refused(path, "cannot read it")
    as_file("ct.nii.gz")(scan, tmp_path / "given")
    spoil_nifti(path, 280, "12f", -0.7, 0.3, 0, 195.1, 0, -0.7, 0, 160.3, 0, 0, 2.5, -340.7)
    refused(path, "sform is sheared")
    as_file("ct.nii.gz")(scan, tmp_path / "given")
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "ends early or is damaged")
    path = as_file("ct.nii")(scan, tmp_path / "given")
    path.write_bytes(path.read_bytes()[:-2])
    refused(path, "36862 bytes of voxels, its header needs 36864")
    path = as_file("ct.nii.gz")(sitk.JoinSeries([scan, scan]), tmp_path / "given")
    refused(path, "expected one 3-D volume")
    refused(tmp_path / "ct.nrrd", "does not exist")


def ball(scan: sitk.Image, diameter: float) -> np.ndarray:
    """bool [z, y, x]: a sphere at CENTRE."""
    index = np.indices(scan.GetSize()[::-1])[::-1]
    mm = [c * i + o - x for c, i, o, x in zip(scan.GetSpacing(), index, scan.GetOrigin(), CENTRE, strict=True)]
    return np.square(mm).sum(0) <= (diameter / 2) ** 2


@pytest.mark.parametrize("axes", ["LPS", "RAI"])
def test_components_of_a_mask_are_nodules(tmp_path: Path, scan: sitk.Image, axes: str) -> None:
    mask = ball(scan, 8.0).astype(np.uint8)
    mask[0, 40:46, 50:56] = 1
    mask[0, 40:46, 56:60] = 2  # touches, but has another number
    mask[5, 2, 2] = 1  # a speck
    marked = image_of(mask)
    given = (
        as_file("ct.nii.gz")(scan, tmp_path / "given"),
        as_file("n.nii.gz")(sitk.DICOMOrient(marked, axes), tmp_path / "given"),
    )
    said: list[str] = []
    add_scans(tmp_path / "tree", [given[0]], [given[1]], say=said.append)
    assert any("1 components below 3 mm" in line for line in said)
    found = sorted(read_annotations(tmp_path / "tree" / "annotations.csv")[0]["ct"], key=lambda n: -n.diameter)
    assert len(found) == 3
    np.testing.assert_allclose(found[0].centre, CENTRE, atol=0.01)
    assert abs(found[0].diameter - 8.0) < 0.4
    np.testing.assert_allclose(found[1].diameter, 2 * np.sqrt(36 * 0.49 / np.pi))
    with pytest.raises(UserError, match="differ from the scan's"):
        smaller = as_file("s.nii.gz")(marked[:, :, :4], tmp_path / "given")
        add_scans(tmp_path / "tree", [given[0]], [smaller], say=quiet)


@pytest.mark.parametrize("write", [as_file("ct.nii.gz"), as_dicom], ids=["nifti", "dicom"])
def test_boxes_of_neighbouring_slices_are_one_nodule(tmp_path: Path, scan: sitk.Image, write: Callable) -> None:
    """Boxes are in pixels of the files, here prone: x and y run backwards."""
    prone = sitk.DICOMOrient(scan, "RAS")
    given = write(prone, tmp_path / "given")
    files = read_scan(given).slices
    sphere = sitk.GetArrayFromImage(sitk.DICOMOrient(image_of(ball(scan, 8.0).astype(np.uint8)), "RAS"))
    tree: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "Nodule"}]}
    for k in np.flatnonzero(sphere.any(axis=(1, 2))).tolist():
        place = {"file_name": files[k]} if files else {"slice_index": k}
        tree["images"].append({"id": k, "width": 64, "height": 48, **place})
        ys, xs = np.nonzero(sphere[k])
        box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        tree["annotations"].append({"id": k + 1, "image_id": k, "category_id": 3, "bbox": [int(v) for v in box]})
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(tree))
    add_scans(tmp_path / "tree", [given], [path], say=quiet)
    ((found,),) = read_annotations(tmp_path / "tree" / "annotations.csv")[0].values()
    assert len(tree["images"]) == 3
    np.testing.assert_allclose(found.centre, CENTRE, atol=0.01)
    assert abs(found.diameter - 8.0) < 0.5
    tree["images"][0]["width"] = 128
    path.write_text(json.dumps(tree))
    with pytest.raises(UserError, match="has width 128, the scan's slices have 64"):
        add_scans(tmp_path / "tree", [given], [path], say=quiet)


def test_scans_are_added_to_a_tree_and_trained_on_from_it(
    tmp_path: Path, scan: sitk.Image, capsys: pytest.CaptureFixture
) -> None:
    """The command: one scan first, another later; folders by patient; the config then finds the slices."""
    config = tmp_path / "own.yaml"
    config.write_text(f"data: {{root: {tmp_path / 'tree'}, prepared: {tmp_path / 'prepared'}, resolution: 16}}\n")
    first = as_file("a.nii.gz")(scan, tmp_path / "given")
    second = as_dicom(scan, tmp_path / "given")
    third = write_dicom(tmp_path / "other", scan, series="1.2.3")[0].parent
    write_annotations(tmp_path, ("a.nii.gz", *CENTRE, 8.0), (SERIES, *CENTRE, 8.0), ("1.2.3", *CENTRE, 6.0))
    arguments = ["--config", str(config), "--workers", "1", "--nodules", str(tmp_path / "annotations.csv"), "--image"]
    assert command.main([*arguments, str(first)]) == 0
    told = capsys.readouterr()
    assert "1 usable" in told.out and "too few scans to train" in told.err
    assert command.main([*arguments, str(second), str(third), str(tmp_path / "gone")]) == 0
    told = capsys.readouterr()
    assert "3 usable" in told.out and "fold" in told.out and "refused" in told.err and "too few" not in told.err
    places = {path.stem: path.parent.name for path in (tmp_path / "tree").glob("subset*/*.mhd")}
    assert places == {"a": "subset0", SERIES: "subset1", "1.2.3": "subset1"}
    assert command.main(["--config", str(config), "--workers", "1"]) == 0
    assert "prepared earlier" in capsys.readouterr().out
    nodules = read_annotations(tmp_path / "tree" / "annotations.csv")[0]
    assert nodules["1.2.3"] == [Nodule("1.2.3", CENTRE, 6.0)]


def test_nothing_is_replaced_or_mixed_up(tmp_path: Path, scan: sitk.Image, nodules: Path) -> None:
    given = as_file("ct.nii.gz")(scan, tmp_path / "a")
    other = as_file("ct.nii.gz")(scan + 1, tmp_path / "b")
    add_scans(tmp_path / "tree", [given], [nodules], say=quiet)
    with pytest.raises(UserError, match="holds another scan of this name"):
        add_scans(tmp_path / "tree", [other], [nodules], say=quiet)
    who, spaced = (as_file(f"{name}.nii.gz")(scan, tmp_path / "a") for name in ("who", "a b"))
    luna = write_mhd(tmp_path / "luna" / "subset0" / "x.mhd", chest()).parent.parent
    for root, images, rows, series, message in [
        (luna, [given], [nodules], None, "name a new folder"),
        (tmp_path / "tree", [given, other], [given], None, "1 files for 2 images"),
        (tmp_path / "tree", [given, other], [nodules], "1.2", "give one --image"),
        (tmp_path / "tree", [given], [nodules], "1.2", "not a folder of DICOM files"),
        (tmp_path / "tree", [who], [nodules], None, "no nodule has the seriesuid who; it has"),
        (tmp_path / "tree", [spaced], [nodules], None, "use a bare name"),
    ]:
        with pytest.raises(UserError, match=message):
            add_scans(root, images, rows, series, say=quiet)


def test_elements_of_pydicoms_files_end_within_them() -> None:
    """Files of many makers and in every form: of those that are whole, only two odd ones are refused."""
    import pydicom.data

    refused, found = set(), 0
    for path in (Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"):
        if path.read_bytes()[128:132] == b"DICM":
            found += 1
            try:
                dicom._check_lengths(path)
            except ValueError:
                refused.add(path.name)
    odd = {"meta_missing_tsyntax.dcm", "SC_rgb_jpeg.dcm", "image_dfl.dcm"}  # the last one is compressed as a whole
    assert found > 50 and refused == {"rtplan_truncated.dcm", "MR_truncated.dcm", *odd}
