"""CT of masks that somebody painted: what the networks give, in the files' own kind, and refusals by file and place."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from trained_run import make_run

import tsgan_jax
from tsgan_jax.cli import translate as command
from tsgan_jax.errors import UserError
from tsgan_jax.generation.generate import set_key
from tsgan_jax.generation.painted import mask_files
from tsgan_jax.images import read_hu, read_png, to_uint8, write_colours


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted") / "run"
    make_run(folder)
    return folder


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 6, (3, 16, 16)).astype(np.uint8)


def write_nifti(path: Path, masks: np.ndarray, axes: str = "LPS") -> sitk.Image:
    image = sitk.GetImageFromArray(masks)
    image.SetSpacing((2.5, 2.5, 5.0))
    image.SetOrigin((-20.0, -15.5, 30.0))
    image = sitk.DICOMOrient(image, axes)
    sitk.WriteImage(image, str(path))
    return image


def test_png_and_nifti_give_what_the_networks_give(run: Path, masks: np.ndarray, tmp_path: Path) -> None:
    given = tmp_path / "masks"
    given.mkdir()
    Image.fromarray(masks[0]).save(given / "grey.png")
    write_colours(given / "indexed.png", masks[0])
    image = write_nifti(given / "left.nii.gz", masks.astype(np.float32), "RAI")
    (given / "notes.txt").write_text("mine")
    assert command.main(["--run", str(run), "--masks", str(given), "--out", str(tmp_path / "ct"), "--seed", "3"]) == 0
    networks = tsgan_jax.load_run(run, say=lambda line: None)
    expected = np.rint(networks.ct(masks, set_key(3, "ct"))).astype(np.int16)
    for name in ("grey.png", "indexed.png"):
        np.testing.assert_array_equal(read_hu(tmp_path / "ct" / "hu" / name), expected[0])
        shown = to_uint8(expected[0], networks.trained.config.data.hu_window)
        np.testing.assert_array_equal(read_png(tmp_path / "ct" / "images" / name), shown)
    made = sitk.ReadImage(str(tmp_path / "ct" / "nifti" / "left.nii.gz"))
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(made, part)(), getattr(image, part)(), atol=1e-5)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.DICOMOrient(made, "LPS")), expected)


def test_other_sizes_are_resized_only_when_told(
    run: Path, masks: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "big.nii.gz"
    image = write_nifti(path, masks.repeat(2, axis=1).repeat(2, axis=2))
    arguments = ["--run", str(run), "--masks", str(path), "--out", str(tmp_path / "ct")]
    assert command.main(arguments) == 2
    assert "big.nii.gz: 32 x 32 pixels, the network has 16 x 16; resize" in capsys.readouterr().err
    assert command.main([*arguments[:-1], str(tmp_path), "--resize"]) == 2
    assert f"{tmp_path}: has files; choose a new folder" in capsys.readouterr().err
    assert command.main([*arguments, "--resize"]) == 0
    assert "resized by nearest neighbour" in capsys.readouterr().out
    made = sitk.ReadImage(str(tmp_path / "ct" / "nifti" / "big.nii.gz"))
    expected = np.rint(tsgan_jax.load_run(run, say=lambda line: None).ct(masks, set_key(0, "ct")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), expected)
    for corner in ((-0.5, -0.5, 0.0), (15.5, 15.5, 2.0)):  # it fills the space of the mask
        at = (2 * corner[0] + 0.5, 2 * corner[1] + 0.5, corner[2])
        np.testing.assert_allclose(
            made.TransformContinuousIndexToPhysicalPoint(corner),
            image.TransformContinuousIndexToPhysicalPoint(at),
            atol=1e-4,
        )


def test_what_is_no_mask_is_refused_with_file_value_and_place(masks: np.ndarray, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(UserError) as error:
            mask_files(path, side=16)
        return str(error.value)

    wrong = masks.copy()
    wrong[2, 5, 9] = 255
    Image.fromarray(wrong[2]).save(tmp_path / "wrong.png")
    assert "wrong.png: class code 255 at row 5, column 9 is unknown" in refused(tmp_path / "wrong.png")
    write_nifti(tmp_path / "wrong.nii.gz", wrong)
    assert "wrong.nii.gz: class code 255 at slice 2, row 5, column 9" in refused(tmp_path / "wrong.nii.gz")
    write_nifti(tmp_path / "soft.nii.gz", masks / np.float32(2))
    assert "soft.nii.gz: values that are not whole" in refused(tmp_path / "soft.nii.gz")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "rgb.png")
    assert "rgb.png: a PNG of mode RGB, expected L or P" in refused(tmp_path / "rgb.png")
    Image.fromarray(np.zeros((16, 12), np.uint8)).save(tmp_path / "wide.png")
    assert "masks must be square" in refused(tmp_path / "wide.png")
    assert "does not exist" in refused(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "holds no masks" in refused(tmp_path / "empty")
    Image.fromarray(masks[0]).save(tmp_path / "empty" / "a.png")
    Image.fromarray(masks[0]).save(tmp_path / "empty" / "a.PNG")
    assert "would give CT of the same name" in refused(tmp_path / "empty")
