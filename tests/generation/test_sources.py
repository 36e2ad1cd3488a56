"""Sets on masks of real slices: unchanged and mirrored, or deformed (A39, A40)."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation.chests import PIXEL_MM, chests
from tsgan_jax import images, labels
from tsgan_jax.config import Config
from tsgan_jax.data import pipeline
from tsgan_jax.errors import UserError
from tsgan_jax.generation.generate import generate, masks_of
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.runs import TrainedRun, fingerprint
from tsgan_jax.generation.sources import deformed_masks, real_masks
from tsgan_jax.masks.deform import Deformer
from tsgan_jax.translation.api import Translator

SETTINGS = {"window": (-1000.0, 400.0), "pixel_mm": 1.0, "seed": 5}
GREY = Translator(dict, lambda state, batch: (state, {}), lambda state, masks, keys: masks / 5 * state["level"])
STATE = {"level": jnp.float32(0.5)}


@pytest.fixture
def real():
    """Drawn chests; the last one has no nodule."""
    slices = chests(range(5))
    slices.mask[4][slices.mask[4] == labels.NODULE] = labels.LEFT_LUNG
    return slices


def tree(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_real_masks_are_each_slices_own_then_mirrored(real, tmp_path):
    count = 2 * 4 + 1
    generate(real_masks(real, 5), GREY, STATE, count=count, out=tmp_path, batch_size=4, **SETTINGS)
    manifest = read_manifest(tmp_path)
    made = manifest["made_from"]
    assert (made["masks"]["usable"], made["masks"]["refused"]) == (4, 1)
    assert made["masks"]["slices"] == fingerprint((real.ct, real.mask))
    assert "truncation" not in made and "masks" not in made["weights"]
    found = [record["mask_of"] for record in manifest["images"]]
    assert sorted(one["seriesuid"] for one in found[:4]) == [f"scan{i:04d}" for i in range(4)]
    assert [one["seriesuid"] for one in found[4:8]] == [one["seriesuid"] for one in found[:4]]
    assert [(one["mirrored"], one["round"]) for one in found] == [(False, 0)] * 4 + [(True, 1)] * 4 + [(False, 2)]
    for record, of in zip(manifest["images"], found, strict=True):
        mask = real.mask[real.seriesuid.index(of["seriesuid"])]
        expected = labels.MIRROR[mask[:, ::-1]] if of["mirrored"] else mask
        assert np.array_equal(images.read_mask(tmp_path / "masks" / record["file_name"]), expected)
        assert record["pixel_mm"] == PIXEL_MM  # the slice's own, not the set's
    assert manifest["objects"] == count


def test_real_masks_of_another_seed_are_the_same_in_another_order(real):
    first, other = ([real_masks(real, seed).facts(i)["mask_of"]["seriesuid"] for i in range(4)] for seed in (0, 1))
    assert first != other and sorted(first) == sorted(other)


def test_no_usable_real_mask_is_refused(real):
    real.mask[:] = labels.BODY
    with pytest.raises(UserError, match="none of the 5 training masks passes the plausibility gate"):
        real_masks(real, 0)


def test_deformed_masks_are_the_deformers_own(real, tmp_path):
    """A set names the slice of each mask, and any batch size gives the same one."""
    count = 2 * 5 + 1
    for batch_size in (1, 4):
        out = tmp_path / str(batch_size)
        generate(deformed_masks(real, 5), GREY, STATE, count=count, out=out, batch_size=batch_size, **SETTINGS)
    assert tree(tmp_path / "1") == tree(tmp_path / "4")
    manifest = read_manifest(tmp_path / "4")
    made = manifest["made_from"]["masks"]
    assert (made["kind"], made["usable"], made["refused"]) == ("deform", 5, 0)  # a chest without nodules is a chest
    assert made["slices"] == fingerprint((real.ct, real.mask)) and made["warp"]["knots"] > 1
    assert "truncation" not in manifest["made_from"] and "masks" not in manifest["made_from"]["weights"]
    found = [record["mask_of"] for record in manifest["images"]]
    assert sorted(one["seriesuid"] for one in found[:5]) == [f"scan{i:04d}" for i in range(5)]
    assert [one["seriesuid"] for one in found[5:10]] == [one["seriesuid"] for one in found[:5]]
    assert [one["round"] for one in found] == [0] * 5 + [1] * 5 + [2]
    deformer = Deformer.of_masks(real.mask, real.pixel_mm)
    for index, record in enumerate(manifest["images"]):
        mask = images.read_mask(tmp_path / "4" / "masks" / record["file_name"])
        assert np.array_equal(mask, deformer.draw(5, record["attempt"], index))
        assert record["pixel_mm"] == PIXEL_MM


def test_a_deformed_mask_has_the_pixel_of_its_slice(real):
    real.pixel_mm[:] = 4.0 + np.arange(5)
    masks = deformed_masks(real, 3)
    for index in range(7):
        slice_of = real.seriesuid.index(masks.facts(index)["mask_of"]["seriesuid"])
        assert masks.pixel_mm(index) == real.pixel_mm[slice_of]


def test_deformed_masks_do_not_depend_on_what_is_drawn_with_them(real):
    masks = deformed_masks(real, 0)
    whole = masks.draw(2, list(range(8)))
    assert np.array_equal(masks.draw(2, [6, 1]), whole[[6, 1]])
    assert not np.array_equal(masks.draw(3, [6])[0], whole[6])
    assert not np.array_equal(deformed_masks(real, 1).draw(2, [6])[0], whole[6])


def test_nothing_to_deform_is_refused(real):
    real.mask[real.mask == labels.NODULE] = labels.LEFT_LUNG
    with pytest.raises(UserError, match="none of the 5 training masks has a nodule of 3 to 30 mm"):
        deformed_masks(real, 0)
    real.mask[:] = labels.BODY
    with pytest.raises(UserError, match=r"none of the 5 training masks passes the .* gate.*data\.resolution"):
        deformed_masks(real, 0)


@pytest.mark.parametrize(("kind", "expected"), [("deform", deformed_masks), ("real", real_masks)])
def test_a_run_says_where_its_masks_come_from(real, monkeypatch, kind, expected):
    asked = []
    monkeypatch.setattr(pipeline, "load", lambda config, folds: asked.append(folds) or real)
    config = Config(generation={"masks": kind})
    assert config.stages == ("translation",) and config.system.startswith("dl_pix2pix (")
    trained = TrainedRun(config, None, None, None, 1.0, {}, ())
    masks = masks_of(trained, 3, None)
    assert masks.made_from == expected(real, 3).made_from
    assert asked == [pipeline.training_folds(config.data)]
    with pytest.raises(UserError, match=f"generation.masks is {kind}"):
        masks_of(trained, 3, 0.5)
