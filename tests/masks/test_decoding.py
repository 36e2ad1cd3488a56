"""The decoding that is exported equals the one that sets are made with."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from tsgan_jax.config import MasksConfig
from tsgan_jax.labels import NODULE, TRACHEA
from tsgan_jax.masks import calibration, distance
from tsgan_jax.masks.calibration import Calibration, Objects
from tsgan_jax.masks.decoding import decoder
from tsgan_jax.masks.representation import representation_of

SIDE = 64


def smooth(count, resolution, channels, seed=0):
    """Maps float32 [count, r, r, channels] in [-1, 1] with hills of several sizes, at the frame too."""
    noise = np.random.default_rng(seed).normal(size=(count, resolution, resolution, channels))
    hills = ndimage.gaussian_filter(noise, (0, resolution / 12, resolution / 12, 0), mode="wrap")
    return np.tanh(2 * hills / hills.std()).astype(np.float32)


@pytest.mark.parametrize("resolution", [SIDE, SIDE // 2])
@pytest.mark.parametrize("representation", ["distance", "one_hot"])
def test_maps_as_they_are(representation, resolution):
    config = MasksConfig(resolution=SIDE, representation=representation)
    rules = representation_of(config)
    maps = smooth(12, resolution, rules.channels)
    masks = np.asarray(jax.jit(decoder(config, None))(maps))
    assert masks.dtype == np.uint8 and set(np.unique(masks)) >= {1, 2, 3, TRACHEA, NODULE}
    np.testing.assert_array_equal(masks, rules.decode(maps, SIDE))


def test_maps_with_calibrated_objects():
    """Small and large objects, some of them next to each other or cut by the frame, none in some masks."""
    maps = smooth(48, SIDE // 2, len(distance.CHANNELS))
    real = {
        NODULE: Objects((0.7, 0.5, 0.3), tuple(np.linspace(2, 160, 33) / SIDE**2), (-1.0, -0.5, -1.0), depth=0.2),
        TRACHEA: Objects((0.8, 0.4), tuple(np.linspace(9, 60, 33) / SIDE**2), spread=0.3),
    }
    rules = calibration.calibrate(maps, SIDE, real)
    more = smooth(24, SIDE // 2, len(distance.CHANNELS), seed=1)
    config = MasksConfig(resolution=SIDE, representation="distance")
    masks = np.asarray(jax.jit(decoder(config, rules))(more))
    assert 0 < (masks == NODULE).any(axis=(1, 2)).mean() < 1
    np.testing.assert_array_equal(masks, calibration.decode(more, SIDE, rules))


def test_a_peak_between_higher_hills_does_not_take_the_ground_round_it():
    """Its highest pixels are the hills', not itself."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    hills = [0.9 - 0.01 * np.hypot(rows - 32, columns - at) for at in (17, 47)]
    channel = np.where(hills[0] > 0.78, hills[0], np.where(hills[1] > 0.78, hills[1], -0.5))
    channel[32, 32] = 0.25
    maps = np.full((1, SIDE, SIDE, len(distance.CHANNELS)), 0.5, np.float32)
    maps[0, ..., -1] = channel
    areas = (160 / SIDE**2,) * 2
    rules = {NODULE: Calibration(Objects((1.0,) * 3, areas), 0.0, (-1.0,) * 3, (0.0, 1.0))}
    masks = calibration.decode(maps, SIDE, rules)
    assert (masks == NODULE).sum() == 320 and masks[0, 32, 32] != NODULE
    config = MasksConfig(resolution=SIDE, representation="distance")
    np.testing.assert_array_equal(decoder(config, rules)(maps), masks)
