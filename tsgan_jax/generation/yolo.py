"""Images and labels in YOLO's form: `images/<part>/*.png`, `labels/<part>/*.txt`.

ultralytics' converter of COCO is not used: it follows file names out of its folder and renumbers classes.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsgan_jax.files import write_bytes
from tsgan_jax.generation import coco
from tsgan_jax.generation.labelled import LabelledImage, LabelledSet, split


@dataclass(frozen=True)
class Part:
    """Images, and their files for YOLO."""

    pictures: tuple[LabelledImage, ...]
    files: tuple[Path, ...]


def write_part(folder: Path, name: str, pictures: Sequence[LabelledImage], numbered: bool = True) -> Part:
    """Images and labels of one part ("real", "test", "train") below `folder`.

    The part is always written from scratch; files are linked if the disk allows it.  numbered: files are called
    000001.png and so on, else as in the set.
    """
    images, labels = folder / "images" / name, folder / "labels" / name
    for place in (images, labels):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    files = []
    for number, picture in enumerate(pictures, 1):
        target = images / (f"{number:06d}.png" if numbered else picture.path.name)
        try:
            os.link(picture.path, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(picture.path, target)
        (labels / f"{target.stem}.txt").write_text("".join(_lines(picture)))
        files.append(target)
    return Part(tuple(pictures), tuple(files))


def write(made: LabelledSet, folder: Path) -> None:
    """A tree for `yolo train data=<folder>/data.yaml`: parts train and val; paths are relative to data.yaml."""
    for name, pictures in zip(("train", "val"), split(made.pictures), strict=True):
        write_part(folder, name, pictures, numbered=False)
    data = f"train: images/train\nval: images/val\nnames:\n  0: {coco.CATEGORY['name']}\n"
    write_bytes(folder / "data.yaml", data.encode())


def _lines(picture: LabelledImage) -> Iterator[str]:
    """`class cx cy width height`, as shares of the image."""
    w, h = picture.width, picture.height
    for x, y, width, height in picture.boxes:
        yield f"0 {(x + width / 2) / w:.6f} {(y + height / 2) / h:.6f} {width / w:.6f} {height / h:.6f}\n"
