"""Objects are the nodule components of the masks; foreign files are checked before use."""

import json
from math import pi, sqrt

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tsgan_jax.errors import UserError
from tsgan_jax.files import write_json
from tsgan_jax.generation import coco
from tsgan_jax.labels import NODULE, NUM_CLASSES


def picture(mask, id=1, name="a.png", pixel_mm=1.0):
    return coco.CocoImage(id, name, np.asarray(mask, np.uint8), pixel_mm)


def with_nodules(*boxes, shape=(20, 30)):
    mask = np.ones(shape, np.uint8)
    for x, y, w, h in boxes:
        mask[y : y + h, x : x + w] = NODULE
    return mask


def flood(mask):
    """8-connected components of the nodule pixels, by plain flood fill."""
    left, found = set(map(tuple, np.argwhere(mask == NODULE).tolist())), []
    while left:
        component, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            component.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        found.append(component)
    return found


@given(mask=hnp.arrays(np.uint8, (9, 11), elements=st.integers(0, NUM_CLASSES - 1)))
@settings(max_examples=60, deadline=None)
def test_objects_are_the_connected_nodules(mask):
    found, dropped = coco.objects(picture(mask), coco.REAL)
    expected = flood(mask)
    assert dropped == 0
    assert sorted((a["area"], a["bbox"]) for a in found) == sorted(
        (
            len(c),
            [
                min(x for _, x in c),
                min(y for y, _ in c),
                max(x for _, x in c) - min(x for _, x in c) + 1,
                max(y for y, _ in c) - min(y for y, _ in c) + 1,
            ],
        )
        for c in expected
    )


@given(mask=hnp.arrays(np.uint8, (8, 8), elements=st.sampled_from([1, NODULE])), pixel_mm=st.floats(0.3, 3))
@settings(max_examples=60, deadline=None)
def test_specks_are_dropped_and_counted(mask, pixel_mm):
    found, dropped = coco.objects(picture(mask, pixel_mm=pixel_mm), coco.SYNTHETIC)
    large = [c for c in flood(mask) if len(c) >= 3 and 2 * pixel_mm * sqrt(len(c) / pi) >= 3]
    assert sorted(a["area"] for a in found) == sorted(map(len, large))
    assert dropped == len(flood(mask)) - len(large)


@given(mask=hnp.arrays(np.uint8, (9, 11), elements=st.sampled_from([1, NODULE])))
@settings(max_examples=150, deadline=None)
def test_a_nodule_is_one_polygon_with_its_pixels_area_and_box(mask):
    """Holes, corners that touch and edges of the image included; by pycocotools, and by the formula of the area."""
    found, _ = coco.objects(picture(mask), coco.REAL)
    drawn = []
    for annotation in found:
        (points,) = annotation["segmentation"]
        assert len(points) >= 8
        (encoded,) = coco_mask.frPyObjects([points], *mask.shape)
        drawn.append(coco_mask.decode(encoded))
        assert coco_mask.area(encoded) == annotation["area"] == drawn[-1].sum()
        assert coco_mask.toBbox(encoded).tolist() == annotation["bbox"]
        x, y = np.array(points[::2]), np.array(points[1::2])
        assert abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 == annotation["area"]
    assert np.array_equal(np.sum(drawn, axis=0) if drawn else np.zeros_like(mask), mask == NODULE)


def test_pycocotools_loads_the_file_and_its_masks_are_ours(tmp_path):
    masks = [with_nodules((2, 3, 5, 4), (20, 10, 3, 6)), with_nodules(), with_nodules((0, 0, 30, 20))]
    pictures = [picture(mask, i + 1, f"{i}.png") for i, mask in enumerate(masks)]
    write_json(tmp_path / "a.json", coco.dataset(iter(pictures), coco.SYNTHETIC, {"description": "test"}))
    loaded = COCO(str(tmp_path / "a.json"))
    assert loaded.getImgIds() == [1, 2, 3]
    assert loaded.getCatIds(catNms=["nodule"]) == [1]
    assert [loaded.imgs[i]["width"] for i in (1, 2, 3)] == [30, 30, 30]
    for i, mask in enumerate(masks):
        annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[i + 1]))
        union = np.zeros(mask.shape, bool)
        for annotation in annotations:
            union |= loaded.annToMask(annotation).astype(bool)
        assert np.array_equal(union, mask == NODULE)
    assert [a["bbox"] for a in loaded.loadAnns([1, 2, 3])] == [[2, 3, 5, 4], [20, 10, 3, 6], [0, 0, 30, 20]]


def test_perfect_detections_score_one(tmp_path):
    tree = coco.dataset([picture(with_nodules((2, 3, 5, 4), (20, 10, 6, 6)))], coco.REAL, {})
    write_json(tmp_path / "a.json", tree)
    truth = COCO(str(tmp_path / "a.json"))
    detections = [{k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 1.0} for a in tree["annotations"]]
    judge = COCOeval(truth, truth.loadRes(detections), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_written_files_are_read_back(tmp_path):
    tree = coco.dataset([picture(with_nodules((2, 3, 5, 4)))], coco.REAL, {"from": "test"})
    write_json(tmp_path / "a.json", tree)
    assert coco.read(tmp_path / "a.json") == json.loads(json.dumps(tree))


def test_a_name_that_leads_elsewhere_is_not_written():
    with pytest.raises(UserError, match="refused"):
        coco.dataset([picture(with_nodules(), name="../../evil.png")], coco.REAL, {})


def spoil(tree, path, value):
    *parents, last = path
    for step in parents:
        tree = tree[step]
    tree[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images", 0, "file_name"), "../../../../escaped/evil.png", "evil.png' is refused"),
        (("images", 0, "file_name"), "/etc/passwd", "is refused"),
        (("images", 0, "file_name"), "b.png", "two images"),
        (("images", 0, "id"), 2, "twice"),
        (("images", 0, "width"), 0, "positive width"),
        (("images", 0, "height"), "20", "positive width"),
        (("annotations", 0, "id"), 2, "twice"),
        (("annotations", 0, "image_id"), 7, "does not have"),
        (("annotations", 0, "category_id"), 80, "does not have"),
        (("annotations", 0, "bbox"), [28, 3, 5, 4], "outside"),
        (("annotations", 0, "bbox"), [2, 3, -5, 4], "outside"),
        (("annotations", 0, "bbox"), [2, 3, float("nan"), 4], "expected"),
        (("annotations", 0, "bbox"), "2 3 5 4", "expected"),
        (("annotations",), {}, "not a COCO file"),
        (("images", 0), "a.png", "not a COCO file"),
    ],
)
def test_foreign_files_are_checked(tmp_path, path, value, message):
    pictures = [picture(with_nodules((2, 3, 5, 4)), 1, "a.png"), picture(with_nodules((5, 5, 4, 4)), 2, "b.png")]
    tree = coco.dataset(pictures, coco.REAL, {})
    spoil(tree, path, value)
    (tmp_path / "a.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=message):
        coco.read(tmp_path / "a.json")
