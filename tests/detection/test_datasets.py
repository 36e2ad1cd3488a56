"""Sets to YOLO's folders: boxes as shares, nothing left over, and faults of a set named."""

from pathlib import Path

import numpy as np
import pytest

from tests.detection import comparison_case
from tsgan_jax.config import DetectionConfig
from tsgan_jax.detection import datasets
from tsgan_jax.detection.datasets import shown, training_sets
from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256, read_json, write_json
from tsgan_jax.generation.labelled import LabelledImage, open_set
from tsgan_jax.generation.manifest import read_manifest, write_manifest
from tsgan_jax.generation.yolo import write_part


@pytest.fixture
def made(case, tmp_path):
    return comparison_case.write_set(tmp_path / "set", case.others, case.config, 3)


def test_labels_say_the_boxes(made, tmp_path):
    opened = open_set(made)
    part = write_part(tmp_path / "yolo", "real", opened.pictures)
    assert len(opened) == 3 and datasets.objects(opened.pictures) >= 1
    for picture, file in zip(part.pictures, part.files, strict=True):
        assert file.read_bytes() == picture.path.read_bytes()
        label = Path(str(file).replace("/images/", "/labels/")).with_suffix(".txt")
        rows = [list(map(float, line.split())) for line in label.read_text().splitlines()]
        expected = [[0, (x + w / 2) / 32, (y + h / 2) / 32, w / 32, h / 32] for x, y, w, h in picture.boxes]
        np.testing.assert_allclose(np.array(rows).reshape(-1, 5), np.array(expected).reshape(-1, 5), atol=1e-6)


def test_writing_again_leaves_nothing_of_before(made, tmp_path):
    pictures = open_set(made).pictures
    write_part(tmp_path / "yolo", "real", pictures)
    write_part(tmp_path / "yolo", "real", pictures[:1])
    assert len(list((tmp_path / "yolo").rglob("*.png"))) == len(list((tmp_path / "yolo").rglob("*.txt"))) == 1


def test_digest_changes_with_images_and_boxes_only(made):
    pictures = open_set(made).pictures
    assert datasets.digest(pictures) == datasets.digest(open_set(made).pictures)
    assert datasets.digest(pictures[:2]) != datasets.digest(pictures)


def test_a_box_outside_its_image_is_refused(made):
    path = made / "annotations.json"
    tree = read_json(path)
    tree["annotations"][0]["bbox"] = [30, 0, 5, 5]
    write_json(path, tree)
    write_manifest(made, {**read_manifest(made), "annotations_sha256": file_sha256(path)})
    with pytest.raises(UserError, match=r"annotation 1 has the bbox \[30, 0, 5, 5\], outside its 32x32 image"):
        open_set(made)


def test_a_set_that_is_missing_unfinished_or_lacks_an_image_is_refused(made, tmp_path):
    with pytest.raises(UserError, match="not a set"):
        open_set(tmp_path / "nothing")
    (made / "images" / "000001.png").unlink()
    with pytest.raises(UserError, match=r"images/000001\.png missing"):
        open_set(made)
    write_manifest(made, {**read_manifest(made), "complete": False})
    with pytest.raises(UserError, match="not finished"):
        open_set(made)


def test_object_size_counts_what_the_source_resolved():
    """Scaled up, a nodule of 3 px stays one of 3 px; scaled down, it is less."""
    picture = LabelledImage(Path("a.png"), 128, 128, ((0, 0, 3, 3), (9, 9, 2, 8)), {})
    assert datasets.median_object_px([picture], 512) == 3.5
    assert datasets.median_object_px([picture], 64) == 1.75
    assert datasets.median_object_px([], 64) == 0.0


def test_schedule_begins_with_real_and_ends_with_the_controls():
    names = [one.name for one in training_sets(DetectionConfig())]
    assert names[:3] == ["real", "real+500", "real+1000"] and names[-2:] == ["real, augmented", "real, repeated"]
    assert [one.name for one in training_sets(DetectionConfig(schedule=(40,), controls=()))] == ["real", "real+40"]
    assert training_sets(DetectionConfig())[-1].repeated == 2500


def test_yolov5_is_shown_as_what_it_is():
    assert [shown(model) for model in ("yolov8n", "yolov5s")] == ["YOLOv8n", "YOLOv5su"]
