"""Segmentation of body, lungs and trachea: chests of ellipses with known truth, and real CT where it is at hand."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tsgan_jax.data.lungs import body_mask, segment
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, RIGHT_LUNG, TRACHEA

SPACING = (2.5, 1.5, 1.5)
SHAPE = (200, 260)
FAT, LUNG, AIR, PADDING, BONE = -80, -850, -1000, -3024, 400
RIGHT_CENTRE, LEFT_CENTRE, TRACHEA_CENTRE = (95.0, 85.0), (95.0, 175.0), (80.0, 130.0)

Centre = tuple[float, float]


def ellipse(centre: Centre, radii: Centre) -> np.ndarray:
    """bool [h, w]: centre and radii as (y, x), px."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def chest(right: bool = True, left: bool = True, trachea: bool = True, gap: float = 0.0) -> np.ndarray:
    """float HU [h, w]: a chest on a table; gap moves both lungs to the middle, px."""
    hu = np.full(SHAPE, float(AIR))
    hu[ellipse((95.0, 130.0), (70.0, 105.0))] = FAT
    if right:
        hu[ellipse((RIGHT_CENTRE[0], RIGHT_CENTRE[1] + gap), (45.0, 32.0))] = LUNG
    if left:
        hu[ellipse((LEFT_CENTRE[0], LEFT_CENTRE[1] - gap), (45.0, 32.0))] = LUNG
    if trachea:
        hu[ellipse(TRACHEA_CENTRE, (5.0, 5.0))] = AIR
    hu[ellipse((145.0, 130.0), (10.0, 10.0))] = BONE
    hu[172:176, 20:240] = 100
    return hu


def scan(*planes: np.ndarray, noise: float = 15.0) -> np.ndarray:
    """int16 HU [z, h, w] with noise (standard deviation in HU)."""
    stack = np.stack(planes)
    return (stack + np.random.default_rng(3).normal(0.0, noise, stack.shape)).astype(np.int16)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("depth", [1, 8])
def test_lungs_lie_on_their_sides_and_the_trachea_between(depth):
    labels = segment(scan(*[chest()] * depth), SPACING)
    assert labels.dtype == np.uint8
    assert labels.shape == (depth, *SHAPE)
    for plane in labels:
        assert dice(plane == RIGHT_LUNG, ellipse(RIGHT_CENTRE, (45.0, 32.0))) > 0.97
        assert dice(plane == LEFT_LUNG, ellipse(LEFT_CENTRE, (45.0, 32.0))) > 0.97
        assert dice(plane == TRACHEA, ellipse(TRACHEA_CENTRE, (5.0, 5.0))) > 0.8


def test_table_is_background_and_the_inside_of_the_patient_is_body():
    hu = scan(chest())
    body = body_mask(hu, SPACING)[0]
    assert not body[172:].any()
    assert dice(body, ellipse((95.0, 130.0), (70.0, 105.0))) > 0.98
    labels = segment(hu, SPACING)[0]
    assert np.array_equal(labels > BACKGROUND, body)
    assert (labels[body & ~ellipse((95.0, 130.0), (64.0, 99.0))] == BODY).all()


@pytest.mark.parametrize("depth", [1, 8])
def test_lungs_that_touch_are_parted_near_the_middle(depth):
    plane = chest(trachea=False, gap=16.0)
    assert (plane[95, 100:160] == LUNG).all(), "the lungs of this chest must form one piece of air"
    for labels in segment(scan(*[plane] * depth), SPACING):
        right, left = np.nonzero(labels == RIGHT_LUNG)[1], np.nonzero(labels == LEFT_LUNG)[1]
        assert right.max() <= 136
        assert left.min() >= 124
        assert 0.9 < len(right) / len(left) < 1.1


def test_the_side_decides_when_there_is_one_lung():
    only_left = segment(scan(chest(right=False)), SPACING)
    only_right = segment(scan(chest(left=False)), SPACING)
    assert (only_left == LEFT_LUNG).any()
    assert not (only_left == RIGHT_LUNG).any()
    assert (only_right == RIGHT_LUNG).any()
    assert not (only_right == LEFT_LUNG).any()


def test_mirrored_slices_swap_the_lungs():
    hu = scan(chest(trachea=False))
    labels, mirrored = segment(hu, SPACING), segment(hu[:, :, ::-1], SPACING)[:, :, ::-1]
    assert dice(labels == LEFT_LUNG, mirrored == RIGHT_LUNG) > 0.99
    assert dice(labels == RIGHT_LUNG, mirrored == LEFT_LUNG) > 0.99


def test_vessels_and_nodules_are_lung_also_at_the_pleura():
    plane = chest()
    nodule, vessel, pleural = (95.0, 80.0), (110.0, 90.0), (95.0, 203.0)
    plane[ellipse(nodule, (8.0, 8.0))] = 30
    plane[ellipse(vessel, (2.0, 2.0))] = 60
    plane[ellipse(pleural, (2.5, 2.5))] = 30
    labels = segment(scan(plane), SPACING)[0]
    assert (labels[ellipse(nodule, (8.0, 8.0))] == RIGHT_LUNG).all()
    assert (labels[ellipse(vessel, (2.0, 2.0))] == RIGHT_LUNG).all()
    assert (labels[ellipse(pleural, (1.0, 1.0))] == LEFT_LUNG).all()


def test_the_dome_of_the_liver_inside_a_ring_of_lung_stays_body():
    plane = chest()
    plane[ellipse(RIGHT_CENTRE, (16.0, 16.0))] = 60
    labels = segment(scan(plane), SPACING)[0]
    assert (labels[ellipse(RIGHT_CENTRE, (13.0, 13.0))] == BODY).all()


def test_gas_of_the_stomach_is_not_lung():
    plane = chest(trachea=False)
    bubble = ellipse((62.0, 135.0), (14.0, 12.0))
    plane[bubble] = AIR
    labels = segment(scan(plane), SPACING)[0]
    assert (labels[bubble] == BODY).mean() > 0.98


def test_an_emphysematous_lung_beside_the_trachea_is_lung():
    plane = chest()
    plane[ellipse(RIGHT_CENTRE, (45.0, 32.0))] = -980
    labels = segment(scan(plane), SPACING)[0]
    assert dice(labels == RIGHT_LUNG, ellipse(RIGHT_CENTRE, (45.0, 32.0))) > 0.95


def test_bowel_gas_with_contents_below_the_lungs_of_a_scan_is_not_lung():
    solid = chest(right=False, left=False, trachea=False)
    bowel = solid.copy()
    gas = ellipse((70.0, 190.0), (10.0, 9.0))
    bowel[gas] = -700
    labels = segment(scan(*[bowel] * 6, *[solid] * 2, *[chest(trachea=False)] * 20), SPACING)
    assert (labels[:8][:, gas] == BODY).all()
    assert (labels[8:] == LEFT_LUNG).any((1, 2)).all()


def test_padding_below_air_changes_no_label():
    plane = scan(chest())
    padded = plane.copy()
    padded[:, ~ellipse((100.0, 130.0), (100.0, 130.0))] = PADDING
    assert np.array_equal(segment(padded, SPACING), segment(plane, SPACING))


def test_lungs_cut_open_by_the_field_of_view_are_kept():
    hu = scan(chest())[:, :, 70:]
    labels = segment(hu, SPACING)[0]
    assert dice(labels == RIGHT_LUNG, ellipse(RIGHT_CENTRE, (45.0, 32.0))[:, 70:]) > 0.95


def test_fine_pixels_are_worked_on_in_blocks_and_keep_their_edges():
    plane = np.repeat(np.repeat(chest(), 3, 0), 3, 1)[:-1, :-2]
    labels = segment(scan(plane), (2.5, 0.5, 0.5))[0]
    for lung, centre in ((RIGHT_LUNG, RIGHT_CENTRE), (LEFT_LUNG, LEFT_CENTRE)):
        truth = np.repeat(np.repeat(ellipse(centre, (45.0, 32.0)), 3, 0), 3, 1)[:-1, :-2]
        assert dice(labels == lung, truth) > 0.98


def test_empty_slices_and_slices_without_lungs():
    assert not segment(np.full((2, 40, 40), PADDING, np.int16), SPACING).any()
    assert segment(np.zeros((0, 40, 40), np.int16), SPACING).shape == (0, 40, 40)
    solid = segment(scan(chest(right=False, left=False, trachea=False)), SPACING)
    assert set(np.unique(solid)) == {BACKGROUND, BODY}


@pytest.mark.parametrize("function", [segment, body_mask])
def test_wrong_shape_or_spacing_is_refused(function):
    with pytest.raises(ValueError, match=r"\[z, h, w\]"):
        function(np.zeros((8, 8), np.int16), SPACING)
    with pytest.raises(ValueError, match="positive"):
        function(np.zeros((1, 8, 8), np.int16), (1.0, 0.0, 1.0))


def test_real_slices_lie_inside_their_outlines(shared_dir: Path):
    image = pytest.importorskip("PIL.Image")
    folder = shared_dir / "data" / "luna16_slices"
    with (folder / "index.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["lung_roi_aligned"] == "1"]
    inside, both = [], []
    for row in rows[5::39]:
        grey = np.asarray(image.open(folder / "images" / row["file"]).convert("L"), np.float32)
        outline = np.asarray(image.open(folder / "lung_roi" / row["file"].replace("jpg", "png")).convert("L")) > 0
        labels = segment(np.rint(grey * (1400 / 255) - 1000)[None].astype(np.int16), (1.0, 1.0, 1.0))[0]
        lung = (labels == LEFT_LUNG) | (labels == RIGHT_LUNG)
        inside.append((lung & outline).sum() / max(1, lung.sum()))
        both.append(min((labels == LEFT_LUNG).sum(), (labels == RIGHT_LUNG).sum()) > 500)
    assert len(inside) >= 20
    assert np.mean(np.array(inside) >= 0.97) >= 0.95
    assert np.mean(both) >= 0.95


def agreement(shared_dir: Path, subset: str) -> dict[str, float]:
    """Dice of both lungs of the scan in a subset folder with its mask (3 left, 4 right)."""
    sitk = pytest.importorskip("SimpleITK")
    root = shared_dir / "data" / "luna16"
    path = next((root / subset).glob("*.mhd"))
    image = sitk.ReadImage(str(path))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(root / "seg-lungs-LUNA16" / path.name)))
    labels = segment(sitk.GetArrayFromImage(image), image.GetSpacing()[::-1])
    return {"left": dice(labels == LEFT_LUNG, truth == 3), "right": dice(labels == RIGHT_LUNG, truth == 4)}


@pytest.mark.parametrize("subset", ["subset1", "subset2"])
def test_real_slabs_agree_with_their_masks(shared_dir: Path, subset: str):
    assert min(agreement(shared_dir, subset).values()) > 0.97


@pytest.mark.slow
def test_a_complete_real_scan_agrees_with_its_mask(shared_dir: Path):
    assert min(agreement(shared_dir, "subset0").values()) > 0.98
