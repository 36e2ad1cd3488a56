"""bin/show: what its pictures show."""

import shutil

import numpy as np
import pytest
from PIL import Image

import tsgan_jax
from tsgan_jax.cli import show
from tsgan_jax.generation import pictures
from tsgan_jax.generation.generate import set_key
from tsgan_jax.labels import PALETTE


@pytest.fixture(scope="module")
def networks(trained):
    return tsgan_jax.load_run(trained)


def coloured(masks):
    factor = -(-pictures.SIDE // masks.shape[1])
    return PALETTE[masks].repeat(factor, axis=1).repeat(factor, axis=2)


def left_halves(tiles):
    return np.stack([tile[:, : tile.shape[1] // 2] for tile in tiles])


def test_mixing_has_the_images_themselves_at_its_edges(networks):
    drawn = coloured(networks.masks(set_key(3, "masks"), range(2 * pictures.MIXED), 1.0))
    corner, *top = pictures.mixing(networks, 3, 1.0)[0]
    sides, *mixed = zip(*pictures.mixing(networks, 3, 1.0)[1:], strict=True)
    assert corner is None
    assert (left_halves([*sides, *top]) == drawn).all()
    assert all((left_halves(column) != drawn[: pictures.MIXED]).any() for column in mixed)


def test_a_sweep_has_the_images_themselves_at_1(networks):
    drawn = coloured(networks.masks(set_key(3, "masks"), range(pictures.SWEPT), 1.0))
    columns = dict(zip(pictures.TRUNCATIONS, zip(*pictures.sweep(networks, 3), strict=True), strict=True))
    assert (left_halves(columns[1.0]) == drawn).all()
    assert (left_halves(columns[0.0]) != drawn).any()


def test_a_walk_passes_the_images(networks):
    drawn = coloured(networks.masks(set_key(3, "masks"), range(pictures.STOPS), 1.0))
    frames = pictures.walk(networks, 3, 1.0)
    assert (left_halves(frames[:: pictures.FRAMES]) == drawn).all()
    grey = frames[0][:, frames[0].shape[1] // 2 :]
    assert (grey == grey[..., :1]).all()  # CT


def test_the_command_writes_them(trained, tmp_path, capsys):
    assert show.main(["--run", str(trained), "--out", str(tmp_path / "new" / "pictures")]) == 0
    names = ["walk.gif", "walk.png", "mixing.png", "truncation.png"]
    paths = [tmp_path / "new" / "pictures" / name for name in names]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    for path in paths:
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) == (pictures.STOPS * pictures.FRAMES if path.suffix == ".gif" else 1)


def test_a_run_without_stage_1_is_refused(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("masks: stylegan", "masks: real"))
    assert show.main(["--run", str(run), "--out", str(tmp_path / "pictures")]) == 2
    assert "the run has no stage 1 to draw masks from" in capsys.readouterr().err
