"""Networks for use from Python give what the command writes."""

import jax
import numpy as np
import pytest

import tsgan_jax
from tsgan_jax.errors import UserError
from tsgan_jax.generation import candidates
from tsgan_jax.generation.generate import generate_run
from tsgan_jax.images import read_hu, read_mask
from tsgan_jax.masks.plausibility import Verdict
from tsgan_jax.masks.sample import sample_masks


@pytest.fixture
def every_other(monkeypatch):
    """A gate that refuses a mask by a property of its own, so that some images take several attempts."""

    def check(mask, pixel_mm):
        odd = int(mask.sum()) % 2 == 1
        return Verdict(not odd, ("odd",) * odd)

    monkeypatch.setattr(candidates, "check", check)


def test_pairs_are_the_images_of_the_set(trained, tmp_path, every_other):
    summary = generate_run(trained, 8, tmp_path / "set", seed=3, say=lambda line: None)
    assert summary.accepted and summary.reasons
    pairs = tsgan_jax.load_run(trained, say=lambda line: None).pairs(seed=3, indices=range(8))
    assert len(pairs.masks) == summary.accepted
    for index, mask, ct in zip(pairs.indices, pairs.masks, pairs.ct, strict=True):
        np.testing.assert_array_equal(mask, read_mask(tmp_path / "set" / "masks" / f"{index:06d}.png"))
        np.testing.assert_array_equal(np.round(ct), read_hu(tmp_path / "set" / "hu" / f"{index:06d}.png"))
    some = tsgan_jax.load_run(trained, say=lambda line: None).pairs(seed=3, indices=pairs.indices[[1, 0]].tolist())
    np.testing.assert_array_equal(some.ct, pairs.ct[[1, 0]])


def test_masks_and_ct_are_functions_of_keys(trained):
    networks = tsgan_jax.load_run(trained, say=lambda line: None)
    masks = networks.masks(jax.random.key(1), [4, 9])
    np.testing.assert_array_equal(masks, sample_masks(networks.trained.generator, jax.random.key(1), [4, 9], 1.0))
    ct = networks.ct(masks, jax.random.key(2))
    assert ct.shape == masks.shape and ct.dtype == np.float32
    assert not np.array_equal(networks.ct(masks, jax.random.key(3)), ct)


def test_a_place_without_networks_is_refused():
    with pytest.raises(UserError, match="no network is called 'nowhere'"):
        tsgan_jax.load_run("nowhere")
