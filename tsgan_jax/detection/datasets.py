"""Training sets of detectors (Tables 2 and 3): parts in YOLO's form (generation/yolo.py), and lists of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tsgan_jax.config import DetectionConfig
from tsgan_jax.config.reading import config_hash
from tsgan_jax.files import write_bytes, write_json
from tsgan_jax.generation import coco
from tsgan_jax.generation.labelled import LabelledImage
from tsgan_jax.generation.manifest import IMAGES

REAL = "real"
AUGMENTED = "real, augmented"
REPEATED = "real, repeated"

ANCHOR_FREE = "YOLOv5u is ultralytics' anchor-free YOLOv5, not the anchor-based one of 2020"


@dataclass(frozen=True)
class TrainingSet:
    """All real training images of a fold, with additions or augmentation.

    synthetic: synthetic images added.  repeated: real images used again, so that an epoch is as long as with that
    many synthetic ones.  augmented: random flips, shifts, scales, brightness and mosaics; without it images are not
    changed, so that only the set differs.
    """

    name: str
    synthetic: int = 0
    repeated: int = 0
    augmented: bool = False


def training_sets(config: DetectionConfig) -> tuple[TrainingSet, ...]:
    """`real` first, because the others are compared with it; then the schedule, then the controls."""
    sets = [TrainingSet(REAL), *(TrainingSet(f"real+{count}", synthetic=count) for count in config.schedule if count)]
    if "augmented" in config.controls:
        sets.append(TrainingSet(AUGMENTED, augmented=True))
    if "repeated" in config.controls and config.schedule[-1]:
        sets.append(TrainingSet(REPEATED, repeated=config.schedule[-1]))
    return tuple(sets)


def shown(model: str) -> str:
    """A detector's display name: yolov8n is YOLOv8n, yolov5n is YOLOv5nu (A44)."""
    name = model.replace("yolo", "YOLO")
    return f"{name}u" if model.startswith("yolov5") else name


SMALLEST_PX = 4.0
"""Minimum side of the median object for useful figures.  YOLO's finest grid has cells of 8 pixels.  On LUNA16's slices
YOLOv8n reached an mAP50 of one third with objects of 6 px, and chance level with objects of 2 to 3 px (FACTS 13)."""


def digest(pictures: Sequence[LabelledImage]) -> str:
    """Hash of the images' hashes in the manifest and of their boxes."""
    return config_hash([[picture.record["sha256"][IMAGES], picture.boxes] for picture in pictures])


def objects(pictures: Sequence[LabelledImage]) -> int:
    """Number of boxes."""
    return sum(len(picture.boxes) for picture in pictures)


def median_object_px(pictures: Sequence[LabelledImage], image_size: int) -> float:
    """Side (root of the area) of the median object in pixels of the detector's input, at most those of the source.

    Upscaling adds no detail, so only downscaling is considered.
    """
    sides = [
        (width * height) ** 0.5 * min(1.0, image_size / max(picture.width, picture.height))
        for picture in pictures
        for _, _, width, height in picture.boxes
    ]
    return median(sides) if sides else 0.0


def write_lists(folder: Path, name: str, train: Sequence[Path], test: Sequence[Path]) -> Path:
    """The YAML file of one training, with its lists of images; a list may repeat an image."""
    for role, paths in (("train", train), ("test", test)):
        write_bytes(folder / f"{name}.{role}.txt", "".join(f"{path.resolve()}\n" for path in paths).encode())
    data = folder / f"{name}.yaml"
    described = {
        "path": str(folder.resolve()),
        "train": f"{name}.train.txt",
        "val": f"{name}.test.txt",
        "names": {"0": coco.CATEGORY["name"]},
    }
    write_json(data, described)  # JSON is YAML
    return data


def ground_truth(test: Sequence[LabelledImage]) -> dict[str, Any]:
    """COCO tree of the test images, with the numbers of `write_part`'s file names."""
    boxes = [(number, box) for number, picture in enumerate(test, 1) for box in picture.boxes]
    category = coco.CATEGORY["id"]
    return {
        "info": {},
        "images": [{"id": n, "width": p.width, "height": p.height} for n, p in enumerate(test, 1)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": category, "bbox": list(b), "area": b[2] * b[3], "iscrowd": 0}
            for n, (i, b) in enumerate(boxes, 1)
        ],
        "categories": [coco.CATEGORY],
    }
