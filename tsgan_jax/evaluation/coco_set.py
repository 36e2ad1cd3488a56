"""A COCO set made elsewhere, judged against prepared real slices by what images and boxes allow.

These are feature distances of full slices and of squares around nodules (Eq. 11), number and size of nodules by their
boxes, and copies of training CT (T25).  The rest needs masks (WITHOUT_MASKS).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from tsgan_jax.components import components
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import copies, networks
from tsgan_jax.evaluation.distances import measure_distances
from tsgan_jax.evaluation.evaluate import carry_out
from tsgan_jax.evaluation.features import gather
from tsgan_jax.evaluation.mask_statistics import compare_values
from tsgan_jax.evaluation.records import Kind, MakeRecord, Record
from tsgan_jax.evaluation.regions import Region, owners, square_around
from tsgan_jax.evaluation.subject import Subject
from tsgan_jax.files import is_path
from tsgan_jax.generation import coco
from tsgan_jax.images import Window, read_shown, to_hu
from tsgan_jax.labels import NODULE

WITHOUT_MASKS = (
    "not to be had without masks: distances of the lungs, the masks' anatomy and variety, CT against mask, copies of "
    "masks, and PSNR and SSIM, which need the CT that a system makes from real test masks"
)
PROPERTIES = {"nodules": "per slice", "nodule side": "pixels"}
"""Properties by boxes and their units; a nodule's side is the root of its box's area."""
REGIONS: tuple[Region, ...] = ("full", "nodules")
NAMED = 12  # nearest pairs in a record

Boxes = NDArray[np.float64]
"""x, y, width and height in pixels, [n, 4]."""


class CocoSet:
    """The images of a COCO file, at most `count` of them, and their nodules' boxes.

    images: the folder that file names start from.  side: of the real slices, in pixels; window: of 8-bit images.
    Raises UserError for files that are missing, unreadable, of another size or outside the folder, and for
    categories of which none is plainly the nodule.
    """

    def __init__(self, images: Path, annotations: Path, side: int, window: Window, count: int | None = None) -> None:
        self._window = window
        tree = coco.read(annotations, partial(_inside, images))
        with redirect_stdout(StringIO()):  # pycocotools prints its progress
            found = COCO()
            found.dataset = tree
            found.createIndex()
        category = _category(annotations, tree["categories"])
        chosen = found.loadImgs(sorted(found.getImgIds()))[:count]
        if not chosen:
            raise UserError(f"{annotations}: has no image")
        self.names = [str(one["file_name"]) for one in chosen]
        self.paths = [images / name for name in self.names]
        self.boxes: list[Boxes] = []
        for one in chosen:
            anns = found.loadAnns(found.getAnnIds(imgIds=[one["id"]], catIds=[category]))
            self.boxes.append(np.array([ann["bbox"] for ann in anns], float).reshape(-1, 4))
        digest = hashlib.sha256()
        for path, one, shown in zip(self.paths, chosen, self.shown(), strict=True):
            _check_size(path, shown.shape, (one["height"], one["width"]), side)
            digest.update(shown.tobytes())
        self.sha256 = digest.hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.paths)

    def shown(self) -> Iterator[NDArray[np.uint8]]:
        """8-bit CT in the window, [side, side], of each image."""
        for path in self.paths:
            yield read_shown(path, self._window)

    def region(self, region: Region) -> Iterator[NDArray[np.uint8]]:
        """The full slices, or a square around each nodule."""
        for image, boxes in zip(self.shown(), self.boxes, strict=True):
            if region == "full":
                yield image
                continue
            for x, y, width, height in boxes:
                window = slice(floor(y), ceil(y + height)), slice(floor(x), ceil(x + width))
                yield image[square_around(window, image.shape)]


def judge(subject: Subject, made: CocoSet, name: str) -> list[Record]:
    """Records of a set, appended to the records in the subject's folder.

    subject: has the real slices and the settings.  name: of the set, the records' method.
    """
    made_from = {"set": made.sha256, **subject.real_hashes}
    records = []
    for kind, title, step in STEPS:
        record = partial(Record, kind, name, fold=subject.fold)
        if kind != "distance":  # its records say themselves what they are made from
            record = partial(record, made_from=made_from)
        records += carry_out(subject.folder, title, record, partial(step, subject, made, record), subject.say)
    subject.say(WITHOUT_MASKS)
    return records


def _distances(subject: Subject, made: CocoSet, record: MakeRecord) -> list[Record]:
    names, settings, records = networks.wanted_names(subject.config.evaluation), subject.config.evaluation, []
    for region in REGIONS:
        make = partial(record, subject=region)
        try:
            network = subject.network
            names = network.names
            generated = gather(network, made.region(region))
            real, other = (subject.features(one, region) for one in ("test", "training"))
            scans = owners(subject.pairs("test"), region, subject.test.seriesuid)
            records += measure_distances(make, network, real, generated, other, scans, settings)
        except UserError as error:
            records += [make(metric=one, value=None, n=0, reason=str(error)) for one in names]
    return records


def _nodules(subject: Subject, made: CocoSet, record: MakeRecord) -> list[Record]:
    """Wasserstein distances of number and size of nodules; boxes of real slices are those of their masks."""
    held, known = (_boxes_of(side.mask) for side in (subject.test, subject.training))
    times = subject.config.evaluation.bootstrap
    measures = {"nodules": lambda boxes: np.array([len(boxes)], float), "nodule side": _sides}
    found = []
    for name, unit in PROPERTIES.items():
        ours, real, others = ([measures[name](boxes) for boxes in side] for side in (made.boxes, held, known))
        make, details = partial(record, name), {"unit": unit}
        found.append(compare_values(make, ours, real, others, subject.test.seriesuid, times, details))
    return found


def _copies(subject: Subject, made: CocoSet, record: MakeRecord) -> list[Record]:
    """As CT only.  details["nearest"]: the nearest pairs, as file, scan, slice of the scan, and distance."""
    audit = copies.audit_of_ct(subject.training, subject.test, subject.window)
    for name, shown in zip(made.names, made.shown(), strict=True):
        audit.look_up(name, to_hu(shown / np.float32(127.5) - 1, subject.window))
    share, distance = copies.records(record, [audit], subject.config.evaluation.bootstrap)
    training = subject.training
    share.details["nearest"] = [
        [name, training.seriesuid[match.index], int(training.slice_index[match.index]), match.distance]
        for name, match in audit.pairs[:NAMED]
    ]
    for name, scan, number, far in share.details["nearest"][: audit.flagged]:
        subject.say(f"copies: {name} is like slice {number} of {scan} (distance {far:.3g})")
    return [share, distance]


def _boxes_of(masks: NDArray[np.uint8]) -> list[Boxes]:
    return [np.array([one.box for one in components(mask == NODULE)], float).reshape(-1, 4) for mask in masks]


def _sides(boxes: Boxes) -> NDArray[np.float64]:
    return np.sqrt(boxes[:, 2] * boxes[:, 3])


def _inside(folder: Path, name: object, source: str) -> None:
    """Raise UserError unless a file name stays within the folder and is there, links followed."""
    if not isinstance(name, str) or not name:
        raise UserError(f"{source}: {name!r:.200} is not a file name")
    path = folder / name
    if not is_path(name) or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{source}: {name!r:.200} is refused: it leads out of {folder} or is no path; use names below it"
        )
    if not path.is_file():
        raise UserError(f"{source}: {path} does not exist; --images is the folder that file names start from")


def _category(source: Path, categories: Sequence[dict[str, Any]]) -> int:
    """The number of the nodules' category: the only one, or the one of that name."""
    names = [str(one.get("name")) for one in categories]
    found = [one["id"] for one, name in zip(categories, names, strict=True) if name.lower() in ("nodule", "nodules")]
    if len(found) == 1 or len(categories) == 1:
        return int((found or [categories[0]["id"]])[0])
    raise UserError(f"{source}: its categories are {', '.join(names) or 'none'}; call the nodules' one 'nodule'")


def _check_size(path: Path, shape: tuple[int, ...], told: tuple[int, int], side: int) -> None:
    height, width = shape
    if (height, width) != told:
        raise UserError(f"{path}: has {width}x{height} pixels, its annotations say {told[1]}x{told[0]}; correct them")
    if (height, width) != (side, side):
        raise UserError(
            f"{path}: has {width}x{height} pixels, the real slices have {side}x{side}; scale images and boxes to that, "
            f"or give --config with data.resolution={max(height, width)}, if real slices can have it"
        )


Step = tuple[Kind, str, Callable[[Subject, CocoSet, MakeRecord], list[Record]]]
STEPS: tuple[Step, ...] = (
    ("distance", "feature distances", _distances),
    ("boxes", "nodules by their boxes", _nodules),
    ("copies", "copies", _copies),
)
