"""What is written in other forms is what the set holds, by the readers of those forms."""

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.pixels import apply_rescale
from ruamel.yaml import YAML

from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256
from tsgan_jax.generation import coco
from tsgan_jax.generation.formats import FORMATS, convert, faults
from tsgan_jax.generation.labelled import LabelledImage, split
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.images import to_uint8
from tsgan_jax.labels import LEFT_LUNG, NODULE, RIGHT_LUNG

WINDOW = (-1000.0, 400.0)
H, W, PIXEL_MM = 40, 48, 0.7
PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"


def labelled(index):
    """A slice in which left, right, front and back differ; slice 3 has no nodule, slice 4 two."""
    rng = np.random.default_rng(index)
    mask = np.ones((H, W), np.uint8)
    mask[5:30, 4:20], mask[5:34, 28:44] = RIGHT_LUNG, LEFT_LUNG
    if index != 3:
        mask[8 : 14 + index % 3, 31:38] = NODULE
        mask[9, 38] = NODULE
    if index == 4:
        mask[20:26, 7:15] = NODULE
    hu = rng.integers(-1024, 1200, (H, W)).astype(np.int16)
    return SetImage(to_uint8(hu, WINDOW), hu, mask, PIXEL_MM)


def make(out, count, kind="synthetic"):
    source = {"kind": kind, "window": WINDOW, "seed": 1}
    with SetDirectory(out, source, {"numpy": np.__version__}, coco.SYNTHETIC) as made:
        for index in range(count):
            if index not in made.records:
                made.add(index, f"{index:06d}", labelled(index))
        made.finish()
    return out


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A set of 12 slices in all formats; not to be changed."""
    out = make(tmp_path_factory.mktemp("sets") / "set", 12)
    assert convert(out, FORMATS) == sorted(FORMATS)
    return out


@pytest.fixture
def small(tmp_path):
    return make(tmp_path / "set", 2)


def test_nifti_by_nibabel_and_itk(complete):
    for index in range(12):
        one, folder = labelled(index), complete / "nifti"
        for name, expected in ((f"imagesTr/{index:06d}_0000", one.hu), (f"labelsTr/{index:06d}", one.mask)):
            volume = nibabel.load(folder / f"{name}.nii.gz")
            assert volume.get_data_dtype() == expected.dtype and volume.shape == (W, H, 1)
            assert np.array_equal(np.asarray(volume.dataobj)[:, :, 0].T, expected)
            np.testing.assert_allclose(volume.header.get_zooms(), (PIXEL_MM, PIXEL_MM, 1), rtol=1e-6)
            assert nibabel.aff2axcodes(volume.affine) == ("L", "P", "S")  # the image's right is the patient's left
            assert volume.header.get_xyzt_units()[0] == "mm"
            image = sitk.ReadImage(str(folder / f"{name}.nii.gz"))
            assert np.array_equal(sitk.GetArrayFromImage(image)[0], expected)
            assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    about = json.loads((complete / "nifti" / "dataset.json").read_text())
    assert about["labels"]["nodule"] == 5 and about["numTraining"] == 12 and about["channel_names"] == {"0": "CT"}


def test_dicom_by_pydicom_and_itk(complete):
    slices = [pydicom.dcmread(complete / "dicom" / f"{index:06d}.dcm") for index in range(12)]
    for index, one in enumerate(slices):
        hu = labelled(index).hu
        assert np.array_equal(apply_rescale(one.pixel_array, one), hu)
        assert one.SyntheticData == "YES" and one.ConversionType == "SYN" and one.PatientName == "SYNTHETIC^CT"
        assert "SYNTHETIC, NOT FOR DIAGNOSIS" in one.SeriesDescription
        assert one.SOPClassUID.name == "Secondary Capture Image Storage" and one.RescaleType == "HU"
        assert one.PixelSpacing == [PIXEL_MM, PIXEL_MM] and one.PatientOrientation == ["L", "P"]
        assert (one.WindowCenter, one.WindowWidth) == (-300, 1400)
        assert all(getattr(one, name).is_valid for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"))
        image = sitk.ReadImage(str(complete / "dicom" / f"{index:06d}.dcm"))
        assert np.array_equal(sitk.GetArrayFromImage(image)[0], hu)
        np.testing.assert_allclose(image.GetSpacing()[:2], (PIXEL_MM, PIXEL_MM))
    assert len({one.SOPInstanceUID for one in slices}) == 12 and len({one.SeriesInstanceUID for one in slices}) == 1


def test_a_written_dicom_is_what_pydicom_would_write(complete, tmp_path, monkeypatch):
    """Every value is valid for its kind, and writing the file again gives the same bytes."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    path = complete / "dicom" / "000000.dcm"
    one = pydicom.dcmread(path)
    assert len(list(one)) > 40  # each is read now
    one.save_as(tmp_path / "again.dcm", enforce_file_format=True)
    assert pydicom.dcmread(tmp_path / "again.dcm") == one
    assert (tmp_path / "again.dcm").read_bytes() == path.read_bytes()


def test_monais_list_has_the_boxes_of_the_masks(complete):
    listed = json.loads((complete / "monai" / "dataset.json").read_text())
    items = listed["training"] + listed["validation"]
    assert len(items) == 11 and len(listed["validation"]) == 1  # without slice 3
    for item in items:
        image = (complete / "monai" / item["image"]).resolve()
        assert image.parent == (complete / "images").resolve()
        mask = np.asarray(Image.open(complete / "masks" / image.name)).T  # as MONAI reads a PNG: [x, y]
        inside = np.zeros_like(mask, bool)
        for x0, y0, x1, y1 in np.array(item["box"], int):
            inside[x0:x1, y0:y1] = True
            assert (mask[x0:x1, y0:y1] == NODULE).any(axis=1).all()  # tight
        assert inside[mask == NODULE].all() and item["label"] == [0] * len(item["box"])


def test_yolos_tree_has_every_image_once_with_its_boxes(complete):
    data = YAML(typ="safe").load(complete / "yolo" / "data.yaml")
    assert data == {"train": "images/train", "val": "images/val", "names": {0: "nodule"}}
    files = {part: sorted((complete / "yolo" / data[part]).iterdir()) for part in ("train", "val")}
    assert [len(files[part]) for part in ("train", "val")] == [11, 1]
    tree = coco.read(complete / "annotations.json")
    for image in tree["images"]:
        (path,) = (p for part in files.values() for p in part if p.name == image["file_name"])
        assert path.read_bytes() == (complete / "images" / path.name).read_bytes()
        label = Path(str(path).replace("/images/", "/labels/")).with_suffix(".txt")
        rows = [[float(v) for v in line.split()] for line in label.read_text().splitlines()]
        boxes = [a["bbox"] for a in tree["annotations"] if a["image_id"] == image["id"]]
        expected = [[0, (x + w / 2) / W, (y + h / 2) / H, w / W, h / H] for x, y, w, h in boxes]
        np.testing.assert_allclose(np.array(rows).reshape(-1, 5), np.array(expected).reshape(-1, 5), atol=1e-6)


def scan_of(kind, index):
    return {"seriesuid": f"1.{index}"} if kind == "real" else {"mask_of": {"seriesuid": f"1.{index}"}}


@pytest.mark.parametrize("kind", ["real", "masks of real slices"])
@pytest.mark.parametrize(("count", "held"), [(1, [0]), (2, [0, 1]), (6, [4, 5]), (24, [18, 19]), (0, [])])
def test_slices_of_a_scan_are_in_one_part(kind, count, held):
    records = [{"index": index, **scan_of(kind, index // 2)} for index in range(count)]
    train, val = split([LabelledImage(Path("a.png"), 8, 8, (), record) for record in records])
    train, val = ([picture.record["index"] for picture in part] for part in (train, val))
    assert val == held and (count < 3 or not {*train} & {*val}) and {*train, *val} == {*range(count)}


def test_real_slices_are_not_written_as_dicom(tmp_path):
    with pytest.raises(UserError, match="its slices are real"):
        convert(make(tmp_path / "real", 2, "real"), ["dicom"])
    assert not list((tmp_path / "real").glob("*dicom*/*.dcm"))


def test_formats_are_recorded_and_their_faults_found(small):
    convert(small, ["yolo", "nifti"])
    manifest = read_manifest(small)
    assert {name: record["files"] for name, record in manifest["formats"].items()} == {"nifti": 5, "yolo": 5}
    assert faults(small, manifest) == {}
    (small / "yolo" / "labels" / "train.cache").write_bytes(b"of a training")
    assert faults(small, manifest) == {}
    (small / "yolo" / "labels" / "train" / "000000.txt").write_text("")
    assert faults(small, manifest).keys() == {"yolo"}
    convert(small, ["yolo"])
    assert faults(small, read_manifest(small)) == {}


def test_the_same_set_gives_the_same_bytes_and_an_extended_one_has_its_formats_made_again(small, tmp_path):
    convert(small, FORMATS)
    before = {path: file_sha256(path) for path in small.rglob("*") if path.is_file()}
    assert convert(small, []) == []
    convert(small, FORMATS)
    assert {path: file_sha256(path) for path in small.rglob("*") if path.is_file()} == before
    make(small, 4)
    assert faults(small, read_manifest(small)).keys() == FORMATS.keys()
    assert convert(small, []) == sorted(FORMATS)
    assert len(list((small / "dicom").iterdir())) == 4 and faults(small, read_manifest(small)) == {}
    page = (small / "index.html").read_text()
    assert all(f'href="{name}/"' in page for name in FORMATS)


def test_what_is_no_finished_set_or_not_ours_is_left_alone(small, tmp_path):
    with pytest.raises(UserError, match="not a set"):
        convert(tmp_path / "nothing", ["yolo"])
    assert not (tmp_path / "nothing").exists()
    (small / "yolo").mkdir()
    (small / "yolo" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not of this set"):
        convert(small, ["yolo"])
    assert (small / "yolo" / "mine.txt").read_text() == "mine"
    (small / "masks" / "000000.png").unlink()
    with pytest.raises(UserError, match=r"masks/000000\.png missing"):
        convert(small, ["nifti"])


def test_what_a_kill_left_of_a_format_is_cleared(small):
    shutil.copytree(small / "images", small / ".part-yolo")
    convert(small, ["yolo"])
    assert not list(small.glob(".part-*"))
    shutil.copytree(small / "images", small / ".part-yolo")
    make(small, 3)
    assert not list(small.glob(".part-*"))


def snippets():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("code", snippets(), ids=lambda code: code.split()[1])
def test_the_pages_lines_read_the_set(complete, code):
    names = {"SET": str(complete)}
    exec(compile(code, str(PAGE), "exec"), names)
    one = labelled(0)
    known = {"image": one.shown, "hu": one.hu, "mask": one.mask}
    checked = [name for name, value in known.items() if isinstance(names.get(name), np.ndarray)]
    for name in checked:
        np.testing.assert_array_equal(names[name], known[name])
    if "spacing" in names:
        np.testing.assert_allclose([float(v) for v in names["spacing"]][:2], PIXEL_MM, rtol=1e-6)
    if "inside" in names:
        np.testing.assert_array_equal(sum(names["inside"]), one.mask == NODULE)
    if "kept" in names:
        assert names["seed"] == 1 and len(names["kept"]) == 12
    if "boxes" in names:
        assert names["boxes"] == [[31, 8, 39, 14]] and names["image"] == "../images/000000.png"
    assert checked or {"inside", "kept", "boxes"} & names.keys()
