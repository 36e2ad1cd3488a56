"""ControlNet-style diffusion: formulas, networks, the lock between its phases, and what it refuses (T18)."""

import functools
from pathlib import Path

import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from phantom_pairs import phantom_batch
from torch_peers import run_peer
from translator_methods import CONFIGS, SIZE

from tsgan_jax.config import CONTROLNET_STYLE, ControlNetConfig
from tsgan_jax.errors import UserError
from tsgan_jax.train.devices import peak_bytes
from tsgan_jax.translation import diffusion
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.controlnet import ControlledDiffusion, lock
from tsgan_jax.translation.controlnet_networks import Control, Shape, UNet, fold, initialise_unet, unfold
from tsgan_jax.translation.registry import translator
from tsgan_jax.types import PairBatch

PEER = Path(__file__).parents[1] / "torch_peers" / "controlnet.py"
KEPT = diffusion.kept_signal(1000, (1e-4, 0.02))
LATE, EARLY = float(KEPT[700]), float(KEPT[650])


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def randomised(params: dict, seed: int) -> dict:
    """The same tree without a zero in it."""
    rng = np.random.default_rng(seed)

    def one(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        spread = 1.0 / np.sqrt(max(np.prod(leaf.shape[:-1]), 1.0)) if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(rng.normal(float(path[-1].key == "scale"), spread, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(one, params)


# ---------------------------------------------------------------- formulas


def test_the_schedule_is_ddpms() -> None:
    kept, product = [], 1.0
    for i in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        kept.append(product)
    np.testing.assert_allclose(KEPT, kept, rtol=1e-6)
    assert KEPT[0] == pytest.approx(0.9999) and KEPT[-1] < 5e-5


@pytest.mark.parametrize("time", [0, 300, 999])
def test_noise_that_was_added_can_be_taken_away(time: int) -> None:
    clean, noise, kept = draw(2, 4, 4, 3), draw(2, 4, 4, 3, seed=1), jnp.float32(KEPT[time])
    noisy = diffusion.add_noise(clean, noise, kept)
    spread = 1e-6 / float(jnp.sqrt(kept))  # float32's rounding, magnified as the image is
    np.testing.assert_allclose(diffusion.clean_image(noisy, noise, kept), clean, atol=4 * spread)


@pytest.mark.parametrize("kind", ["noise", "velocity", "clean"])
def test_what_is_wanted_of_the_network_tells_the_noise(kind: diffusion.Prediction) -> None:
    clean, noise, kept = draw(2, 4, 4, 3), draw(2, 4, 4, 3, seed=1), jnp.float32(LATE)
    noisy, output = diffusion.add_noise(clean, noise, kept), diffusion.target(clean, noise, kept, kind)
    np.testing.assert_allclose(diffusion.noise_in(noisy, output, kept, kind), noise, atol=1e-6)


def test_ddim_step_is_its_formula() -> None:
    """DDIM, Eq. 12, sigma 0, its guess at the clean image cut to [-1, 1]."""
    noisy, noise = draw(3, 4, 4, 2), draw(3, 4, 4, 2, seed=1)
    x, e = np.asarray(noisy, np.float64), np.asarray(noise, np.float64)
    guess = (x - np.sqrt(1 - LATE) * e) / np.sqrt(LATE)
    assert (np.abs(guess) > 1).any()
    expected = np.sqrt(EARLY) * np.clip(guess, -1, 1) + np.sqrt(1 - EARLY) * e
    got = diffusion.ddim_step(noisy, noise, jnp.float32(LATE), jnp.float32(EARLY))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("steps", "sampled"), [(1000, 50), (1000, 501), (1000, 999), (10, 3), (7, 7)])
def test_ddim_times_fall_evenly_from_the_last_to_0(steps: int, sampled: int) -> None:
    """All of them, however many: pure noise, which sampling starts from, belongs to the last time."""
    times = diffusion.ddim_times(steps, sampled)
    assert len(times) == sampled and (times[0], times[-1]) == (steps - 1, 0)
    strides = -np.diff(times)
    assert strides.min() >= 1 and strides.max() - strides.min() <= 1
    assert list(diffusion.ddim_times(steps, 1)) == [steps - 1]


def test_ddim_follows_the_loop_and_reaches_what_a_perfect_network_sees() -> None:
    clean, start = jnp.clip(draw(2, 3, 3, 1), -1, 1), draw(2, 3, 3, 1, seed=1)
    kept = jnp.asarray(KEPT)

    def perfect(noisy: jax.Array, time: jax.Array) -> jax.Array:
        return (noisy - jnp.sqrt(kept[time]) * clean) / jnp.sqrt(1 - kept[time])

    np.testing.assert_allclose(diffusion.ddim_sample(perfect, start, KEPT, 50), clean, atol=1e-5)

    x, times = np.asarray(start, np.float64), [round(999 - i * 999 / 49) for i in range(50)]
    for time, earlier in zip(times, [*times[1:], None], strict=True):
        now, then = KEPT[time], 1.0 if earlier is None else KEPT[earlier]
        noise = np.sin(x + time / 1000)
        guess = np.clip((x - np.sqrt(1 - now) * noise) / np.sqrt(now), -1, 1)
        x = np.sqrt(then) * guess + np.sqrt(1 - then) * noise
    got = diffusion.ddim_sample(lambda x, time: jnp.sin(x + time / 1000), start, KEPT, 50)
    np.testing.assert_allclose(got, x, atol=1e-4)


def test_folding_moves_pixels_and_loses_none() -> None:
    x = draw(2, 8, 12, 3)
    folded = fold(x, 4)
    assert folded.shape == (2, 2, 3, 48)
    np.testing.assert_array_equal(folded[1, 1, 2].reshape(4, 4, 3), x[1, 4:8, 8:12])
    np.testing.assert_array_equal(unfold(folded, 4), x)


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize(("multipliers", "blocks", "attention"), [((1, 2), 1, (1,)), ((1, 1, 3), 2, (0, 2))])
def test_both_networks_are_their_pytorch_peers(multipliers: tuple, blocks: int, attention: tuple) -> None:
    shape = Shape(12, multipliers, blocks, attention)
    image, mask, times = draw(2, 8, 8, 4), draw(2, 8, 8, 24, seed=1), jnp.array([3, 870], jnp.int32)
    base, control = UNet(shape, 4), Control(shape)
    params = {
        "base": randomised(jax.eval_shape(base.init, jax.random.key(0), image, times)["params"], seed=2),
        "control": randomised(jax.eval_shape(control.init, jax.random.key(0), image, times, mask)["params"], seed=3),
    }

    @jax.jit
    def ours(params: dict) -> jax.Array:
        controls = control.apply({"params": params["control"]}, image, times, mask)
        alone = base.apply({"params": params["base"]}, image, times)
        return jnp.concatenate([alone, base.apply({"params": params["base"]}, image, times, controls)])

    arrays = {**flax.traverse_util.flatten_dict(params, sep="/"), "image": image, "times": times, "mask": mask}
    theirs = run_peer(PEER, arrays, ",".join(map(str, multipliers)), str(blocks))
    assert np.abs(theirs[:2] - theirs[2:]).max() > 0.1
    np.testing.assert_allclose(ours(params), theirs, rtol=1e-4, atol=1e-4)


def test_widths_skips_and_zeros_at_512() -> None:
    shape = Shape()
    image, times = jnp.zeros((1, 128, 128, 16)), jnp.zeros(1, jnp.int32)
    mask = jnp.zeros((1, 128, 128, 96))
    control = jax.eval_shape(lambda key: initialise_unet(Control(shape), key, image, times, mask), jax.random.key(0))
    skips = [control[f"skip{i}_zero"]["kernel"].shape for i in range(6)]
    assert skips == [(1, 1, c, c) for c in (64, 64, 64, 128, 128, 256)]  # first, level 0, halved, level 1, halved, 2
    assert control["middle_zero"]["kernel"].shape == (1, 1, 256, 256)
    assert {name for name, part in control["encoder"].items() if "query" in part} == {"down2_0", "middle0"}


# ---------------------------------------------------------------- the two phases


@functools.cache
def two_phases() -> tuple[Translator, object, object, object]:
    """The suite's small method, its prior as short as 5 images: batches of 2 begin the control at the fourth."""
    config = CONFIGS["controlnet"].model_copy(update={"epochs": 4, "decay_start": 2, "prior_fraction": 5 / 32})
    method = translator(config, images_per_epoch=8)
    return method, jax.jit(method.init), jax.jit(method.step), jax.jit(method.translate)


def batch(i: int) -> PairBatch:
    return phantom_batch(2, SIZE, seed=i)


def run(state: ControlledDiffusion, start: int, end: int) -> tuple[ControlledDiffusion, list[dict]]:
    step, logs = two_phases()[2], []
    for i in range(start, end):
        state, log = step(state, batch(i))
        logs.append({name: float(value) for name, value in log.items()})
    return state, logs


@functools.cache
def before_the_lock() -> ControlledDiffusion:
    return run(two_phases()[1](jax.random.key(0)), 0, 3)[0]


def same(a: object, b: object) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


def test_the_prior_trains_the_base_alone() -> None:
    start, after = two_phases()[1](jax.random.key(0)), before_the_lock()
    assert not same(start.base.params, after.base.params)
    assert same(start.control, after.control) and same(start.ema["control"], after.ema["control"])
    assert int(after.images_seen) == 6 and not bool(after.locked)


def test_each_phase_has_the_whole_schedule() -> None:
    """4 epochs of 8 images, falling after the second: the same factors in the prior's 5 images and in the other 27."""
    _, init, step, _ = two_phases()

    def factor(seen: int) -> float:
        state = init(jax.random.key(0)).replace(images_seen=jnp.int32(seen))
        return float(step(state, batch(0))[1]["learning_rate"]) / CONFIGS["controlnet"].learning_rate

    assert [factor(seen) for seen in (0, 2, 4)] == pytest.approx([1, 1, 1 / 3])
    assert [factor(seen) for seen in (5, 6, 18, 20, 30)] == pytest.approx([1, 1, 1, 2 / 3, 1 / 3])


def test_locked_and_copied_the_controlled_model_is_the_base_bit_for_bit() -> None:
    state = lock(before_the_lock())
    assert same(state.base.params, before_the_lock().ema["base"])
    assert same(state.control.params["encoder"], state.base.params["encoder"])
    assert same(lock(state), state)
    config = CONFIGS["controlnet"]
    shape = Shape(config.generator_width, config.multipliers, config.residual_blocks, config.attention_levels)
    side, channels = SIZE // config.patch, config.patch**2
    base, control, image = UNet(shape, channels), Control(shape), draw(2, side, side, channels)
    times, mask = jnp.array([5, 900], jnp.int32), fold(jax.nn.one_hot(batch(0).mask, 6), config.patch)
    controls = jax.jit(control.apply)({"params": state.control.params}, image, times, mask)
    assert all((one == 0).all() for one in controls)
    apply = jax.jit(base.apply)
    alone, steered = (apply({"params": state.base.params}, image, times, *more) for more in ((), (controls,)))
    np.testing.assert_array_equal(alone, steered)
    assert (alone != 0).any()


def test_the_control_trains_and_the_locked_base_stays() -> None:
    locked = lock(before_the_lock())
    first, (log,) = run(before_the_lock(), 3, 4)
    assert same(first, run(locked, 3, 4)[0])  # the step locks by itself
    later, logs = run(first, 4, 6)
    assert log["locked"] == logs[-1]["locked"] == 1.0
    assert log["base_gradient"] == 0.0 < log["control_gradient"]
    for state in (first, later):
        assert same(state.base, locked.base) and same(state.ema["base"], locked.ema["base"])
    assert not same(first.control.params, locked.control.params)
    assert not same(later.control.params["encoder"], first.control.params["encoder"])


def test_masks_decide_only_once_the_control_is_trained() -> None:
    translate, keys = two_phases()[3], jax.random.split(jax.random.key(3), 2)
    one, other = batch(0).mask, batch(1).mask
    prior, (controlled, _) = before_the_lock(), run(before_the_lock(), 3, 6)
    np.testing.assert_array_equal(translate(prior, one, keys), translate(prior, other, keys))
    images = translate(controlled, one, keys)
    assert (images != translate(controlled, other, keys)).any()
    np.testing.assert_array_equal(images, translate(controlled, one, keys))  # eta 0: no noise but the start's


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_resume_anywhere_around_the_lock_is_exact(at: int) -> None:
    init = two_phases()[1]
    straight, _ = run(init(jax.random.key(0)), 0, 5)
    saved, _ = run(init(jax.random.key(0)), 0, at)
    text = flax.serialization.to_bytes(saved.replace(key=jax.random.key_data(saved.key)))
    target = init(jax.random.key(9))
    restored = flax.serialization.from_bytes(target.replace(key=jax.random.key_data(target.key)), text)
    restored = jax.tree.map(jnp.asarray, restored)
    restored = restored.replace(key=jax.random.wrap_key_data(restored.key))
    assert same(run(restored, at, 5)[0], straight)


def test_running_means_follow_a_short_run() -> None:
    """A half-life of 10,000 images would leave the first weights in a run of some hundred."""
    start, after = two_phases()[1](jax.random.key(0)), before_the_lock()
    kernel = ("encoder", "first", "bias")
    first, last, mean = (
        functools.reduce(lambda tree, name: tree[name], kernel, tree)
        for tree in (start.base.params, after.base.params, after.ema["base"])
    )
    assert float(jnp.abs(mean - last).max()) < 0.1 * float(jnp.abs(last - first).max())


# ---------------------------------------------------------------- fits and does not


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multipliers": ()}, "translation.multipliers is empty"),
        ({"resolution": 16}, "leave less than 2 px at the coarsest level of 16 px"),
        ({"attention_levels": (3,)}, "attention_levels names level 3.*levels 0 to 2"),
        ({"generator_width": 33}, "generator_width 33: it must be even"),
        ({"generator_width": 8}, "generator_width 8.*at least 16"),
        ({"sampling_steps": 60, "noise_steps": 50}, "sampling_steps 60 is more than translation.noise_steps 50"),
        ({"betas": (0.02, 1e-4)}, "translation.betas.*must rise"),
        ({"epochs": 1, "decay_start": 0, "prior_fraction": 0.9, "batch_size": 16}, "leaves no step"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fix(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        translator(ControlNetConfig(**{"resolution": 64, **changes}), images_per_epoch=9)


def test_it_says_what_it_is() -> None:
    config = ControlNetConfig()
    assert config.system == "controlnet_style"
    assert translator(config).about["system"] == CONTROLNET_STYLE == "ControlNet-style, no Stable Diffusion prior"


def test_a_step_at_512_px_fits_20_gib() -> None:
    config = ControlNetConfig()
    method, shape = translator(config), (config.batch_size, 512, 512)
    pairs = jax.eval_shape(lambda: PairBatch(mask=jnp.zeros(shape, jnp.uint8), ct=jnp.zeros((*shape, 1))))
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert peak_bytes(method.step, state, pairs) < 20 * 2**30
