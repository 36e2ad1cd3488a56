"""A finished set as images with boxes, for whoever writes it in another form or trains on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsgan_jax.errors import UserError
from tsgan_jax.generation import coco
from tsgan_jax.generation.manifest import ANNOTATIONS, IMAGES, manifest_path, read_manifest, refuse_changed

Box = tuple[float, float, float, float]

VALIDATION = 10
"""Every so many scans or synthetic images, one is for validation."""


@dataclass(frozen=True)
class LabelledImage:
    """One image and its objects.

    path: its file in images/; boxes: (x, y, width, height) in pixels; record: its entry in the set's manifest.
    """

    path: Path
    width: int
    height: int
    boxes: tuple[Box, ...]
    record: dict[str, Any]

    def file(self, folder: str) -> Path:
        """Its file in another folder of the set."""
        return self.path.parent.parent / folder / self.path.name


@dataclass(frozen=True)
class LabelledSet:
    """A finished and checked set directory (manifest.py)."""

    directory: Path
    manifest: dict[str, Any]
    pictures: tuple[LabelledImage, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def made_from(self) -> dict[str, Any]:
        """Provenance."""
        made: dict[str, Any] = self.manifest["made_from"]
        return made


def open_set(directory: Path) -> LabelledSet:
    """Open a finished set.

    Raises UserError for a set that is missing, unfinished or changed, or has a box outside its image.
    """
    manifest = read_manifest(directory)
    if not manifest.get("complete"):
        raise UserError(f"{directory}: the set is not finished; run bin/generate again with the same --out")
    refuse_changed(directory, manifest)
    tree = coco.read(directory / ANNOTATIONS)
    records = {record.get("file_name"): record for record in manifest["images"] if record.get("accepted")}
    boxes: dict[int, list[Box]] = {image["id"]: [] for image in tree["images"]}
    for annotation in tree["annotations"]:
        x, y, width, height = (float(value) for value in annotation["bbox"])
        boxes[annotation["image_id"]].append((x, y, width, height))
    pictures = []
    for image in sorted(tree["images"], key=lambda image: image["id"]):
        name = image["file_name"]
        if name not in records:
            where = manifest_path(directory)
            raise UserError(f"{directory / ANNOTATIONS}: image {name} is not in {where}; make the set again")
        found = tuple(boxes[image["id"]])
        pictures.append(LabelledImage(directory / IMAGES / name, image["width"], image["height"], found, records[name]))
    return LabelledSet(directory, manifest, tuple(pictures))


def split(pictures: Sequence[LabelledImage]) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Images to train on, and every tenth to validate with; slices of one scan, or with its masks, stay together.

    With fewer than ten scans the last one is for validation; a single one is in both parts.
    """
    scans = [_scan(picture.record) for picture in pictures]
    order = list(dict.fromkeys(scans))
    held = set(order[VALIDATION - 1 :: VALIDATION] or order[-1:])
    train = [picture for picture, scan in zip(pictures, scans, strict=True) if scan not in held or len(order) == 1]
    return train, [picture for picture, scan in zip(pictures, scans, strict=True) if scan in held]


def _scan(record: dict[str, Any]) -> Any:
    return record.get("seriesuid") or record.get("mask_of", {}).get("seriesuid") or record["index"]
