"""ControlNet-style diffusion as a Translator: an unconditional model, then its control, in one training step."""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.config import CONTROLNET_STYLE, ControlNetConfig
from tsgan_jax.errors import UserError
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.train.learner import Params, Player, moving_average, new_player, step_streams, stream, update_player
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import adam, learning_rate, one_hot
from tsgan_jax.translation.controlnet.diffusion import add_noise, ddim_sample, kept_signal, noise_in, target
from tsgan_jax.translation.controlnet.generator import Control, Shape, UNet, fold, initialise_unet, unfold
from tsgan_jax.types import Array, Key, Metrics, PairBatch

EMA_RAMP = 0.05
"""Half-life of the running means as a share of the phase's images seen, at most the config's (StyleGAN2)."""


@flax.struct.dataclass
class ControlledDiffusion:
    """State of both phases.

    ema: {"base", "control"}, running means of the players' weights, used for sampling.
    locked: bool, whether the base is trained and copied into the control.
    """

    step: Array
    images_seen: Array
    key: Key
    base: Player
    control: Player
    ema: Params
    locked: Array


class _Networks(NamedTuple):
    base: UNet
    control: Control


class _Noisy(NamedTuple):
    """A batch as network input, with images and masks folded; `target` is the target for `image`."""

    image: Array
    target: Array
    times: Array
    mask: Array


def controlnet(config: ControlNetConfig, images_per_epoch: int) -> Translator[ControlledDiffusion]:
    """The unconditional diffusion model for `prior_fraction` of all images, then its control (section 3 of the paper).

    images_per_epoch: real training images, which turns images seen into epochs of the schedule.  Each phase uses
    the full learning rate schedule over its share of the images.

    At the end of the prior its averaged weights are locked and copied into the control's encoder.  Before
    that the control's outputs are zero, so `translate` ignores the mask.

    Raises UserError when settings contradict each other.
    """
    prior_images = _prior_images(config, images_per_epoch)
    _check(config)
    nets, channels = _networks(config), config.patch**2
    kept = kept_signal(config.noise_steps, config.betas)

    def init(key: Key) -> ControlledDiffusion:
        side = config.resolution // config.patch
        image, times = jnp.zeros((1, side, side, channels)), jnp.zeros(1, jnp.int32)
        mask = jnp.zeros((1, side, side, channels * NUM_CLASSES))
        base = initialise_unet(nets.base, stream(key, "base"), image, times)
        control = initialise_unet(nets.control, stream(key, "control"), image, times, mask)
        tx = adam(0.0, config.adam_betas)
        return ControlledDiffusion(
            step=jnp.zeros((), jnp.int32),
            images_seen=jnp.zeros((), jnp.int32),
            key=key,
            base=new_player(tx, base),
            control=new_player(tx, control),
            ema=jax.tree.map(jnp.copy, {"base": base, "control": control}),
            locked=jnp.zeros((), bool),
        )

    def step(state: ControlledDiffusion, batch: PairBatch) -> tuple[ControlledDiffusion, Metrics]:
        past_prior = state.locked | (state.images_seen >= prior_images)
        at = _of_all(state.images_seen, past_prior, prior_images, config.epochs * images_per_epoch)
        rate = learning_rate(config.learning_rate, config.epochs, config.decay_start, images_per_epoch, at)
        noisy, size = _noisy(config, state, batch, kept), batch.ct.shape[0]
        train_base, train_control = _phases(config, nets, noisy, rate, prior_images)
        state, metrics = jax.lax.cond(past_prior, train_control, train_base, state)
        state = state.replace(step=state.step + 1, images_seen=state.images_seen + size)  # type: ignore[attr-defined]
        return state, {**metrics, "learning_rate": rate}

    def translate(state: ControlledDiffusion, masks: Array, keys: Key) -> Array:
        mask = fold(one_hot(masks), config.patch)
        start = jax.vmap(lambda key: jax.random.normal(key, (*mask.shape[1:3], channels)))(keys)

        def predict(noisy: Array, time: Array) -> Array:
            output = controlled(nets, state.ema, noisy, jnp.full(len(noisy), time), mask)
            return noise_in(noisy, output, jnp.asarray(kept)[time], config.prediction)

        return unfold(ddim_sample(predict, start, kept, config.sampling_steps), config.patch)[..., 0]

    return Translator(init, step, translate, {"system": CONTROLNET_STYLE})


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


Phase = Callable[[ControlledDiffusion], tuple[ControlledDiffusion, Metrics]]


def _phases(
    config: ControlNetConfig, nets: _Networks, noisy: _Noisy, rate: Array, prior_images: int
) -> tuple[Phase, Phase]:
    """One update of the base, and one of the control; both report the same metrics."""
    tx = adam(rate, config.adam_betas)

    def averaged(average: Params, player: Player, images: Array) -> Params:
        half_life = jnp.minimum(EMA_RAMP * images, config.ema_half_life)
        return moving_average(average, player.params, len(noisy.image), half_life)

    def train_base(state: ControlledDiffusion) -> tuple[ControlledDiffusion, Metrics]:
        def loss(params: Params) -> Array:
            return _error(nets.base.apply({"params": params}, noisy.image, noisy.times), noisy.target)

        error, grads = jax.value_and_grad(loss)(state.base.params)
        base, norm = update_player(tx, state.base, grads)
        ema = {**state.ema, "base": averaged(state.ema["base"], base, state.images_seen)}
        state = state.replace(base=base, ema=ema)  # type: ignore[attr-defined]
        return state, {
            "denoising": error,
            "base_gradient": norm,
            "control_gradient": jnp.zeros(()),
            "locked": jnp.zeros(()),
        }

    def train_control(state: ControlledDiffusion) -> tuple[ControlledDiffusion, Metrics]:
        state = lock(state)

        def loss(params: Params) -> Array:
            players = {"base": state.base.params, "control": params}
            return _error(controlled(nets, players, noisy.image, noisy.times, noisy.mask), noisy.target)

        error, grads = jax.value_and_grad(loss)(state.control.params)
        control, norm = update_player(tx, state.control, grads)
        since = jnp.maximum(state.images_seen - prior_images, 0)
        ema = {**state.ema, "control": averaged(state.ema["control"], control, since)}
        state = state.replace(control=control, ema=ema)  # type: ignore[attr-defined]
        return state, {
            "denoising": error,
            "base_gradient": jnp.zeros(()),
            "control_gradient": norm,
            "locked": jnp.ones(()),
        }

    return train_base, train_control


def _error(output: Array, target: Array) -> Array:
    """DDPM's simple loss (Eq. 14), in float32."""
    return jnp.square(output - target).mean()


def _noisy(config: ControlNetConfig, state: ControlledDiffusion, batch: PairBatch, kept: np.ndarray) -> _Noisy:
    """Each image at an independent random time, by the step's keys."""
    times_key, noise_key = step_streams(state.key, state.step, "times", "noise")
    clean = fold(batch.ct, config.patch)
    times = jax.random.randint(times_key, clean.shape[:1], 0, len(kept))
    noise = jax.random.normal(noise_key, clean.shape)
    left = jnp.asarray(kept)[times][:, None, None, None]
    return _Noisy(
        image=add_noise(clean, noise, left),
        target=target(clean, noise, left, config.prediction),
        times=times,
        mask=fold(one_hot(batch.mask), config.patch),
    )


def _networks(config: ControlNetConfig) -> _Networks:
    shape = Shape(
        width=config.generator_width,
        multipliers=config.multipliers,
        blocks=config.residual_blocks,
        attention_levels=config.attention_levels,
        dtype=jnp.dtype(config.precision),
    )
    return _Networks(UNet(shape, config.patch**2), Control(shape))


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
