"""ControlNet-style diffusion (Zhang et al. 2023) without Stable Diffusion's prior, trained on the CT only.

One training step serves both phases: an unconditional model first, then its control.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tsgan_jax.config import CONTROLNET_STYLE, ControlNetConfig
from tsgan_jax.errors import UserError
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.train.learner import Params, Player, moving_average, new_player, step_streams, stream, update_player
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import rate_factor
from tsgan_jax.translation.controlnet_networks import Control, Shape, UNet, fold, initialise_unet, unfold
from tsgan_jax.translation.diffusion import add_noise, ddim_sample, kept_signal, noise_in, target
from tsgan_jax.types import Array, Key, Metrics, PairBatch

EMA_RAMP = 0.05
"""Half-life of the running means as a share of the phase's images seen, at most the config's (StyleGAN2)."""


@flax.struct.dataclass
class ControlledDiffusion:
    """State of both phases."""

    step: Array
    images_seen: Array
    key: Key
    base: Player
    control: Player
    ema: Params  # {"base", "control"}, running means of the players' weights, used for sampling
    locked: Array  # bool, whether the base is trained and copied into the control


class _Networks(NamedTuple):
    base: UNet
    control: Control


def controlnet(config: ControlNetConfig, images_per_epoch: int) -> Translator[ControlledDiffusion]:
    """An unconditional model for `prior_fraction` of all images, then its control; see `registry.translator`.

    Each phase has the full learning rate schedule over its share of the images.  At the end of the first its averaged
    weights are locked and copied into the control's encoder.  Until then the control's outputs are zero, so
    `translate` ignores the mask.
    """
    prior_images = _prior_images(config, images_per_epoch)
    _check(config)
    channels, kept = config.patch**2, kept_signal(config.noise_steps, config.betas)
    levels = config.multipliers, config.residual_blocks, config.attention_levels
    shape = Shape(config.generator_width, *levels, dtype=jnp.dtype(config.precision))
    nets = _Networks(UNet(shape, channels), Control(shape))

    def step(state: ControlledDiffusion, batch: PairBatch) -> tuple[ControlledDiffusion, Metrics]:
        past_prior = state.locked | (state.images_seen >= prior_images)
        at = _of_all(state.images_seen, past_prior, prior_images, config.epochs * images_per_epoch)
        rate = config.learning_rate * rate_factor(config, images_per_epoch, at)
        noisy, times, wanted = _noisy(config, state, batch, kept)
        mask = fold(jax.nn.one_hot(batch.mask, NUM_CLASSES), config.patch)

        def train_base(state: ControlledDiffusion) -> tuple[ControlledDiffusion, Metrics]:
            def output(params: Params) -> Array:
                return nets.base.apply({"params": params}, noisy, times)

            return _update(config, state, "base", output, wanted, rate, state.images_seen)

        def train_control(state: ControlledDiffusion) -> tuple[ControlledDiffusion, Metrics]:
            state = lock(state)

            def output(params: Params) -> Array:
                players = {"base": state.base.params, "control": params}
                return controlled(nets, players, noisy, times, mask)

            since = jnp.maximum(state.images_seen - prior_images, 0)
            return _update(config, state, "control", output, wanted, rate, since)

        state, metrics = jax.lax.cond(past_prior, train_control, train_base, state)
        seen = state.images_seen + batch.ct.shape[0]
        state = state.replace(step=state.step + 1, images_seen=seen)  # type: ignore[attr-defined]
        return state, {**metrics, "learning_rate": rate}

    def translate(state: ControlledDiffusion, masks: Array, keys: Key) -> Array:
        mask = fold(jax.nn.one_hot(masks, NUM_CLASSES), config.patch)
        start = jax.vmap(lambda key: jax.random.normal(key, (*mask.shape[1:3], channels)))(keys)

        def predict(noisy: Array, time: Array) -> Array:
            output = controlled(nets, state.ema, noisy, jnp.full(noisy.shape[:1], time), mask)
            return noise_in(noisy, output, jnp.asarray(kept)[time], config.prediction)

        return unfold(ddim_sample(predict, start, kept, config.sampling_steps), config.patch)[..., 0]

    return Translator(partial(_initial_state, config, nets), step, translate, {"system": CONTROLNET_STYLE})


def _initial_state(config: ControlNetConfig, nets: _Networks, key: Key) -> ControlledDiffusion:
    side, channels = config.resolution // config.patch, config.patch**2
    image, times = jnp.zeros((1, side, side, channels)), jnp.zeros(1, jnp.int32)
    mask = jnp.zeros((1, side, side, channels * NUM_CLASSES))
    base = initialise_unet(nets.base, stream(key, "base"), image, times)
    control = initialise_unet(nets.control, stream(key, "control"), image, times, mask)
    tx = optax.adam(0.0, *config.adam_betas)
    return ControlledDiffusion(
        step=jnp.int32(0),
        images_seen=jnp.int32(0),
        key=key,
        base=new_player(tx, base),
        control=new_player(tx, control),
        ema=jax.tree.map(jnp.copy, {"base": base, "control": control}),
        locked=jnp.zeros((), bool),
    )


def lock(state: ControlledDiffusion) -> ControlledDiffusion:
    """The state with the base locked at its averaged weights and copied into the control; a locked state is unchanged.

    After it the controlled model equals the base, bit for bit.
    """

    def once(new: Params, old: Params) -> Params:
        return jax.tree.map(lambda n, o: jnp.where(state.locked, o, n), new, old)

    base, encoder = state.ema["base"], state.ema["base"]["encoder"]

    def copied(control: Params) -> Params:
        return {**control, "encoder": once(encoder, control["encoder"])}

    return state.replace(  # type: ignore[attr-defined]
        base=state.base.replace(params=once(base, state.base.params)),  # type: ignore[attr-defined]
        control=state.control.replace(params=copied(state.control.params)),  # type: ignore[attr-defined]
        ema={**state.ema, "control": copied(state.ema["control"])},
        locked=jnp.ones((), bool),
    )


def controlled(nets: _Networks, params: Params, image: Array, times: Array, mask: Array) -> Array:
    """The output of the controlled model for folded images [n, h, w, c]; params: {"base", "control"}."""
    controls = nets.control.apply({"params": params["control"]}, image, times, mask)
    return nets.base.apply({"params": params["base"]}, image, times, controls)


def _update(
    config: ControlNetConfig,
    state: ControlledDiffusion,
    name: Literal["base", "control"],
    output: Callable[[Params], Array],
    target: Array,
    rate: Array,
    images: Array,
) -> tuple[ControlledDiffusion, Metrics]:
    """One step of one player by DDPM's simple loss (Eq. 14), in float32, and of its running mean.

    output: params -> the model's output for the noisy images; images: seen in this phase.
    """
    player: Player = getattr(state, name)
    error, grads = jax.value_and_grad(lambda params: jnp.square(output(params) - target).mean())(player.params)
    player, norm = update_player(optax.adam(rate, *config.adam_betas), player, grads)
    half_life = jnp.minimum(EMA_RAMP * images, config.ema_half_life)
    mean = moving_average(state.ema[name], player.params, len(target), half_life)
    norms = {"base_gradient": jnp.zeros(()), "control_gradient": jnp.zeros(()), f"{name}_gradient": norm}
    metrics = {"denoising": error, **norms, "locked": jnp.float32(name == "control")}
    return state.replace(**{name: player}, ema={**state.ema, name: mean}), metrics  # type: ignore[attr-defined]


def _noisy(
    config: ControlNetConfig, state: ControlledDiffusion, batch: PairBatch, kept: np.ndarray
) -> tuple[Array, Array, Array]:
    """(folded images, each with the noise of a random time; the times [n]; the network's targets)."""
    times_key, noise_key = step_streams(state.key, state.step, "times", "noise")
    clean = fold(batch.ct, config.patch)
    times = jax.random.randint(times_key, clean.shape[:1], 0, len(kept))
    noise = jax.random.normal(noise_key, clean.shape)
    left = jnp.asarray(kept)[times][:, None, None, None]
    return add_noise(clean, noise, left), times, target(clean, noise, left, config.prediction)


def _prior_images(config: ControlNetConfig, images_per_epoch: int) -> int:
    """Images after which the base is locked; UserError when a phase would have no step."""
    total = config.epochs * images_per_epoch
    images = max(1, round(config.prior_fraction * total))
    if math.ceil(images / config.batch_size) >= math.ceil(total / config.batch_size):
        raise UserError(
            f"translation.prior_fraction {config.prior_fraction:g} of {config.epochs} epochs of {images_per_epoch} "
            f"images leaves no step of {config.batch_size} images for the control: lower prior_fraction or "
            "translation.batch_size, or set more translation.epochs"
        )
    return images


def _of_all(seen: Array, past_prior: Array, prior_images: int, total: int) -> Array:
    """Images seen in a phase, scaled as if the phase were the whole training of `total` images; int32."""
    share = jnp.where(past_prior, (seen - prior_images) / (total - prior_images), seen / prior_images)
    return (share * total).astype(jnp.int32)


def _check(config: ControlNetConfig) -> None:
    """Raise UserError for invalid widths, levels and times."""
    levels, side = len(config.multipliers), config.resolution // config.patch
    if levels == 0:
        raise UserError("translation.multipliers is empty: give one for each level of the U-Net, such as [1, 2, 4]")
    if side < 2**levels:
        raise UserError(
            f"translation.multipliers of {levels} levels and translation.patch {config.patch} leave less than 2 px at "
            f"the coarsest level of {config.resolution} px: give fewer multipliers or a smaller patch"
        )
    absent = [level for level in config.attention_levels if level >= levels]
    if absent:
        raise UserError(
            f"translation.attention_levels names level {absent[0]}, but translation.multipliers has levels 0 to "
            f"{levels - 1}: name some of these"
        )
    if config.generator_width % 2 or config.generator_width < config.patch**2:
        raise UserError(
            f"translation.generator_width {config.generator_width}: it must be even (sines and cosines of the "
            f"time) and at least {config.patch**2}, the channels of {config.patch}x{config.patch} px "
            "(translation.patch); change either"
        )
    if config.sampling_steps > config.noise_steps:
        raise UserError(
            f"translation.sampling_steps {config.sampling_steps} is more than translation.noise_steps "
            f"{config.noise_steps}: DDIM can only skip times; set it to {config.noise_steps} or less"
        )
    if not config.betas[0] <= config.betas[1] < 1:
        raise UserError(f"translation.betas {list(config.betas)}: must rise within (0, 1), as [0.0001, 0.02] does")
