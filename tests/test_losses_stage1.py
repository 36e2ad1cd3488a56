"""WGAN-GP with drift (Eq. 1 and 2; T5)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax import losses
from tsgan_jax.nn.resample import upsample

KEY = jax.random.key(0)
A = jnp.array([[3.0, 0.0], [0.0, 4.0]])  # norm 5


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_penalty_of_a_linear_critic_does_not_depend_on_the_batch(batch):
    x = jax.random.normal(KEY, (batch, 2, 2))
    penalty, norm = losses.gradient_penalty(lambda x: (x * A).sum(axis=(1, 2)), x)
    assert float(penalty) == pytest.approx(16.0, rel=1e-5)
    assert float(norm) == pytest.approx(5.0, rel=1e-5)


def test_penalty_is_the_mean_over_each_examples_own_norm():
    x = jnp.array([[1.0], [2.0], [-4.0]])
    penalty, _ = losses.gradient_penalty(lambda x: (x**2).sum(axis=1), x)  # norms 2, 4, 8
    assert float(penalty) == pytest.approx((1 + 9 + 49) / 3, rel=1e-5)


def test_penalty_of_a_flat_critic_is_finite_with_its_gradient():
    def penalty(scale):
        return losses.gradient_penalty(lambda x: scale * x.sum(axis=1), jnp.ones((3, 2)))[0]

    assert float(penalty(0.0)) == pytest.approx(1.0, rel=1e-5)
    assert np.isfinite(float(jax.grad(penalty)(0.0)))


def test_interpolates_lie_on_the_line_between_real_and_fake():
    real, fake = jax.random.normal(KEY, (2, 50, 3, 3, 2))
    between = losses.interpolate(KEY, real, fake)
    share = np.asarray((between - real) / (fake - real)).reshape(50, -1)
    np.testing.assert_allclose(share, share[:, :1].repeat(18, axis=1), atol=1e-3)
    assert 0.0 <= share.min() < 0.15 and 0.85 < share.max() <= 1.001


def test_wasserstein_losses_of_both_players():
    real, fake = jnp.array([1.0, 3.0]), jnp.array([0.0, -2.0])
    assert float(losses.wasserstein_critic(real, fake)) == -3.0
    assert float(losses.wasserstein_generator(fake)) == 1.0


@pytest.mark.parametrize(("on", "expected"), [("all", 3.5), ("real", 5.0)])
def test_drift(on, expected):
    assert float(losses.score_drift(jnp.array([1.0, 3.0]), jnp.array([0.0, -2.0]), on)) == expected


def shares_of(codes):
    return jax.nn.one_hot(codes, 6)


@pytest.mark.parametrize("pixels", [1, 2, 50])
def test_class_floor_leaves_shares_above_half_of_the_real_ones_to_the_critic(pixels):
    real = shares_of(jnp.zeros((2, 10, 10), int).at[:, 0, 0].set(5))
    made = shares_of(jnp.zeros((2, 100), int).at[:, :pixels].set(5).reshape(2, 10, 10))
    for loss in (losses.class_floor, functools.partial(losses.class_presence, label=5, window=1)):
        value, slope = jax.value_and_grad(loss)(made, real)
        assert value == 0.0 and (slope == 0.0).all()


def test_class_floor_counts_only_what_would_win():
    real = shares_of(jnp.zeros((1, 10, 10), int).at[0, 0, 0].set(5))
    spread = jnp.broadcast_to(jnp.array([0.99, 0, 0, 0, 0, 0.01]), real.shape)  # the right share, nowhere the winner
    assert losses.class_floor(spread, real) > 1.0


def test_presence_asks_for_the_class_in_every_image():
    """Two real images with one pixel of it each; the same pixels, both in one image, will not do."""
    codes = jnp.zeros((2, 10, 10), int)
    real = shares_of(codes.at[:, 0, 0].set(5))
    heaped = shares_of(codes.at[0, :2, 0].set(5))
    assert losses.class_floor(heaped, real) == 0.0
    assert losses.class_presence(heaped, real, 5, 1) > 1.0


def test_presence_asks_for_a_place_and_not_for_a_share():
    """A disc of 9 pixels: as a line of 9 along an edge it has the share and no place; elsewhere it may be."""
    codes = jnp.zeros((1, 12, 12), int)
    real = shares_of(codes.at[0, 3:6, 3:6].set(5))
    elsewhere, line = shares_of(codes.at[0, 8:11, 7:10].set(5)), shares_of(codes.at[0, 0, 1:10].set(5))
    assert losses.class_presence(elsewhere, real, 5, 3) == 0.0
    assert losses.class_presence(line, real, 5, 3) > 0.2
    assert losses.class_floor(line, real) == 0.0


def test_presence_strengthens_the_place_that_is_nearest_to_it():
    """The gradient goes to the window with most of the class, none to the pixels outside."""
    real = shares_of(jnp.zeros((1, 12, 12), int).at[0, 3:6, 3:6].set(5))
    logits = jnp.zeros((1, 12, 12, 6)).at[..., 0].set(6.0).at[0, 7:10, 2:5, 5].set(3.0)
    slope = jax.grad(lambda x: losses.class_presence(jax.nn.softmax(x), real, 5, 3))(logits)[0, ..., 5]
    assert (slope[7:10, 2:5] < 0).all()
    assert (slope.at[7:10, 2:5].set(0.0) == 0.0).all()


@pytest.mark.parametrize("share", [1e-4, 1e-6, 1e-12])
def test_class_floor_reaches_a_class_however_rare_it_has_become(share):
    real = shares_of(jnp.zeros((1, 10, 10), int).at[0, 0, 0].set(5))

    def loss(logit):
        logits = jnp.full((*real.shape[:3], 6), -60.0).at[..., 0].set(0.0).at[..., 5].set(logit)
        return losses.class_floor(jax.nn.softmax(logits), real)

    assert jax.grad(loss)(jnp.log(share)) == pytest.approx(-2.0, rel=0.05)  # Huber's slope, of a squared share


def test_class_floor_asks_for_no_class_that_the_real_batch_lacks():
    real = shares_of(jnp.zeros((1, 4, 4), int))
    value, slope = jax.value_and_grad(losses.class_floor)(real, real)
    assert value == 0.0 and jnp.isfinite(slope).all()


def lag_by_loops(old, new):
    """`losses.head_lag`, pixel by pixel."""
    n, h, w, _ = old.shape
    old, new = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (np.float64(old), np.float64(new)))
    total = 0.0
    for i, y, x in np.ndindex(n, h, w):
        pooled = new[i, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1))
        total += sum(p * np.log(p / q) for p, q in zip(old[i, y, x], pooled, strict=True))
    return h * total / (n * h * w)


def test_a_head_lags_by_the_divergence_of_its_pooled_shares():
    old, new = (jax.random.normal(jax.random.key(i), (2, 3 * (i + 1), 4 * (i + 1), 6)) * 3 for i in range(2))
    assert losses.head_lag(old, new) == pytest.approx(lag_by_loops(old, new), rel=1e-5)
    assert losses.head_lag(old, upsample(old)) == pytest.approx(0.0, abs=1e-5)
    assert all((slope == 0).all() for slope in jax.tree.leaves(jax.grad(losses.head_lag)(old, new)))


def test_a_head_is_free_inside_a_pixel_of_the_old_one():
    """Half lung, half body: whether as four undecided pixels or as two of each."""
    old = jnp.log(jnp.array([0.5, 0.5]))[None, None, None]
    decided = jnp.where(jnp.eye(2)[jnp.array([[0, 1], [1, 0]])], 0.0, -20.0)[None]
    assert losses.head_lag(old, decided) == pytest.approx(0.0, abs=1e-5)
    assert losses.head_lag(old, decided[:, :, :1].repeat(2, 2) + jnp.array([0.0, -20.0])) > 0.1


def test_a_head_that_is_behind_catches_up():
    """By gradient descent on it alone, from the head that an untrained network has."""
    old = 4.0 * jax.random.normal(jax.random.key(0), (1, 4, 4, 6))
    new = jnp.zeros((1, 8, 8, 6))
    slope = jax.jit(jax.grad(losses.head_lag, argnums=1))
    for _ in range(300):
        new = new - 5.0 * slope(old, new)
    assert losses.head_lag(old, new) < 0.02 * losses.head_lag(old, jnp.zeros((1, 8, 8, 6)))
