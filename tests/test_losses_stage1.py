"""WGAN-GP with drift (Eq. 1 and 2; T5)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax import losses

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
