"""The procedural chest: anatomy in Hounsfield units, its truth, and the LUNA16 tree it is written as."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from tsgan_jax.config import PhantomConfig
from tsgan_jax.errors import UserError
from tsgan_jax.phantom import Patient, PhantomNodule, patient, write_tree
from tsgan_jax.phantom.lung import MURRAY, draw, grow
from tsgan_jax.phantom.nodules import draw_diameters, paint_nodule
from tsgan_jax.phantom.shapes import Capsule, Ellipse, cover, slow_field, smooth_min
from tsgan_jax.phantom.writing import series_uid, write_scan

LEFT, RIGHT, TRACHEA = 3, 4, 5
CONFIG = PhantomConfig(size=160)
TREE = PhantomConfig(patients=11, size=64, seed=5)
SEEDS = range(10)


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return [patient(seed, CONFIG) for seed in SEEDS]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "luna"
    write_tree(root, TREE, workers=1)
    return root


def annotations(root: Path) -> list[dict[str, str]]:
    with open(root / "annotations.csv", newline="") as file:
        return list(csv.DictReader(file))


def index_of(made: Patient, centre: tuple[float, float, float]) -> tuple[int, int, int]:
    """Nearest voxel (z, y, x) of a world place."""
    steps = (np.array(centre) - made.origin) / np.array(made.spacing[::-1])
    x, y, z = np.rint(steps).astype(int)
    return z, y, x


def test_arrays_have_the_configured_shape_and_types(patients: list[Patient]) -> None:
    for made in patients:
        assert made.hu.shape == made.lungs.shape == (3, 160, 160)
        assert made.hu.dtype == np.int16
        assert made.lungs.dtype == np.uint8
        assert set(np.unique(made.lungs)) <= {0, LEFT, RIGHT, TRACHEA}


def test_a_seed_gives_the_same_patient_again_and_another_seed_another() -> None:
    small = PhantomConfig(size=64)
    first, again, other = patient(3, small), patient(3, small), patient(4, small)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.lungs, again.lungs)
    assert first.nodules == again.nodules
    assert not np.array_equal(first.hu, other.hu)
    assert not np.array_equal(first.hu, patient(3, PhantomConfig(size=64, seed=1)).hu)


def test_left_lung_lies_at_larger_x(patients: list[Patient]) -> None:
    for made in patients:
        columns = [np.nonzero(made.lungs == side)[2].mean() for side in (LEFT, RIGHT)]
        assert columns[0] > columns[1] + 20


def test_lungs_take_a_human_share_of_the_slice(patients: list[Patient]) -> None:
    for made in patients:
        pixel = made.spacing[1] ** 2 / 100
        for side in (LEFT, RIGHT):
            assert 25 < (made.lungs[1] == side).sum() * pixel < 260  # cm2


def test_tissues_have_their_hounsfield_units(patients: list[Patient]) -> None:
    for made in patients:
        lungs = np.isin(made.lungs, (LEFT, RIGHT))
        deep = ndimage.binary_erosion(lungs, np.ones((1, 5, 5)))
        assert -900 < np.median(made.hu[deep]) < -780
        body = ndimage.binary_fill_holes(ndimage.binary_opening(made.hu[1] > -400, np.ones((5, 5))))
        tissue = made.hu[1][ndimage.binary_erosion(body, iterations=3) & (made.lungs[1] == 0)]
        fat, soft, bone = (
            ((low <= tissue) & (tissue < high)).mean() for low, high in ((-160, -40), (0, 110), (250, 1500))
        )
        assert fat > 0.04
        assert soft > 0.15
        assert bone > 0.01
        assert made.hu.max() <= 1800


def test_trachea_is_air_inside_a_wall(patients: list[Patient]) -> None:
    seen = 0
    for made in patients:
        lumen = made.lungs == TRACHEA
        inner = ndimage.binary_erosion(lumen, np.ones((1, 3, 3)))
        if inner.sum() < 8:
            continue
        seen += 1
        ring = ndimage.binary_dilation(lumen, np.ones((1, 7, 7))) & ~ndimage.binary_dilation(lumen, np.ones((1, 3, 3)))
        assert np.median(made.hu[inner]) < -900
        assert np.median(made.hu[ring]) > -250
    assert seen >= 2
    assert {made.level for made in patients} >= {"arch", "hilum", "heart"}


def test_air_and_padding_lie_outside_the_body(patients: list[Patient]) -> None:
    paddings = set()
    for made in patients:
        corner = made.hu[:, 0, 0]
        assert (corner < -850).all()
        paddings.add(int(made.hu.min()))
        inside = made.hu[:, 70:90, 70:90]
        assert inside.min() >= -1024
    assert min(paddings) <= -2000
    assert max(paddings) == -1024


def test_noise_is_that_of_a_ct(patients: list[Patient]) -> None:
    """In soft tissue, the difference of neighbouring slices shows the noise: some 10 to 50 HU."""
    for made in patients:
        soft = (made.hu > -20) & (made.hu < 120)
        soft = ndimage.binary_erosion(soft[0] & soft[1])
        spread = np.std(made.hu[0][soft] - made.hu[1][soft].astype(float)) / np.sqrt(2)
        assert 5 < spread < 50


def test_nodules_have_luna16_sizes_and_lie_in_or_at_a_lung(patients: list[Patient]) -> None:
    for made in patients:
        assert 1 <= len(made.nodules) <= 3
        for nodule in made.nodules:
            assert 3 <= nodule.diameter_mm <= 30
            assert made.lungs[index_of(made, nodule.centre)] in (LEFT, RIGHT)


def test_a_nodule_is_denser_than_the_lung_where_it_is_annotated(patients: list[Patient]) -> None:
    for made in patients:
        for nodule in made.nodules:
            z, y, x = index_of(made, nodule.centre)
            value = made.hu[z, y, x]
            if nodule.diameter_mm > 3 * made.spacing[1]:
                assert value > -250, nodule
            assert value > -720, nodule


@pytest.mark.parametrize("kind", ["solid", "spiculated", "calcified", "part-solid"])
def test_a_nodule_fills_its_annotated_diameter(kind: str) -> None:
    """In plain lung, a nodule's coverage of a slice is that of the circle which its sphere leaves there."""
    axes = (np.float32([0, 2.5]), *(np.arange(-20, 20.5, 0.5, dtype=np.float32),) * 2)
    shares = []
    for seed in range(12):
        hu = np.full((2, 81, 81), -850, np.float32)
        paint_nodule(
            np.random.default_rng(seed), hu, PhantomNodule((1.0, -2.0, 0.5), 12.0, kind), axes, np.full_like(hu, -99)
        )
        circles = [np.pi * (6**2 - (z - 0.5) ** 2) for z in axes[0]]
        edge = -700 if kind == "part-solid" else -425
        shares.append((hu > edge).sum((1, 2)) * 0.25 / circles)
        rows, cols = np.nonzero(hu[0] > edge)
        assert abs(axes[2][cols].mean() - 1) < 0.8
        assert abs(axes[1][rows].mean() + 2) < 0.8
    assert np.allclose(np.median(shares, 0), 1, atol=0.15 if kind != "spiculated" else 0.4)


@pytest.mark.parametrize("slices", [1, 2, 3, 6])
def test_every_slice_crosses_the_first_nodule(slices: int) -> None:
    for seed in range(4):
        made = patient(seed, PhantomConfig(size=48, slices=slices))
        nodule = made.nodules[0]
        heights = made.origin[2] + np.arange(slices) * made.spacing[0]
        assert (np.abs(heights - nodule.centre[2]) < nodule.diameter_mm / 2).all()
        assert made.spacing[0] <= 2.5


def test_diameters_are_spread_as_in_luna16() -> None:
    rng = np.random.default_rng(0)
    values = np.array([d for _ in range(600) for d in draw_diameters(rng, (3.0, 30.0))])
    assert values.min() >= 3
    assert values.max() <= 30
    assert 5.5 < np.median(values) < 8
    assert np.mean(values > 15) > 0.02


def test_patients_differ_in_size(patients: list[Patient]) -> None:
    widths = [np.ptp(np.nonzero((m.hu[1] > -400).any(0))[0]) * m.spacing[1] for m in patients]
    assert max(widths) - min(widths) > 40
    assert all(260 < w < 470 for w in widths)


def test_the_tree_has_luna16s_layout(tree: Path) -> None:
    assert sorted(p.name for p in tree.iterdir() if p.is_dir()) == sorted(
        ["seg-lungs-LUNA16", *(f"subset{k}" for k in range(10))]
    )
    scans = sorted(p.stem for p in tree.glob("subset*/*.mhd"))
    assert len(scans) == TREE.patients
    assert len(list((tree / "subset0").glob("*.mhd"))) == 2
    assert scans == sorted(p.stem for p in (tree / "seg-lungs-LUNA16").glob("*.mhd"))
    assert {row["seriesuid"] for row in annotations(tree)} == set(scans)
    assert list(annotations(tree)[0]) == ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    for path in tree.glob("subset*/*.mhd"):
        header = dict(line.split(" = ", 1) for line in path.read_text().splitlines())
        assert header["ElementType"] == "MET_SHORT"
        assert (path.parent / header["ElementDataFile"]).is_file()
    assert {p.suffix for p in tree.glob("subset*/*raw")} == {".raw", ".zraw"}
    turns = {p.read_text().split("TransformMatrix = ")[1].splitlines()[0] for p in tree.glob("subset*/*.mhd")}
    assert turns == {"1 0 0 0 1 0 0 0 1", "-1 0 0 0 -1 0 0 0 1"}


def test_simpleitk_reads_back_what_was_made(tree: Path) -> None:
    for index in (0, 1, 2):
        made = patient(index, TREE)
        uid = series_uid(TREE, index)
        for folder, array in ((f"subset{index}", made.hu), ("seg-lungs-LUNA16", made.lungs)):
            image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tree / folder / f"{uid}.mhd")), "LPS")
            assert np.array_equal(SimpleITK.GetArrayFromImage(image), array)
            assert np.allclose(image.GetSpacing()[::-1], made.spacing)
            assert np.allclose(image.GetOrigin(), made.origin)


def test_annotated_world_places_are_nodules_in_either_direction(tmp_path: Path) -> None:
    """A flipped scan stores x and y reversed; the same world coordinates must hit the same tissue."""
    made = patient(9, CONFIG)
    for flipped in (False, True):
        path = tmp_path / f"{flipped}.mhd"
        write_scan(path, made.hu, dataclasses.replace(made, flipped=flipped))
        image = SimpleITK.ReadImage(str(path))
        assert (image.GetDirection()[0] == -1) is flipped
        for nodule in made.nodules:
            place = image.TransformPhysicalPointToIndex(nodule.centre)
            assert image.GetPixel(place) == made.hu[index_of(made, nodule.centre)]


def test_a_finished_tree_is_kept_and_a_foreign_folder_refused(tree: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in tree.rglob("*")}
    write_tree(tree, TREE, workers=1)
    assert before == {p: p.stat().st_mtime_ns for p in tree.rglob("*")}
    with pytest.raises(UserError, match="not the phantom of this config"):
        write_tree(tree, TREE.model_copy(update={"seed": 6}), workers=1)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="not empty"):
        write_tree(tmp_path, TREE, workers=1)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_an_interrupted_tree_is_begun_again(tmp_path: Path) -> None:
    tiny = PhantomConfig(patients=1, size=48, slices=1)
    left = tmp_path / "luna.partial" / "subset0"
    left.mkdir(parents=True)
    (left / "half.mhd").write_text("NDims =")
    write_tree(tmp_path / "luna", tiny)
    assert [p.name for p in tmp_path.iterdir()] == ["luna"]
    assert not list((tmp_path / "luna").rglob("half.mhd"))


def test_worker_processes_write_the_same_tree(tmp_path: Path) -> None:
    tiny = PhantomConfig(patients=12, size=48, slices=1)
    for name, workers in (("one", 1), ("two", 2)):
        write_tree(tmp_path / name, tiny, workers=workers)
    files = [{p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("one", "two")]
    assert files[0] == files[1]


def test_shapes_are_distances() -> None:
    x, y = np.float32([[3, 0, 10]]), np.float32([[0, 0, 0]])
    assert np.allclose(Ellipse(0, 0, 3, 3).distance(x, y), [[0, -3, 7]], atol=1e-5)
    assert np.allclose(Ellipse(0, 0, 5, 2, np.pi / 2).distance(np.float32([2]), np.float32([0])), 0, atol=1e-4)
    assert np.allclose(Capsule(0, 0, 10, 0, 2, 2).distance(np.float32([5, 12, 13]), np.float32([0, 0, 0])), [-2, 0, 1])
    assert np.allclose(cover(np.float32([-2, 0, 2]), 1), [1, 0.5, 0])
    a, b = np.float32([-1, 5, 0]), np.float32([7, 6, 0])
    assert np.allclose(smooth_min(a, b, 2)[0], -1)
    assert (smooth_min(a, b, 2) <= np.minimum(a, b)).all()


def test_slow_fields_have_unit_spread_and_vary_slowly() -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([slow_field(rng, (64, 64), 320, 60) for _ in range(50)])
    assert 0.75 < fields.std() < 1.25
    assert np.abs(np.diff(fields, axis=1)).max() < 0.8


def test_a_vessel_tree_joins_every_target_and_thickens_towards_its_root() -> None:
    rng = np.random.default_rng(1)
    targets = rng.uniform(-40, 40, (60, 3)).astype(np.float32)
    tree = grow(rng, np.array([60, 0, 0], np.float32), targets, 0.5)
    gaps = np.abs(tree.nodes[None] - targets[:, None]).max(-1).min(1)
    assert gaps.max() < 1e-3
    assert (tree.parent[1:] < np.arange(1, len(tree.parent))).all()
    assert (tree.radius[tree.parent] >= tree.radius - 1e-6).all()
    assert np.isclose(tree.radius.max(), 0.5 * 60 ** (1 / MURRAY), rtol=1e-5)


def test_a_drawn_tube_covers_its_cross_section() -> None:
    """A tube across the slice covers pi r**2; one thinner than a pixel keeps its share."""
    axis = np.arange(-10, 10.5, 0.5, dtype=np.float32)
    for radius in (3.0, 1.0):
        share = np.zeros((1, 41, 41), np.float32)
        line = (np.float32([[0, 0, -20]]), np.float32([[0, 0, 20]]), np.float32([radius]))
        draw(share, line, (np.float32([0]), axis, axis), 0.5)
        assert np.isclose(share.sum() * 0.25, np.pi * radius**2, rtol=0.05)
        assert share.max() <= 1


def test_each_lung_is_free_of_islets(patients: list[Patient]) -> None:
    for made in patients:
        for side in (LEFT, RIGHT):
            parts, count = ndimage.label(made.lungs[1] == side)
            areas = np.bincount(parts.ravel())[1:] * made.spacing[1] ** 2
            assert 1 <= count <= 3
            assert areas.min() > 300
