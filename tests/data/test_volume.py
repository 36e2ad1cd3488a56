"""A volume is read right or refused: geometry against ITK over all orientations, and every fault by its name."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from luna16_trees import chest, write_mhd

from tsgan_jax.data.metaimage import VolumeError, read_image
from tsgan_jax.data.volume import Volume, read_labels, read_volume

ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def matrix(order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    direction = np.zeros((3, 3))
    direction[order, range(3)] = signs
    return direction


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_lands_where_itk_says(tmp_path: Path, order: tuple, signs: tuple) -> None:
    """T23: a world point has the same value in our array as in ITK's image, whatever the file's axes."""
    rng = np.random.default_rng(0)
    voxels = chest((5, 6, 7)) + rng.integers(0, 50, (5, 6, 7)).astype(np.int16)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-31.5, 12.25, 140.0))
    image.SetDirection(matrix(order, signs).ravel().tolist())
    path = tmp_path / "scan.mhd"
    sitk.WriteImage(image, str(path), useCompression=True)

    volume = read_volume(path, tmp_path)
    for index in np.ndindex(*image.GetSize()):
        point = image.TransformIndexToPhysicalPoint(index)
        x, y, z = volume.voxel(point)
        np.testing.assert_allclose((x, y, z), np.rint((x, y, z)), atol=1e-6)
        assert volume.hu[round(z), round(y), round(x)] == image[index]


@given(
    spacing=st.tuples(*[st.floats(0.2, 10)] * 3),
    origin=st.tuples(*[st.floats(-5000, 5000)] * 3),
    point=st.tuples(*[st.floats(-5000, 5000)] * 3),
)
def test_a_points_voxel_is_counted_from_the_origin_in_spacings(spacing: tuple, origin: tuple, point: tuple) -> None:
    volume = Volume("scan", np.zeros((1, 1, 1), np.int16), spacing, origin, 0)
    np.testing.assert_allclose(volume.voxel(point) * spacing[::-1] + origin, point, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("compressed", [True, False])
def test_raw_and_zraw_read_as_itk_reads_them(tmp_path: Path, dtype: type, compressed: bool) -> None:
    path = write_mhd(tmp_path / "a b é.mhd", chest().astype(dtype), compressed=compressed)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    volume = read_volume(path, tmp_path)
    np.testing.assert_array_equal(volume.hu, expected)
    assert volume.hu.dtype == np.int16 and volume.spacing == (2.0, 1.0, 1.0) and volume.origin == (-30.0, -20.0, 5.0)


def test_big_endian_voxels(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "a.mhd", chest().astype(">i2"), BinaryDataByteOrderMSB="True")
    np.testing.assert_array_equal(read_volume(path, tmp_path).hu, chest())


def test_padding_and_metal_are_clamped_and_counted(tmp_path: Path) -> None:
    hu = chest()
    hu[0, 0, :5], hu[0, 1, :3] = -3024, 9000
    volume = read_volume(write_mhd(tmp_path / "a.mhd", hu), tmp_path)
    assert volume.overflow == 3
    assert (volume.hu.min(), volume.hu.max()) == (-1024, 3071)


@pytest.mark.parametrize("padding", [None, -2000])
def test_stored_values_without_rescale_are_refused(tmp_path: Path, padding: int | None) -> None:
    stored = chest() + np.int16(1024)
    if padding is not None:
        stored[:, :6] = padding
    with pytest.raises(VolumeError, match="rescale"):
        read_volume(write_mhd(tmp_path / "a.mhd", stored), tmp_path)


def test_unsigned_stored_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="rescale"):
        read_volume(write_mhd(tmp_path / "a.mhd", (chest() + 1024).astype(np.uint16)), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ElementSpacing": "nan 1 1"}, "ElementSpacing = nan 1 1"),
        ({"ElementSpacing": "1 1 inf"}, "ElementSpacing"),
        ({"ElementSpacing": "-0.7 0.7 1"}, "ElementSpacing = -0.7"),
        ({"ElementSpacing": "1e-9 1 1"}, "0.2 to 10"),
        ({"ElementSpacing": "0 1 1"}, "0.2 to 10"),
        ({"ElementSpacing": "1 1"}, "expected 3"),
        ({"ElementSpacing": ""}, "ElementSpacing is missing"),
        ({"Offset": "nan 0 0"}, "Offset = nan"),
        ({"Offset": "1e30 0 0"}, "Offset"),
        ({"Offset": ""}, "no Offset"),
        ({"Position": "1 2 3"}, "Offset and Position"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0 2"}, "orthonormal"),
        ({"TransformMatrix": "1 0 0 0 nan 0 0 0 1"}, "TransformMatrix"),
        ({"TransformMatrix": "0.8 0.6 0 -0.6 0.8 0 0 0 1"}, "oblique"),
        ({"DimSize": "64 48"}, "DimSize"),
        ({"DimSize": "64 48 -6"}, "DimSize"),
        ({"DimSize": "64 48 7"}, "needs"),
        ({"DimSize": "64 48 5"}, "more than"),
        ({"DimSize": "8192 8192 8192"}, "needs"),
        ({"ElementType": "MET_INT"}, "needs"),
        ({"ElementType": "MET_BANANA"}, "MET_BANANA"),
        ({"NDims": "4"}, "NDims = 4"),
        ({"ElementNumberOfChannels": "3"}, "channel"),
        ({"HeaderSize": "512"}, "HeaderSize"),
        ({"BinaryData": "False"}, "BinaryData"),
        ({"CompressedData": "Perhaps"}, "CompressedData"),
        ({"CompressedDataSize": "12"}, "CompressedDataSize = 12"),
        ({"CompressedDataSize": "x"}, "CompressedDataSize"),
        ({"ElementDataFile": "LIST"}, "LIST"),
        ({"ElementDataFile": "LOCAL"}, "LOCAL"),
        ({"ElementDataFile": "a%03d.raw 1 6 1"}, "a%03d"),
        ({"ElementDataFile": "/etc/passwd"}, "out of the tree"),
        ({"ElementDataFile": "../secret.raw"}, "out of the tree"),
        ({"ElementDataFile": "absent.zraw"}, "absent.zraw does not exist"),
    ],
)
def test_bad_headers_are_refused_by_name(tmp_path: Path, fields: dict, message: str) -> None:
    (tmp_path / "secret.raw").write_bytes(chest().tobytes())
    path = write_mhd(tmp_path / "tree" / "a.mhd", chest(), **fields)
    with pytest.raises(VolumeError, match=message) as caught:
        read_volume(path, tmp_path / "tree")
    assert "a.mhd" in str(caught.value) or "a.zraw" in str(caught.value)


def test_lines_that_are_no_header_are_refused(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "a.mhd", chest())
    for text, message in [
        ("NDims = 3\nNDims = 3\n" + path.read_text(), "twice"),
        ("what is this\n" + path.read_text(), "line 1"),
        (path.read_text() + "NDimensions = 3\n", "last line"),
        ("A = b\n" * 20_000, "longer than"),
    ]:
        path.write_text(text)
        with pytest.raises(VolumeError, match=message):
            read_image(path, tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VolumeError, match="not text"):
        read_image(path, tmp_path)


@pytest.mark.parametrize("position", [0.1, 0.5, 0.99])
def test_one_flipped_bit_in_a_zraw_is_noticed(tmp_path: Path, position: float) -> None:
    """SimpleITK returns wrong voxels for it, without an exception."""
    rng = np.random.default_rng(1)
    path = write_mhd(tmp_path / "a.mhd", chest() + rng.integers(0, 30, chest().shape).astype(np.int16))
    data = bytearray(path.with_suffix(".zraw").read_bytes())
    data[int(len(data) * position)] ^= 0x10
    path.with_suffix(".zraw").write_bytes(data)
    with pytest.raises(VolumeError, match="a.zraw"):
        read_volume(path, tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("change", [-7, 7])
def test_short_and_long_data_files_are_noticed(tmp_path: Path, compressed: bool, change: int) -> None:
    path = write_mhd(tmp_path / "a.mhd", chest(), compressed=compressed, CompressedDataSize="")
    data = path.with_suffix(".zraw" if compressed else ".raw")
    content = data.read_bytes()
    data.write_bytes(content[:change] if change < 0 else content + b"0" * change)
    with pytest.raises(VolumeError, match=data.name):
        read_volume(path, tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A stream that would fill the memory is read only as far as its header allows."""
    path = write_mhd(tmp_path / "a.mhd", np.zeros((64, 1024, 1024), np.uint8), DimSize="8 8 1", ElementType="MET_SHORT")
    with pytest.raises(VolumeError, match="more than 128"):
        read_image(path, tmp_path)


@pytest.mark.parametrize("name", ["scan.mhd", "scan.zraw"])
def test_links_out_of_the_tree_are_refused(tmp_path: Path, name: str) -> None:
    path = write_mhd(tmp_path / "tree" / "scan.mhd", chest())
    (path.parent / name).rename(tmp_path / name)
    (path.parent / name).symlink_to(tmp_path / name)
    with pytest.raises(VolumeError, match="outside the tree"):
        read_volume(path, tmp_path / "tree")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    voxels = chest().astype(np.float32)
    voxels[1, 2, 3] = np.nan
    with pytest.raises(VolumeError, match="not finite"):
        read_volume(write_mhd(tmp_path / "a.mhd", voxels), tmp_path)


def test_labels_follow_the_scan_or_are_refused(tmp_path: Path) -> None:
    """A mask with flipped axes over the same space matches; one of another size or place does not."""
    volume = read_volume(write_mhd(tmp_path / "a.mhd", chest()), tmp_path)
    mask = (chest() == -850).astype(np.uint8)
    mask[0, 0, 0] = 5
    flipped = write_mhd(
        tmp_path / "m.mhd",
        np.ascontiguousarray(mask[:, :, ::-1]),
        origin=(-30.0 + 63, -20.0, 5.0),
        TransformMatrix="-1 0 0 0 1 0 0 0 1",
    )
    np.testing.assert_array_equal(read_labels(flipped, tmp_path, volume), mask)
    for other in (
        write_mhd(tmp_path / "b.mhd", mask[:-1]),
        write_mhd(tmp_path / "c.mhd", mask, origin=(0.0, 0.0, 0.0)),
        write_mhd(tmp_path / "d.mhd", mask, spacing=(1.0, 1.0, 3.0)),
    ):
        with pytest.raises(VolumeError, match="differ"):
            read_labels(other, tmp_path, volume)
