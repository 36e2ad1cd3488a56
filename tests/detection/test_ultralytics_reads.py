"""ultralytics takes a set as it is: its converter the folder, its training the format yolo."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.generation.test_formats import make
from tsgan_jax.detection import worker
from tsgan_jax.generation.coco import read
from tsgan_jax.generation.formats import convert

SCRIPT = """
import sys
from pathlib import Path

made, work, home = map(Path, sys.argv[1:])
sys.path.insert(0, str(home))
import worker
worker.prepare(work / "settings")
from ultralytics import YOLO
from ultralytics.data.converter import convert_coco

convert_coco(labels_dir=str(made), save_dir=str(work / "boxes"), cls91to80=False)
convert_coco(labels_dir=str(made), save_dir=str(work / "polygons"), cls91to80=False, use_segments=True)
quiet = dict(device="cpu", workers=0, plots=False, verbose=False, project=str(work), name="trained")
YOLO("yolov8n.yaml").train(data=str(made / "yolo" / "data.yaml"), epochs=1, imgsz=64, batch=4, **quiet)
"""


def rows(folder):
    """File stem to its sorted rows of numbers."""
    found = {}
    for path in Path(folder).rglob("*.txt"):
        lines = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
        found[path.stem] = sorted(lines)
    return found


@pytest.mark.slow
def test_its_converter_and_its_training_take_a_set(tmp_path, detector_python):
    made = make(tmp_path / "set", 12)
    convert(made, ["yolo"])
    home = Path(worker.__file__).parent
    subprocess.run([detector_python, "-P", "-c", SCRIPT, made, tmp_path, home], cwd=tmp_path, check=True, timeout=600)
    assert (tmp_path / "trained" / "weights" / "last.pt").is_file()
    ours = {name: lines for name, lines in rows(made / "yolo" / "labels").items() if lines}
    boxes, polygons = rows(tmp_path / "boxes"), rows(tmp_path / "polygons")
    assert boxes.keys() == polygons.keys() == ours.keys() and len(ours) == 11  # the converter skips empty images
    for name, lines in ours.items():
        np.testing.assert_allclose(boxes[name], lines, atol=1e-6)
    tree = read(made / "annotations.json")
    (first,) = tree["annotations"][0]["segmentation"]
    scaled = np.array(first).reshape(-1, 2) / (tree["images"][0]["width"], tree["images"][0]["height"])
    np.testing.assert_allclose(polygons["000000"][0], [0, *scaled.ravel()], atol=1e-6)
