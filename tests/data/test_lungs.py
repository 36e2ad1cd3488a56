"""Segmentation of lungs, trachea and body: made-up chests, then real CT where it is at hand."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tsgan_jax.data.lungs import body_mask, segment
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, RIGHT_LUNG, TRACHEA

Mask = np.ndarray
SIZE = 320


def ellipse(cx: float, cy: float, rx: float, ry: float, size: int = SIZE) -> Mask:
    y, x = np.mgrid[:size, :size]
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1


BODY_SHAPE = ellipse(160, 150, 145, 105)
RIGHT = ellipse(92, 150, 55, 75)
LEFT = ellipse(228, 150, 55, 75)
TUBE = ellipse(160, 120, 9, 9)


def chest(*, noise: float = 15.0, right: Mask = RIGHT, left: Mask = LEFT, tube: Mask | None = TUBE) -> np.ndarray:
    """float32 HU [320, 320] at 1 mm, blurred as a scanner blurs: body, lungs with vessels, spine, table behind."""
    hu = np.full((SIZE, SIZE), -1000.0)
    hu[BODY_SHAPE] = 40
    hu[ellipse(160, 215, 20, 18)] = 500
    hu[right | left] = -860
    for x, y in ((80, 140), (100, 180), (220, 130), (240, 170)):
        hu[ellipse(x, y, 4, 4) & (right | left)] = 30
    if tube is not None:
        hu[tube] = -1000
    hu[275:279, 20:300] = 300
    hu[255:275, 158:162] = 100
    hu = ndimage.gaussian_filter(hu, 0.7)
    return (hu + np.random.default_rng(0).normal(0, noise, hu.shape)).astype(np.float32)


def labels_of(hu: np.ndarray, mm: float = 1.0) -> np.ndarray:
    return segment(hu[None], (1.0, mm, mm))[0]


def dice(a: Mask, b: Mask) -> float:
    return 2.0 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def test_every_class_of_a_slice_lies_where_it_was_drawn() -> None:
    labels = labels_of(chest())
    assert labels.dtype == np.uint8
    assert dice(labels == RIGHT_LUNG, RIGHT) > 0.97
    assert dice(labels == LEFT_LUNG, LEFT) > 0.97
    assert dice(labels == TRACHEA, TUBE) > 0.85
    assert dice(labels > BACKGROUND, BODY_SHAPE) > 0.99


def test_vessels_and_a_nodule_inside_a_lung_are_lung() -> None:
    hu = chest()
    nodule = ellipse(228, 150, 15, 15)
    hu[nodule] = 50
    assert (labels_of(hu)[nodule] == LEFT_LUNG).all()


def test_a_diaphragms_dome_inside_a_lung_stays_body() -> None:
    hu = chest()
    hu[ellipse(92, 150, 32, 38)] = 60
    labels = labels_of(hu)
    assert (labels[ellipse(92, 150, 25, 30)] == BODY).all()
    assert (labels == RIGHT_LUNG).sum() > 5000


def test_the_table_is_no_body_even_where_a_strut_reaches_the_back() -> None:
    labels = labels_of(chest())
    assert not labels[262:].any()


def test_lungs_that_touch_in_front_are_parted_at_the_thin_line() -> None:
    right, left = ellipse(105, 150, 62, 80), ellipse(215, 150, 62, 80)
    front = ellipse(160, 95, 70, 25)
    x = np.arange(SIZE)
    right, left = right | (front & (x < 160)), left | (front & (x >= 160))
    hu = chest(right=right, left=left, tube=None)
    hu[:, 159:161][front[:, 159:161]] = -600
    labels = labels_of(hu)
    assert dice(labels == RIGHT_LUNG, right) > 0.95
    assert dice(labels == LEFT_LUNG, left) > 0.95


def test_lungs_that_merge_outright_still_have_two_sides() -> None:
    bridge = ellipse(160, 90, 60, 12)
    labels = labels_of(chest(right=RIGHT | bridge, tube=None))
    assert dice(labels == RIGHT_LUNG, RIGHT) > 0.9
    assert dice(labels == LEFT_LUNG, LEFT) > 0.9


@pytest.mark.parametrize(("shape", "label"), [(RIGHT, RIGHT_LUNG), (LEFT, LEFT_LUNG)])
def test_a_single_lung_is_named_by_its_side_of_the_body(shape: Mask, label: int) -> None:
    nothing = np.zeros_like(RIGHT)
    hu = chest(right=shape, left=nothing, tube=None)
    labels = labels_of(hu)
    assert dice(labels == label, shape) > 0.97
    assert not (labels == (LEFT_LUNG + RIGHT_LUNG - label)).any()


def test_mirroring_swaps_the_sides() -> None:
    hu = chest(right=ellipse(92, 150, 45, 65))
    there, back = labels_of(hu), labels_of(np.ascontiguousarray(hu[:, ::-1]))[:, ::-1]
    assert dice(there == RIGHT_LUNG, back == LEFT_LUNG) > 0.99
    assert dice(there == LEFT_LUNG, back == RIGHT_LUNG) > 0.99


@pytest.mark.parametrize("padding", [-1024, -2048, -3024])
def test_padding_outside_a_round_field_of_view_is_background(padding: int) -> None:
    hu = chest()
    outside = ~ellipse(160, 160, 158, 158)
    hu[outside] = padding
    labels = labels_of(hu)
    assert not labels[outside & ~BODY_SHAPE].any()
    assert dice(labels == RIGHT_LUNG, RIGHT) > 0.97
    assert dice(labels == LEFT_LUNG, LEFT) > 0.97


def test_a_lung_cut_open_by_the_pictures_edge_is_found() -> None:
    labels = labels_of(np.ascontiguousarray(chest()[:, 50:]))
    assert dice(labels == RIGHT_LUNG, RIGHT[:, 50:]) > 0.93
    assert dice(labels == LEFT_LUNG, LEFT[:, 50:]) > 0.97


def test_heavy_noise_costs_little() -> None:
    labels = labels_of(chest(noise=120.0))
    assert dice(labels == RIGHT_LUNG, RIGHT) > 0.95
    assert dice(labels == LEFT_LUNG, LEFT) > 0.95


def test_gas_in_the_belly_is_no_lung() -> None:
    low_right, low_left = ellipse(92, 190, 50, 30), ellipse(228, 190, 50, 30)
    hu = chest(right=low_right, left=low_left, tube=None)
    bubble = ellipse(215, 90, 22, 14)
    hu[bubble] = -1000
    labels = labels_of(hu)
    assert (labels[bubble] == BODY).all()
    assert dice(labels == LEFT_LUNG, low_left) > 0.95


def test_air_or_tissue_alone_holds_no_lung() -> None:
    assert not labels_of(np.full((64, 64), -1000.0, np.float32)).any()
    solid = labels_of(np.full((64, 64), 40.0, np.float32))
    assert set(np.unique(solid)) == {BODY}


def test_a_volume_without_three_axes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[z, h, w\]"):
        segment(np.zeros((4, 4)), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def volume() -> tuple[np.ndarray, np.ndarray]:
    """HU and drawn classes [24, 320, 320] at 5 x 1 x 1 mm: belly with a column of gas, chest, neck with trachea."""
    hu, drawn = [], []
    for k in range(24):
        size = np.clip(np.sqrt(max(0.0, 1 - ((k - 11) / 9.5) ** 2)), 0, 1)
        empty = np.zeros_like(RIGHT)
        right = ellipse(92, 150, 55 * size, 75 * size) if size > 0.2 else empty
        left = ellipse(228, 150, 55 * size, 75 * size) if size > 0.2 else empty
        tube = TUBE if k >= 10 else None
        plane = chest(right=right, left=left, tube=tube)
        if k < 5:
            plane[ellipse(190, 95, 12, 12)] = -1000
        hu.append(plane)
        classes = np.where(BODY_SHAPE, BODY, BACKGROUND)
        classes[right] = RIGHT_LUNG
        classes[left] = LEFT_LUNG
        if tube is not None:
            classes[tube] = TRACHEA
        drawn.append(classes)
    return np.stack(hu), np.stack(drawn)


def test_a_volume_is_labelled_in_3d(volume: tuple[np.ndarray, np.ndarray]) -> None:
    hu, drawn = volume
    labels = segment(hu, (5.0, 1.0, 1.0))
    for label, least in ((BODY, 0.97), (RIGHT_LUNG, 0.96), (LEFT_LUNG, 0.96), (TRACHEA, 0.85)):
        assert dice(labels == label, drawn == label) > least, label
    assert not (labels[:8] == TRACHEA).any()


def test_finer_pixels_give_the_same_lungs_at_their_own_resolution(volume: tuple[np.ndarray, np.ndarray]) -> None:
    hu, drawn = (np.repeat(np.repeat(v[9:14], 2, 1), 2, 2)[:, :-1, :-3] for v in volume)
    labels = segment(hu, (5.0, 0.5, 0.5))
    assert labels.shape == hu.shape
    for label in (RIGHT_LUNG, LEFT_LUNG):
        assert dice(labels == label, drawn == label) > 0.97


def test_the_body_mask_agrees_with_the_labels(volume: tuple[np.ndarray, np.ndarray]) -> None:
    hu = volume[0][10:13]
    body = body_mask(hu, (5.0, 1.0, 1.0))
    assert body.dtype == bool
    np.testing.assert_array_equal(body, segment(hu, (5.0, 1.0, 1.0)) > BACKGROUND)


def given(shared: Path, subset: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """HU, LUNA16 codes and spacing z y x of a real scan."""
    sitk = pytest.importorskip("SimpleITK")
    root = shared / "data" / "luna16"
    path = next((root / f"subset{subset}").glob("*.mhd"))
    scan, mask = sitk.ReadImage(str(path)), sitk.ReadImage(str(root / "seg-lungs-LUNA16" / path.name))
    return sitk.GetArrayFromImage(scan), sitk.GetArrayFromImage(mask), scan.GetSpacing()[::-1]


@pytest.mark.parametrize("subset", [1, 2, pytest.param(0, marks=pytest.mark.slow)])
def test_real_lungs_agree_with_the_given_mask(shared_dir: Path, subset: int) -> None:
    hu, mask, spacing = given(shared_dir, subset)
    labels = segment(hu, spacing)
    assert dice(labels == LEFT_LUNG, mask == 3) > 0.97
    assert dice(labels == RIGHT_LUNG, mask == 4) > 0.97
    assert dice(labels == TRACHEA, mask == 5) > 0.6  # the given masks end the bronchi elsewhere


def real_slices(shared: Path, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every n-th LUNA16 slice whose outline is aligned: HU and the generous outline of lungs and trachea."""
    image = pytest.importorskip("PIL.Image")
    folder = shared / "data" / "luna16_slices"
    rows = [r for r in csv.DictReader((folder / "index.csv").open()) if r["lung_roi_aligned"] == "1"]
    for row in rows[::every]:
        grey = np.asarray(image.open(folder / "images" / row["file"]).convert("L"), np.float32)
        outline = np.asarray(image.open(folder / "lung_roi" / f"{Path(row['file']).stem}.png").convert("L")) > 0
        yield grey * (1400.0 / 255.0) - 1000.0, outline


@pytest.mark.parametrize("every", [20, pytest.param(2, marks=[pytest.mark.slow, pytest.mark.long])])
def test_real_slices_lie_in_their_outlines(shared_dir: Path, every: int) -> None:
    shares, both = [], []
    for hu, outline in real_slices(shared_dir, every):
        labels = labels_of(hu)
        lung = (labels == LEFT_LUNG) | (labels == RIGHT_LUNG)
        shares.append((lung & outline).sum() / max(1, lung.sum()))
        both.append(min((labels == LEFT_LUNG).sum(), (labels == RIGHT_LUNG).sum()) > 150)
    assert np.mean(np.array(shares) > 0.97) > 0.95
    assert np.mean(shares) > 0.99
    assert np.mean(both) > 0.97
