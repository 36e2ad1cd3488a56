"""COCO detection files with boxes from masks: every nodule component is one object.

Segmentation is one polygon along the pixels' edges (outlines.py), boxes are [x, y, width, height] in pixels with
width = xmax - xmin + 1.  Each object also has its diameter_mm, and the side and place that masks/places.py defines
(null where it touches no lung).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.components import SMALLEST_NODULE, Smallest, components
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_json, safe_name
from tsgan_jax.generation.outlines import outline
from tsgan_jax.images import MAX_SIDE
from tsgan_jax.labels import NODULE
from tsgan_jax.masks.places import located

CATEGORY = {"id": 1, "name": "nodule", "supercategory": "lesion"}

SYNTHETIC = SMALLEST_NODULE
"""Generated masks contain specks that are not nodules (A28)."""

REAL = Smallest(pixels=1, diameter_mm=0.0)
"""Real masks are drawn from annotations, so all components count."""


@dataclass(frozen=True)
class CocoImage:
    """One image of a set.

    id: unique in the file.  mask: uint8 class codes [h, w].  pixel_mm: side of a pixel.
    """

    id: int
    file_name: str
    mask: NDArray[np.uint8]
    pixel_mm: float


def objects(picture: CocoImage, smallest: Smallest) -> tuple[list[dict[str, Any]], int]:
    """COCO annotations of one image without ids, and the number of dropped specks."""
    found = list(components(picture.mask == NODULE))
    where = located(picture.mask, picture.pixel_mm)
    kept = [pair for pair in zip(found, where, strict=True) if smallest.admits(pair[0], picture.pixel_mm)]
    annotations = [
        {
            "image_id": picture.id,
            "category_id": CATEGORY["id"],
            "bbox": list(component.box),
            "area": component.pixels,
            "segmentation": [outline(component)],
            "iscrowd": 0,
            "diameter_mm": round(at.diameter_mm, 2),
            "side": at.side,
            "place": at.place,
        }
        for component, at in kept
    ]
    return annotations, len(found) - len(kept)


def dataset(pictures: Iterable[CocoImage], smallest: Smallest, info: dict[str, Any]) -> dict[str, Any]:
    """The COCO file of a set; pictures are consumed one at a time.

    info: provenance; `specks_dropped` is added to it.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    specks = 0
    for picture in pictures:
        height, width = picture.mask.shape
        images.append(
            {
                "id": picture.id,
                "file_name": safe_name(picture.file_name),
                "width": width,
                "height": height,
                "pixel_mm": picture.pixel_mm,
            }
        )
        found, dropped = objects(picture, smallest)
        specks += dropped
        for annotation in found:
            # Ids start at 1: in pycocotools' evaluation an annotation id of 0 means "no match".
            annotations.append({"id": len(annotations) + 1, **annotation})
    info = {**info, "specks_dropped": specks}
    return {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": [CATEGORY]}


def read(path: Path, named: Callable[[object, str], object] = safe_name) -> dict[str, Any]:
    """Read and check a COCO file.

    named: refuses a file name; given the name and its source.  Raises UserError for a file name that is refused (by
    default one that is not bare) or not unique, a duplicate id, an object with an unknown image or
    category, or a box outside its image.
    """
    tree = read_json(path)
    parts = ("images", "annotations", "categories")
    if not isinstance(tree, dict) or any(not _records(tree.get(part)) for part in parts):
        raise UserError(f"{path}: not a COCO file; it needs the lists 'images', 'annotations' and 'categories'")
    images = _by_id(path, "images", tree["images"])
    categories = _by_id(path, "categories", tree["categories"])
    _by_id(path, "annotations", tree["annotations"])
    names: set[str] = set()
    for image in images.values():
        named(image.get("file_name"), f"{path}: file_name")
        name = image["file_name"]
        if name in names:
            raise UserError(f"{path}: two images have the file_name {name!r}")
        names.add(name)
        if not all(isinstance(image.get(side), int) and image[side] > 0 for side in ("width", "height")):
            raise UserError(f"{path}: image {image['id']} has no whole, positive width and height")
    for annotation in tree["annotations"]:
        where = f"{path}: annotation {annotation['id']}"
        image_id, category = annotation.get("image_id"), annotation.get("category_id")
        if not isinstance(image_id, int) or image_id not in images or category not in list(categories):
            raise UserError(f"{where} belongs to an image or a category that the file does not have")
        _check_box(where, annotation.get("bbox"), images[image_id])
    return tree


def _records(part: object) -> bool:
    return isinstance(part, list) and all(isinstance(record, dict) for record in part)


def _by_id(path: Path, part: str, records: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for record in records:
        number = record.get("id")
        if not isinstance(number, int) or number in found:
            raise UserError(f"{path}: {part} has the id {number!r} twice, or it is not a whole number")
        found[number] = record
    return found


def _check_box(where: str, bbox: object, image: dict[str, Any]) -> None:
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or not all(isinstance(v, int | float) and abs(v) <= MAX_SIDE for v in bbox)
    ):
        raise UserError(f"{where} has the bbox {bbox!r}; expected [x, y, width, height]")
    x, y, width, height = (float(v) for v in bbox)
    inside = x >= 0 and y >= 0 and x + width <= image["width"] and y + height <= image["height"]
    if not inside or width <= 0 or height <= 0:
        raise UserError(f"{where} has the bbox {bbox}, outside its {image['width']}x{image['height']} image")
