"""The shared alternating update, its schedule, and stage 2's losses (FACTS 3; T13 to T15)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tsgan_jax import losses
from tsgan_jax.config.translation import TranslatorConfig
from tsgan_jax.train.learner import new_player
from tsgan_jax.translation.common import Adversarial, alternate, rate_factor


def factor_at(images_seen: int, epochs: int, decay_start: int, images_per_epoch: int) -> float:
    config = TranslatorConfig(epochs=epochs, decay_start=decay_start)
    return float(rate_factor(config, images_per_epoch, jnp.int32(images_seen)))


def test_schedule_of_100_and_100_epochs() -> None:
    def factor(epoch: int, image: int = 0) -> float:
        return factor_at(epoch * 949 + image, 200, 100, 949)

    assert [factor(e) for e in (0, 50, 99)] == [1.0, 1.0, 1.0]
    assert factor(99, 948) == 1.0
    assert factor(100) == pytest.approx(100 / 101) == factor(100, 948)
    assert factor(150) == pytest.approx(50 / 101)
    assert factor(199, 948) == pytest.approx(1 / 101)
    assert factor(200) == 0.0 and factor(300) == 0.0


@pytest.mark.parametrize(("epochs", "decay_start"), [(10, 10), (6, 0), (7, 3)])
def test_schedule_falls_by_equal_steps_and_never_reaches_0_within_training(epochs: int, decay_start: int) -> None:
    factors = [factor_at(5 * e, epochs, decay_start, 5) for e in range(epochs)]
    assert factors[:decay_start] == pytest.approx([1.0] * decay_start)
    fall = -np.diff([1.0, *factors[decay_start:], 0.0])
    np.testing.assert_allclose(fall, 1 / (epochs - decay_start + 1), rtol=1e-4)


DESCENT = optax.sgd(0.1)


def scalars(memory: float | None = None) -> Adversarial:
    """A generator of 2 and a critic of 3."""
    return Adversarial(
        step=jnp.int32(0),
        images_seen=jnp.int32(0),
        key=jax.random.key(0),
        generator=new_player(DESCENT, jnp.float32(2.0)),
        critic=new_player(DESCENT, jnp.float32(3.0)),
        memory=memory,
    )


def one_update(state: Adversarial, **how: Any) -> tuple[Adversarial, dict[str, jax.Array]]:
    """fake = g * g, critic loss = c * fake, generator loss = -c * fake, plain gradient descent by 0.1."""
    return alternate(
        state,
        lambda g: g * g,
        lambda c, fake: (c * fake, {"critic": c * fake}),
        lambda fake, c: (-c * fake, {"generator": -c * fake}),
        DESCENT,
        images=5,
        **how,
    )


def test_critic_moves_first_and_the_generator_meets_the_new_critic() -> None:
    state, log = one_update(scalars())
    critic = 3.0 - 0.1 * 4.0
    assert (int(state.step), int(state.images_seen)) == (1, 5)
    assert float(state.critic.params) == pytest.approx(critic)
    assert float(state.generator.params) == pytest.approx(2.0 + 0.1 * critic * 2 * 2.0)
    assert float(log["critic"]) == 12.0 and float(log["generator"]) == pytest.approx(-critic * 4.0)


def test_generator_first_meets_the_critic_as_it_was_and_both_see_the_same_fakes() -> None:
    state, log = one_update(scalars(), generator_first=True)
    assert float(state.critic.params) == pytest.approx(3.0 - 0.1 * 4.0)
    assert float(state.generator.params) == pytest.approx(2.0 + 0.1 * 3.0 * 2 * 2.0)
    assert float(log["generator"]) == -12.0


def test_the_critic_can_be_shown_what_memory_makes_of_the_fakes() -> None:
    state, log = one_update(scalars(memory=10.0), critic_input=lambda fake, memory: (memory - fake, memory + 1.0))
    assert float(log["critic"]) == 3.0 * (10.0 - 4.0)
    assert float(state.memory) == 11.0
    critic = 3.0 - 0.1 * 6.0
    assert float(state.generator.params) == pytest.approx(2.0 + 0.1 * critic * 2 * 2.0)


def test_the_critic_can_have_a_rate_of_its_own() -> None:
    state, _ = one_update(scalars(), generator_first=True, critic_adam=optax.sgd(0.4))
    assert float(state.critic.params) == pytest.approx(3.0 - 0.4 * 4.0)
    assert float(state.generator.params) == pytest.approx(2.0 + 0.1 * 3.0 * 2 * 2.0)


def test_vanilla_is_binary_cross_entropy_with_logits() -> None:
    logits = jnp.array([-3.0, 0.0, 0.7, 40.0, -40.0])
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    real, fake = (losses.adversarial(logits[:3], is_real, "vanilla") for is_real in (True, False))
    np.testing.assert_allclose(real, -np.log(probability[:3]).mean(), rtol=1e-5)
    np.testing.assert_allclose(fake, -np.log(1 - probability[:3]).mean(), rtol=1e-5)
    np.testing.assert_allclose(losses.adversarial(logits[3:], True, "vanilla"), 20.0, rtol=1e-5)


def test_lsgan_is_squares_to_1_and_0_and_the_critic_is_halved() -> None:
    real, fake = jnp.array([2.0, 0.0]), jnp.array([3.0, -1.0, 0.0])
    assert losses.adversarial(real, True, "lsgan") == 1.0
    np.testing.assert_allclose(losses.patch_critic(real, fake, "lsgan"), 0.5 * (1.0 + 10 / 3), rtol=1e-6)
    np.testing.assert_allclose(losses.patch_critic(jnp.zeros(4), jnp.zeros(4), "vanilla"), np.log(2), rtol=1e-6)


def test_l1_is_a_mean_in_float32() -> None:
    a = jnp.full((2, 3), 1.0, jnp.bfloat16)
    assert losses.mean_l1(a, jnp.zeros((2, 3))) == 1.0
    assert losses.mean_l1(a, a).dtype == jnp.float32


def test_perceptual_adds_the_layers_means() -> None:
    fake = {"a": jnp.ones((1, 2, 2, 3)), "b": jnp.zeros((1, 1, 1, 4))}
    real = {"a": jnp.zeros((1, 2, 2, 3)), "b": jnp.full((1, 1, 1, 4), -0.5)}
    assert losses.perceptual(fake, real) == 1.5
