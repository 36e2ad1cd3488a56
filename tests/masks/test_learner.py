"""The training step of stage 1: contract, averages, a golden step."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tsgan_jax.masks.growth import plan
from tsgan_jax.masks.learner import optimiser, stylegan
from tsgan_jax.masks.networks import networks_of
from tsgan_jax.train.learner import mean_over_parts, moving_average, step_streams

from .tiny import random_batch, tiny

GOLDEN = Path(__file__).parents[1] / "golden" / "stylegan_step.json"
MESSAGE = (
    "The numbers of a StyleGAN training step changed.  If the change of the method was meant, say so in the "
    f"changelog and write the new numbers to {GOLDEN.name}: earlier versions' checkpoints will go on differently."
)
BATCHES = [random_batch(jax.random.key(i), 4, 8) for i in range(3)]


@pytest.fixture(scope="module")
def fading(config):
    """The learner of the 8 px fade: compiled init and (donating) step, states and metrics of three steps."""
    learner = stylegan(config, plan(config)[1])
    init, step = jax.jit(learner.init), jax.jit(learner.step, donate_argnums=0)
    states, logs = [init(jax.random.key(0))], []
    for batch in BATCHES:
        state, log = step(copied(states[-1]), batch)
        states.append(state)
        logs.append({name: float(value) for name, value in log.items()})
    return init, step, states, logs


def copied(state):
    """A copy that may be donated."""
    return jax.tree.map(lambda leaf: leaf.copy(), state)


def test_state_goes_out_as_it_came_in(config):
    for phase in plan(config):
        learner = stylegan(config, phase)
        state = jax.eval_shape(learner.init, jax.random.key(0))
        batch = jax.eval_shape(lambda r=phase.resolution: random_batch(jax.random.key(0), 4, r))
        new, metrics = jax.eval_shape(learner.step, state, batch)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), new) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
        assert all(m.shape == () for m in metrics.values())


def test_a_donated_step_changes_every_network(fading):
    init, step, *_ = fading
    state = init(jax.random.key(0))
    before = jax.tree.map(np.array, (state.gen.params, state.critic.params, state.ema))
    new, _ = step(state, BATCHES[0])
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.gen, state.critic, state.ema)))
    for old, now in zip(before, (new.gen.params, new.critic.params, new.ema), strict=True):
        assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), old, now)))


def test_counters_follow_steps_and_images(fading):
    *_, states, logs = fading
    assert [int(s.step) for s in states] == [0, 1, 2, 3]
    assert [int(s.images_seen) for s in states] == [16, 20, 24, 28]  # the phase starts at 16
    np.testing.assert_allclose([log["alpha"] for log in logs], [0.0, 0.5, 1.0])


def test_same_seed_same_losses(fading):
    init, step, _, logs = fading
    state = init(jax.random.key(0))
    for batch, log in zip(BATCHES, logs, strict=True):
        state, again = step(state, batch)
        assert {name: float(value) for name, value in again.items()} == log


def test_each_step_draws_anew(fading):
    """The same batch and parameters at another step count give other latents, hence another loss."""
    _, step, states, logs = fading
    _, log = step(copied(states[0]).replace(step=jnp.int32(7)), BATCHES[0])
    assert float(log["critic_loss"]) != logs[0]["critic_loss"]


def test_averages_follow_the_new_parameters(config, fading):
    *_, states, _ = fading
    old, new = states[0], states[1]
    beta = 0.5 ** (4 / config.ema_half_life)
    expected = jax.tree.map(lambda e, p: beta * e + (1 - beta) * p, old.ema, new.gen.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), new.ema, expected)
    (key,) = step_streams(old.key, old.step, "critic latents")
    z = jax.random.normal(jax.random.split(key, 3)[0], (8, config.z_dim))[:4]
    mapping = networks_of(config, plan(config)[1]).mapping
    w = mapping.apply({"params": old.gen.params["mapping"]}, z).mean(0)
    np.testing.assert_allclose(new.w_avg, (1 - config.w_avg_decay) * w, rtol=1e-3, atol=1e-6)


def test_moving_average_is_half_way_after_the_half_life():
    average = {"w": jnp.float32(0.0)}
    for _ in range(10):
        average = moving_average(average, {"w": jnp.float32(1.0)}, 100, half_life=1000)
    assert float(average["w"]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.5, 0.9)])
def test_optimiser_is_adam(betas):
    ours = optimiser(tiny(adam_betas=betas, learning_rate={4: 0.1, 8: 0.002}), 8)
    adam = optax.adam(0.002, b1=betas[0], b2=betas[1], eps=1e-8)
    params = {"w": jax.random.normal(jax.random.key(0), (20,))}
    state, reference = ours.init(params), adam.init(params)
    for i in range(5):
        grads = {"w": jax.random.normal(jax.random.key(i), (20,)) * 10.0**-i}
        update, state = ours.update(grads, state, params)
        expected, reference = adam.update(grads, reference, params)
        np.testing.assert_allclose(update["w"], expected["w"], rtol=1e-4)


def test_golden_step(fading):
    """Of two steps: in the third, another CPU's rounding can change a class that was drawn at a pixel."""
    logs = fading[-1][:2]
    golden = json.loads(GOLDEN.read_text())
    assert [sorted(log) for log in logs] == [sorted(log) for log in golden], MESSAGE
    for step, (log, reference) in enumerate(zip(logs, golden, strict=True)):
        for name, value in reference.items():
            assert log[name] == pytest.approx(value, rel=2e-3, abs=2e-4), f"step {step}, {name}: {MESSAGE}"


def test_the_other_options_train():
    config = tiny(resolution=4, discretisation="none", drift_on="real", precision="bfloat16")
    learner = stylegan(config, plan(config)[0])
    state = jax.jit(learner.init)(jax.random.key(0))
    state, log = jax.jit(learner.step)(state, random_batch(jax.random.key(1), 3, 4))
    assert all(np.isfinite(value) for value in log.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.gen.params, state.critic.params)))


def test_gradients_accumulate_to_those_of_the_whole_batch():
    """A gradient that is a mean over examples; memory is then that of one part."""
    x, w = jax.random.normal(jax.random.key(0), (12, 3)), jnp.arange(3.0)

    def gradient(keys, x):
        del keys
        return jax.value_and_grad(lambda w: jnp.square(x @ w - 1).mean())(w)

    whole = gradient((), x)
    for parts in (1, 2, 4):
        split = mean_over_parts(gradient, parts, (jax.random.key(1),), x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), split, whole)


def test_parts_draw_from_keys_of_their_own():
    def gradient(keys, x):
        return jax.random.normal(keys[0], ()) + 0.0 * x.sum()

    key = jax.random.key(3)
    mean = mean_over_parts(gradient, 3, (key,), jnp.zeros((6, 1)))
    expected = np.mean([jax.random.normal(k, ()) for k in jax.random.split(key, 3)])
    assert float(mean) == pytest.approx(float(expected), rel=1e-5)


def test_a_step_in_parts_has_the_state_of_a_step(config):
    phase = plan(config)[-1]
    whole, parts = (stylegan(tiny(accumulate=k), phase) for k in (1, 2))
    state, batch = jax.jit(whole.init)(jax.random.key(0)), BATCHES[0]
    (one, one_log), (two, two_log) = (jax.jit(learner.step)(state, batch) for learner in (whole, parts))
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, two) and one_log.keys() == two_log.keys()
    assert float(one.w_avg @ two.w_avg) > 0 and float(two_log["critic_loss"]) != 0
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(two.gen.params))


def test_parts_must_divide_the_batch():
    with pytest.raises(ValueError, match="3 parts do not divide the batch of 4"):
        tiny(accumulate=3)
