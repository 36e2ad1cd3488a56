"""What keeps nodules and trachea from being lost or misplaced while resolutions fade in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax import labels
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.masks.small_objects import class_scale, crisp, inner, placed
from tsgan_jax.masks.synthesis import TYPICAL_SHARES, layer_noise, synthesis_of

from .tiny import tiny


def test_crisp_labels_keep_a_nodule_that_fills_a_third_of_a_pixel():
    shares = np.zeros((1, 5, 5, 6), np.float32)
    shares[..., labels.BODY] = 1
    shares[0, 1, 1] = np.eye(6)[labels.NODULE]
    shares[0, 1, 2] = 0, 0, 0.7, 0, 0, 0.3
    shares[0, 1, 3] = 0, 0, 0.8, 0, 0, 0.2
    shares[0, 3, 3] = 0, 0.6, 0.4, 0, 0, 0
    out = np.asarray(crisp(jnp.asarray(shares), 3.0))
    assert out.argmax(-1)[0, 1, 1:4].tolist() == [labels.NODULE, labels.NODULE, labels.LEFT_LUNG]
    assert out.argmax(-1)[0, 3, 3] == labels.BODY
    assert set(np.unique(out)) == {0.0, 1.0} and (out.sum(-1) == 1).all()


@pytest.mark.parametrize("code", [labels.NODULE, labels.TRACHEA])
@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_a_nodule_or_trachea_of_one_pixel_is_one_pixel_at_every_resolution(resolution, code):
    """Where it was; and two far apart stay two."""
    mask = np.full((1, 64, 64), labels.LEFT_LUNG)
    places = [(5, 9), (50, 40)]
    for row, column in places:
        mask[0, row, column] = code
    side = 64 // resolution
    shares = np.eye(6, dtype=np.float32)[mask].reshape(1, resolution, side, resolution, side, 6).mean((2, 4))
    small = np.asarray(crisp(jnp.asarray(shares), 3.0))[0, ..., code]
    assert sorted(zip(*np.nonzero(small), strict=True)) == [(row // side, column // side) for row, column in places]


@pytest.mark.parametrize("weight", [1.0, 3.0, 10.0])
def test_crisp_leaves_hard_labels_alone(weight):
    hard = np.eye(6, dtype=np.float32)[np.random.default_rng(0).integers(0, 6, (2, 8, 8))]
    np.testing.assert_array_equal(np.asarray(crisp(jnp.asarray(hard), weight)), hard)


@pytest.mark.parametrize(("side", "left"), [(4, 4), (8, 8), (16, 14), (64, 56)])
def test_classes_are_asked_for_away_from_the_edge(side, left):
    shares = np.zeros((1, side, side, 6), np.float32)
    shares[0, side // 2, side // 2, labels.NODULE] = 1
    shares[0, :, [0, -1], labels.NODULE] = side > 8
    assert inner(shares).shape == (1, left, left, 6) and inner(shares)[..., labels.NODULE].sum() == 1


@pytest.mark.parametrize("side", [32, 64, 128])
def test_a_nodule_counts_near_a_lung_and_as_body_elsewhere(side):
    """A nodule of 30 mm amid a lung and one on its edge count, one on the skin, 25 mm from the lung, does not."""
    mm = 340 / side
    rows, columns = (np.indices((side, side)) + 0.5) * mm
    mask = np.where(np.hypot(rows - 170, columns - 170) < 140, labels.BODY, labels.BACKGROUND)
    mask[np.hypot(rows - 170, columns - 120) < 60] = labels.RIGHT_LUNG

    def with_disc(row, column, radius):
        disc = np.hypot(rows - row, columns - column) < radius
        return jax.nn.one_hot(np.where(disc, labels.NODULE, mask)[None], labels.NUM_CLASSES)

    for inside in (with_disc(170, 120, 15), with_disc(110, 120, 8)):
        np.testing.assert_array_equal(placed(inside), inside)
    on_the_skin = with_disc(170, 305, 8)
    assert on_the_skin[..., labels.NODULE].sum() > 0
    counted = np.asarray(placed(on_the_skin))
    assert counted[..., labels.NODULE].sum() == 0 and (counted.sum(-1) == 1).all()
    skin = np.asarray(on_the_skin)[..., [labels.BODY, labels.NODULE]].sum(-1)
    np.testing.assert_array_equal(counted[..., labels.BODY], skin)


def test_lungs_are_not_asked_to_come_to_a_nodule():
    shares = jax.nn.softmax(jax.random.normal(jax.random.key(0), (1, 16, 16, 6)))
    slope = jax.grad(lambda x: placed(x)[..., labels.NODULE].sum())(shares)
    assert (slope[..., labels.NODULE] > 0).all() and (slope[..., : labels.NODULE] == 0).all()


@pytest.mark.parametrize("side", [32, 64, 128])
def test_trachea_counts_between_the_lungs_and_as_body_elsewhere(side):
    """A disc of 16 mm in the mediastinum counts; amid a lung, or beside a nodule in one, it does not."""
    mm = 340 / side
    x, y = np.meshgrid(*[(np.arange(side) + 0.5) * mm] * 2)

    def with_disc(column, *more):
        mask = np.full((side, side), labels.BODY)
        mask[abs(x - 85) < 50], mask[abs(x - 255) < 50] = labels.RIGHT_LUNG, labels.LEFT_LUNG
        for code, at in ((labels.TRACHEA, column), *more):
            mask[(x - at) ** 2 + (y - 170) ** 2 < 8**2] = code
        return jnp.eye(6)[mask][None]

    between, inside = with_disc(170), with_disc(85)
    np.testing.assert_allclose(placed(between)[..., labels.TRACHEA], between[..., labels.TRACHEA])
    beside = with_disc(255, (labels.NODULE, 255 + 2 * 8))
    for shares in (inside, beside):
        assert shares[..., labels.TRACHEA].sum() > 0 and placed(shares)[..., labels.TRACHEA].sum() == 0
        np.testing.assert_array_equal(placed(shares).sum(-1), 1)


def test_contrast_scales_the_channels_named_only():
    assert class_scale({labels.NODULE: 4.0, labels.TRACHEA: 2.0}).tolist() == [1, 1, 1, 1, 2, 4]


def test_an_untrained_head_starts_near_the_typical_shares():
    config = MasksConfig(resolution=16, z_dim=16, w_dim=16, fmap_base=512, fmap_max=32, batch_size={4: 4, 8: 4, 16: 4})
    network = synthesis_of(config, plan(config)[-1])
    ws = jax.random.normal(jax.random.key(0), (16, 6, 16))
    noise = jax.vmap(lambda key: layer_noise(key, 16))(jax.random.split(jax.random.key(1), 16))
    params = network.init(jax.random.key(2), ws, noise, jnp.float32(1))
    mean = np.asarray(network.apply(params, ws, noise, jnp.float32(1))).mean((0, 1, 2))
    assert abs(TYPICAL_SHARES.sum() - 1) < 1e-6
    assert (mean[labels.NODULE] < 0.02) and (mean[labels.BACKGROUND] > 0.2)


@pytest.mark.parametrize("initial_noise", [0.0, 0.2, {4: 0.1, 8: 0.3, 16: 0.0}])
def test_noise_starts_as_loud_as_asked_for(initial_noise):
    config = tiny(resolution=16, initial_noise=initial_noise)
    params = stylegan(config, plan(config)[-1]).init(jax.random.key(0)).gen.params["synthesis"]
    for resolution in config.resolutions:
        asked = initial_noise[resolution] if isinstance(initial_noise, dict) else initial_noise
        for layer in range(2):
            assert (params[f"b{resolution}_style{layer}"]["noise"] == np.float32(asked)).all()
