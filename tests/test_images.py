"""HU windows are invertible inside; what is written is what is read, and damaged or foreign files are named."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tsgan_jax import images
from tsgan_jax.errors import UserError
from tsgan_jax.images import to_hu, to_uint8, to_unit
from tsgan_jax.labels import NUM_CLASSES, PALETTE

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=17)


@given(hu=hnp.arrays(np.int16, SHAPES))
@settings(max_examples=25, deadline=None)
def test_hu_survives_sixteen_bits(tmp_path_factory, hu):
    path = tmp_path_factory.mktemp("hu") / "a.png"
    images.write_hu(path, hu)
    assert np.array_equal(images.read_hu(path), np.clip(hu, -1024, 3071))


def test_hu_file_is_sixteen_bit_grey_of_hu_plus_1024(tmp_path):
    images.write_hu(tmp_path / "a.png", np.array([[-1024, -1000, 0, 3071]], np.int16))
    header = (tmp_path / "a.png").read_bytes()[:26]
    assert header[24:26] == bytes([16, 0])  # PNG's bit depth and colour type
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).tolist() == [[0, 24, 1024, 4095]]


@given(mask=hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, NUM_CLASSES - 1)))
@settings(max_examples=25, deadline=None)
def test_masks_survive_as_grey_codes_and_in_colours(tmp_path_factory, mask):
    grey, coloured = (tmp_path_factory.mktemp("mask") / name for name in ("a.png", "b.png"))
    images.write_mask(grey, mask)
    images.write_colours(coloured, mask)
    for path in (grey, coloured):
        assert np.array_equal(images.read_mask(path), mask)
    with Image.open(grey) as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), mask)
    with Image.open(coloured) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), PALETTE[mask])


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_eight_bit_images_survive(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images.write_png(tmp_path / "a.png", image)
    assert np.array_equal(images.read_png(tmp_path / "a.png"), image)


def test_unknown_class_codes_are_refused_on_both_sides(tmp_path):
    with pytest.raises(ValueError, match="codes"):
        images.write_mask(tmp_path / "a.png", np.full((2, 2), 6, np.uint8))
    foreign = Image.fromarray(np.full((2, 2), 9, np.uint8))
    foreign.putpalette(bytes(768))
    foreign.save(tmp_path / "b.png")
    with pytest.raises(UserError, match="b.png: class code 9"):
        images.read_mask(tmp_path / "b.png")


def test_wrong_kinds_of_array_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        images.write_png(tmp_path / "a.png", np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="whole HU"):
        images.write_hu(tmp_path / "a.png", np.zeros((2, 2), np.float32))
    assert not list(tmp_path.iterdir())


def test_a_png_of_another_kind_is_refused(tmp_path):
    images.write_png(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    images.write_png(tmp_path / "b.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match="mode L"):
        images.read_hu(tmp_path / "a.png")
    with pytest.raises(UserError, match="mode RGB"):
        images.read_mask(tmp_path / "b.png")


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing"])
def test_a_damaged_png_is_named(tmp_path, damage):
    path = tmp_path / "a.png"
    images.write_hu(path, np.random.default_rng(0).integers(-1000, 400, (32, 32)).astype(np.int16))
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"not a png", "missing": b""}[damage])
    if damage == "missing":
        path.unlink()
    with pytest.raises(UserError, match="a.png"):
        images.read_hu(path)


WINDOW = (-1000.0, 400.0)


@given(st.integers(-1000, 400))
def test_hounsfield_units_survive_the_round_trip(hu: int) -> None:
    unit = to_unit(np.array(hu, np.int16), WINDOW)
    assert unit.dtype == np.float32 and -1 <= unit <= 1
    assert np.rint(to_hu(unit, WINDOW)) == hu


def test_edges_and_beyond() -> None:
    hu = np.array([-3024, -1000, -300, 400, 3071], np.int16)
    np.testing.assert_allclose(to_unit(hu, WINDOW), [-1, -1, 0, 1, 1], atol=1e-7)
    np.testing.assert_array_equal(to_uint8(hu, WINDOW), [0, 0, 128, 255, 255])


@given(st.integers(0, 255))
def test_eight_bits_are_the_window_in_256_steps(grey: int) -> None:
    hu = grey * 1400 / 255 - 1000
    assert to_uint8(np.array(hu), WINDOW) == grey
