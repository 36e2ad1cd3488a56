"""Training sets of detectors (Tables 2 and 3), written in YOLO's form.

A dataset is `images/<part>/*.png`, `labels/<part>/*.txt` and lists of images.  ultralytics' converter is
not used: it follows file names out of its folder and renumbers classes.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tsgan_jax.config import DetectionConfig
from tsgan_jax.config.reading import config_hash
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_json, write_bytes, write_json
from tsgan_jax.generation import coco
from tsgan_jax.generation.sets import ANNOTATIONS, IMAGES, MANIFEST, refuse_changed

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

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class DetectionImage:
    """One image and its objects.

    boxes: (x, y, width, height) in pixels; record: its entry in the set's manifest.
    """

    path: Path
    width: int
    height: int
    boxes: tuple[Box, ...]
    record: dict[str, Any]


@dataclass(frozen=True)
class LabelledSet:
    """A finished and checked set directory (generation/sets.py)."""

    directory: Path
    made_from: dict[str, Any]
    pictures: tuple[DetectionImage, ...]

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class DatasetPart:
    """Images, and their files for YOLO."""

    pictures: tuple[DetectionImage, ...]
    files: tuple[Path, ...]


def open_set(directory: Path) -> LabelledSet:
    """Open a finished set.

    Raises UserError for a set that is missing, unfinished or changed, or has a box outside its image.
    """
    if not (directory / MANIFEST).is_file():
        raise UserError(f"{directory}: no set (it has no {MANIFEST}); bin/generate makes one")
    manifest = read_json(directory / MANIFEST)
    if not isinstance(manifest, dict) or not manifest.get("complete"):
        raise UserError(f"{directory}: the set is not finished; run bin/generate again with the same --out")
    refuse_changed(directory, manifest)
    tree = coco.read(directory / ANNOTATIONS)
    records = {record.get("file_name"): record for record in manifest.get("images", []) if record.get("accepted")}
    boxes: dict[int, list[Box]] = {image["id"]: [] for image in tree["images"]}
    for annotation in tree["annotations"]:
        boxes[annotation["image_id"]].append(_box(annotation["bbox"]))
    pictures = []
    for image in sorted(tree["images"], key=lambda image: image["id"]):
        name = image["file_name"]
        if name not in records:
            raise UserError(f"{directory / ANNOTATIONS}: image {name} is not in {MANIFEST}; make the set again")
        found = tuple(boxes[image["id"]])
        pictures.append(
            DetectionImage(directory / IMAGES / name, image["width"], image["height"], found, records[name])
        )
    return LabelledSet(directory, manifest["made_from"], tuple(pictures))


def digest(pictures: Sequence[DetectionImage]) -> str:
    """Hash of the images' hashes in the manifest and of their boxes."""
    return config_hash([[picture.record["sha256"][IMAGES], picture.boxes] for picture in pictures])


def objects(pictures: Sequence[DetectionImage]) -> int:
    """Number of boxes."""
    return sum(len(picture.boxes) for picture in pictures)


def median_object_px(pictures: Sequence[DetectionImage], image_size: int) -> float:
    """Side (root of the area) of the median object in pixels of the detector's input, at most those of the source.

    Upscaling adds no detail, so only downscaling is considered.
    """
    sides = [
        (width * height) ** 0.5 * min(1.0, image_size / max(picture.width, picture.height))
        for picture in pictures
        for _, _, width, height in picture.boxes
    ]
    return median(sides) if sides else 0.0


def write_part(folder: Path, name: str, pictures: Sequence[DetectionImage]) -> DatasetPart:
    """Images and labels of one part ("real", "test", "synthetic") below `folder`.

    The folder is always written from scratch; files are linked if the disk allows it.
    """
    images, labels = folder / "images" / name, folder / "labels" / name
    for place in (images, labels):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    files = []
    for number, picture in enumerate(pictures, 1):
        target = images / f"{number:06d}.png"
        try:
            os.link(picture.path, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(picture.path, target)
        (labels / f"{number:06d}.txt").write_text("".join(_lines(picture)))
        files.append(target)
    return DatasetPart(tuple(pictures), tuple(files))


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


def ground_truth(test: Sequence[DetectionImage]) -> dict[str, Any]:
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


def _box(values: list[float]) -> Box:
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height


def _lines(picture: DetectionImage) -> Iterator[str]:
    """`class cx cy width height`, as shares of the image."""
    w, h = picture.width, picture.height
    for x, y, width, height in picture.boxes:
        yield f"0 {(x + width / 2) / w:.6f} {(y + height / 2) / h:.6f} {width / w:.6f} {height / h:.6f}\n"
