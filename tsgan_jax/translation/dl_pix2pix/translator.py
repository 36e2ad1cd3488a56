"""DL-Pix2Pix as a Translator: players, losses (Eq. 8 to 10) and one training step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tsgan_jax import losses
from tsgan_jax.config import DLPix2PixConfig
from tsgan_jax.errors import UserError
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.nn.layers import initialise
from tsgan_jax.nn.local_importance import MIN_SIZE
from tsgan_jax.nn.patch_critic import PatchCritic
from tsgan_jax.train.learner import Params, step_streams, stream
from tsgan_jax.translation import perceptual
from tsgan_jax.translation.adversarial import Adversarial, Loss, alternate, start
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import adam, learning_rate, one_hot
from tsgan_jax.translation.dl_pix2pix.generator import Generator
from tsgan_jax.types import Array, Key, Metrics, PairBatch

BOTTLENECKS = (4, 8, 16)
"""Sides of the bottleneck that are valid for LIA and DWMH (A8), as from 512 px with 5 to 7 down-samplings."""


class _Networks(NamedTuple):
    generator: Generator
    critic: PatchCritic


def dl_pix2pix(config: DLPix2PixConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """DL-Pix2Pix, or pix2pix if its parts are switched off.

    images_per_epoch: real training images, which turns images seen into epochs of the schedule.
    Raises UserError when settings contradict each other or VGG-19's weights are missing.
    """
    _check(config)
    nets = _networks(config)
    features = perceptual.load_features(config)

    def init(key: Key) -> Adversarial:
        size, classes = config.resolution, NUM_CLASSES
        mask = jnp.zeros((1, size, size, classes))
        generator = initialise(nets.generator, stream(key, "generator"), mask, jax.random.split(key, 1))
        critic = initialise(nets.critic, stream(key, "critic"), jnp.zeros((1, size, size, classes + 1)))
        return start(key, generator, critic, config.adam_betas, frozen=perceptual.frozen(features))

    def step(state: Adversarial, batch: PairBatch) -> tuple[Adversarial, Metrics]:
        (noise,) = step_streams(state.key, state.step, "noise")
        rate = learning_rate(
            config.learning_rate, config.epochs, config.decay_start, images_per_epoch, state.images_seen
        )
        mask, size = one_hot(batch.mask), batch.ct.shape[0]
        extract = perceptual.extractor(config, features, state.frozen)
        state, metrics = alternate(
            state,
            lambda params: nets.generator.apply({"params": params}, mask, jax.random.split(noise, size)),
            _critic_loss(config, nets.critic, mask, batch.ct),
            _generator_loss(config, nets.critic, mask, batch.ct, extract),
            adam(rate, config.adam_betas),
            images=size,
        )
        return state, {**metrics, "learning_rate": rate}

    def translate(state: Adversarial, masks: Array, keys: Key) -> Array:
        return nets.generator.apply({"params": state.generator.params}, one_hot(masks), keys)[..., 0]

    return Translator(init, step, translate, perceptual.about(features))


def _networks(config: DLPix2PixConfig) -> _Networks:
    dtype = jnp.dtype(config.precision)
    generator = Generator(
        depth=config.depth,
        width=config.generator_width,
        lia=config.lia,
        lia_width=config.lia_width,
        dwmh=config.dwmh,
        heads=config.heads,
        window=config.window,
        dropout=config.dropout,
        dtype=dtype,
    )
    return _Networks(generator, PatchCritic(config.critic_width, config.critic_layers, dtype))


def _critic_loss(
    config: DLPix2PixConfig, critic: PatchCritic, mask: Array, real: Array
) -> Callable[[Params, Array], Loss]:
    """Half the sum of the losses on the real and on the fake pair."""

    def loss(params: Params, fake: Array) -> Loss:
        real_logits = critic.apply({"params": params}, jnp.concatenate([mask, real], -1))
        fake_logits = critic.apply({"params": params}, jnp.concatenate([mask, fake], -1))
        total = losses.patch_critic(real_logits, fake_logits, config.gan_loss)
        return total, {
            "critic_loss": total,
            "critic_real": real_logits.mean(),
            "critic_fake": fake_logits.mean(),
        }

    return loss


def _generator_loss(
    config: DLPix2PixConfig, critic: PatchCritic, mask: Array, real: Array, extract: perceptual.Extractor | None
) -> Callable[[Array, Params], Loss]:
    """Eq. 8: GAN + lambda_L1 L1 + lambda_perc perceptual; the metrics are the unweighted terms."""

    def loss(fake: Array, params: Params) -> Loss:
        logits = critic.apply({"params": params}, jnp.concatenate([mask, fake], -1))
        terms = {"gan": losses.adversarial(logits, True, config.gan_loss), "l1": losses.mean_l1(fake, real)}
        total = terms["gan"] + config.l1_weight * terms["l1"]
        if extract is not None:
            terms["perceptual"] = losses.perceptual(extract(fake), extract(real))
            total += config.perceptual_weight * terms["perceptual"]
        return total, {"generator_loss": total, **terms}

    return loss


def _check(config: DLPix2PixConfig) -> None:
    """Raise UserError for invalid depths, windows and heads (T12)."""
    side, depth = config.resolution, config.depth
    bottleneck = side / 2**depth
    if bottleneck < 1:
        raise UserError(f"translation.num_downs {depth}: {side} px can be halved {side.bit_length() - 1} times at most")
    if config.lia and bottleneck not in BOTTLENECKS:
        fitting = [str(side.bit_length() - b.bit_length()) for b in reversed(BOTTLENECKS) if side // b >= 4]
        raise UserError(
            f"translation.num_downs {depth} at {side} px leaves a bottleneck of {bottleneck:g} px; with "
            f"translation.lia on it must be 4, 8 or 16 px, so that every skip has at least {MIN_SIZE} px (A7, A8): "
            + (f"set num_downs to {' or '.join(fitting)}" if fitting else "use a larger data.resolution")
            + ", or translation.lia=off"
        )
    if config.dwmh and not 2 <= config.window <= bottleneck:
        raise UserError(
            f"translation.window {config.window}: DWMH needs a window of 2 px up to the bottleneck's "
            f"{bottleneck:g} px; change window or num_downs, or set translation.dwmh=off"
        )
    channels = config.generator_width * min(2 ** (depth - 1), 8)
    if config.dwmh and channels % config.heads:
        raise UserError(
            f"translation.heads {config.heads} does not divide the bottleneck's {channels} channels (A11); "
            "change heads or generator_width"
        )
    if side // 2**config.critic_layers < 3:
        raise UserError(f"translation.critic_layers {config.critic_layers} leaves no patch at {side} px")
