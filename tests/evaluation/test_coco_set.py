"""A COCO set made elsewhere: read with pycocotools, kept within its folder, compared by images and boxes."""

import json
from functools import partial

import numpy as np
import pytest
from chests import PIXEL_MM, chests
from networks_of_numpy import means_network
from scipy.stats import wasserstein_distance
from trained_run import config_at

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.coco_set import WITHOUT_MASKS, CocoSet, judge
from tsgan_jax.evaluation.features import gather
from tsgan_jax.evaluation.records import read
from tsgan_jax.evaluation.regions import View
from tsgan_jax.evaluation.subject import Subject
from tsgan_jax.generation import coco
from tsgan_jax.images import read_png, to_uint8, write_hu, write_png

WINDOW = (-1000.0, 400.0)
TRAINING, TEST, MADE = chests(range(12)), chests(range(20, 28)), chests([*range(40, 46), 0])
"""The last slice made is one of training."""
NAMES = [f"part/{number} b.png" for number in range(len(MADE))]


@pytest.fixture
def files(tmp_path):
    """Images in 8 bits, in a folder below the one that names start from, and their annotations."""
    pictures = [coco.CocoImage(k, f"{k}.png", mask, PIXEL_MM) for k, mask in enumerate(MADE.mask)]
    tree = coco.dataset(pictures, coco.REAL, {})
    for image, name in zip(tree["images"], NAMES, strict=True):
        image["file_name"] = name
    (tmp_path / "images/part").mkdir(parents=True)
    for name, hu in zip(NAMES, MADE.ct, strict=True):
        write_png(tmp_path / "images" / name, to_uint8(hu, WINDOW))
    (tmp_path / "coco.json").write_text(json.dumps(tree))
    return tmp_path


def opened(files, **more) -> CocoSet:
    return CocoSet(files / "images", files / "coco.json", **{"side": 64, "window": WINDOW, **more})


def changed(files, change) -> None:
    tree = json.loads((files / "coco.json").read_text())
    change(tree)
    (files / "coco.json").write_text(json.dumps(tree))


def pairs(slices):
    return ((to_uint8(hu, WINDOW), mask) for hu, mask in zip(slices.ct, slices.mask, strict=True))


def test_squares_by_boxes_are_those_by_masks_and_16_bits_are_read(files):
    made = opened(files)
    for region in ("full", "nodules"):
        by_masks = gather(means_network(), View(partial(pairs, MADE), region))
        assert gather(means_network(), made.region(region)).images_sha256 == by_masks.images_sha256
    for name, hu in zip(NAMES, MADE.ct, strict=True):
        write_hu(files / "images" / name, hu)
    assert all(np.array_equal(a, b) for a, b in zip(opened(files).shown(), made.shown(), strict=True))
    assert len(opened(files, count=3)) == 3


def test_figures_by_images_and_boxes_and_what_is_missing_is_told(files):
    config, said = config_at(files / "config"), []
    subject = Subject(files / "out", config, say=said.append)
    subject.test, subject.training, subject.network = TEST, TRAINING, means_network()
    records = judge(subject, opened(files), "others")
    assert records == read(files / "out/evaluation/records.jsonl")
    found = {(r.kind, r.subject, r.metric): r for r in records}
    assert all(r.value is not None and r.method == "others" for r in records)
    assert {subject for kind, subject, _ in found if kind == "distance"} == {"full", "nodules"}
    sides = [
        [np.sqrt(box[2] * box[3]) for boxes in side for box in boxes]
        for side in (opened(files).boxes, [[c.box for c in coco.components(m == coco.NODULE)] for m in TEST.mask])
    ]
    assert found["boxes", "nodule side", "Wasserstein distance"].value == pytest.approx(wasserstein_distance(*sides))
    assert found["boxes", "nodules", "Wasserstein distance"].n == len(MADE)
    copied = found["copies", "ct", "share of copies"]
    assert copied.details["flagged"] == 1 and copied.n == len(MADE)
    assert copied.details["nearest"][0][:3] == [NAMES[-1], "scan0000", 0]
    assert any(f"{NAMES[-1]} is like slice 0 of scan0000" in line for line in said) and said[-1] == WITHOUT_MASKS


def test_of_several_categories_only_nodules_count(files):
    def with_lungs(tree):
        tree["categories"].append({"id": 9, "name": "lung"})
        tree["annotations"].append({"id": 999, "image_id": 0, "category_id": 9, "bbox": [0, 0, 30, 30]})

    before = opened(files).boxes
    changed(files, with_lungs)
    assert all(np.array_equal(a, b) for a, b in zip(opened(files).boxes, before, strict=True))
    changed(files, lambda tree: tree["categories"][0].update(name="lesion"))
    with pytest.raises(UserError, match="its categories are lesion, lung; call the nodules' one 'nodule'"):
        opened(files)


@pytest.mark.parametrize("name", ["../coco.png", "/coco.png", "part/../../coco.png", "link.png", "part/a\0.png"])
def test_names_lead_out_of_no_folder(files, name):
    write_png(files / "coco.png", to_uint8(MADE.ct[0], WINDOW))
    (files / "images/link.png").symlink_to(files / "coco.png")
    changed(files, lambda tree: tree["images"][0].update(file_name=name))
    with pytest.raises(UserError, match="leads out of"):
        opened(files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["images"][0].update(file_name="none.png"), "none.png does not exist; --images is"),
        (lambda tree: tree["images"][0].update(file_name=3), "3 is not a file name"),
        (lambda tree: tree["images"][0].update(width=65), "has 64x64 pixels, its annotations say 65x64"),
        (lambda tree: tree.update(images=[], annotations=[]), "has no image"),
        (lambda tree: tree.pop("images"), "not a COCO file"),
        (lambda tree: tree["annotations"][0].update(bbox=[60, 60, 9, 9]), "outside its 64x64 image"),
    ],
)
def test_annotations_that_cannot_be_used_are_refused(files, change, message):
    changed(files, change)
    with pytest.raises(UserError, match=message):
        opened(files)


def test_images_of_another_size_or_kind_are_refused_with_the_remedy(files):
    with pytest.raises(UserError, match="the real slices have 128x128; scale .* --config with data.resolution=64"):
        opened(files, side=128)
    path = files / "images" / NAMES[0]
    write_png(path, np.repeat(read_png(path)[..., None], 3, axis=2))
    with pytest.raises(UserError, match="a PNG of mode RGB"):
        opened(files)
