"""Figures 4 and 5 from what runs kept: one column a system, the same masks, nothing where there is nothing."""

import numpy as np
import pytest
from PIL import Image

from tsgan_jax.config import Config
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.records import Record, append
from tsgan_jax.labels import PALETTE
from tsgan_jax.study import figures

SIDE = 16


@pytest.fixture
def systems(tmp_path):
    """Three runs; the third has other masks in its set, the second no embedding."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 6, (8, SIDE, SIDE)).astype(np.uint8)
    real = rng.integers(0, 256, (8, SIDE, SIDE)).astype(np.uint8)
    found = {}
    for place, name in enumerate(("A", "B", "C")):
        folder = tmp_path / name / "evaluation"
        folder.mkdir(parents=True)
        grey = np.full((8, SIDE, SIDE), 60 * place + 40, np.uint8)
        np.savez(folder / "translated.npz", mask=mask, real=real, generated=grey)
        np.savez(folder / "generated.npz", mask=mask[::-1] if name == "C" else mask, generated=grey)
        if name != "B":
            np.savez(folder / "embedding.npz", points=rng.normal(size=(20, 2)), is_real=np.arange(20) < 10)
            append(folder / "records.jsonl", [Record("embedding", "x", "full", "Mixing-VGG19", 0.5, 10)])
        found[name] = (tmp_path / name, Config())
    return found


def tiles(grid):
    return [[tile is not None for tile in row] for _, row in grid]


def test_rows_hold_the_same_mask_and_columns_a_system(systems, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(figures, "_draw", lambda grid, titles, out: drawn.append((grid, titles)))
    assert figures.figure4(systems, 3, tmp_path / "4.png") == tmp_path / "4.png"
    ((grid, titles),) = drawn
    assert titles == ["mask", "real CT", "A", "B", "C"]
    assert [name for name, _ in grid] == ["real test mask"] * 3 + ["mask of the set"] * 3
    assert tiles(grid) == [[True] * 5] * 3 + [[True, False, True, True, False]] * 3  # C's masks are others
    kept = np.load(systems["A"][0] / "evaluation" / "translated.npz")
    for (_, row), place in zip(grid, (0, 4, 7), strict=False):
        assert np.array_equal(row[0], PALETTE[kept["mask"][place]])
        assert np.array_equal(row[1], kept["real"][place])
        assert [int(tile[0, 0]) for tile in row[2:]] == [40, 100, 160]


def test_other_test_slices_are_refused(systems, tmp_path):
    kept = dict(np.load(systems["B"][0] / "evaluation" / "translated.npz"))
    np.savez(systems["B"][0] / "evaluation" / "translated.npz", **(kept | {"mask": kept["mask"][::-1]}))
    with pytest.raises(UserError, match="B and A have different test slices"):
        figures.figure4(systems, 3, tmp_path / "4.png")


def test_figures_are_pictures_or_nothing(systems, tmp_path):
    for draw in (lambda out: figures.figure4(systems, 2, out), lambda out: figures.figure5(systems, out)):
        with Image.open(draw(tmp_path / "one.png")) as picture:
            assert min(picture.size) > 200 and len(picture.convert("RGB").getcolors(1 << 24)) > 20
    empty = {"A": (tmp_path / "nowhere", Config())}
    assert figures.figure4(empty, 2, tmp_path / "no.png") is None
    assert figures.figure5(empty, tmp_path / "no.png") is None
    assert not (tmp_path / "no.png").exists()
