"""GauGAN as a Translator: players, losses and one training step.

Differences from the publication: each image is normalised alone (`Spade`); the critics get the images of the
generator's step (published: images generated again after it); singular values are updated once per step (published:
in every pass); VGG-19 gets the input that its weights expect (published: images in [-1, 1]).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tsgan_jax import losses
from tsgan_jax.config import GauGANConfig
from tsgan_jax.errors import UserError
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.nn import spectral_norm
from tsgan_jax.nn.layers import initialise, xavier
from tsgan_jax.train.learner import Params, step_streams, stream
from tsgan_jax.translation import perceptual
from tsgan_jax.translation.adversarial import Adversarial, Loss, alternate, start
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import adam, learning_rate, one_hot
from tsgan_jax.translation.gaugan.networks import (
    Generator,
    MultiscaleCritic,
    Style,
    StyleEncoder,
    sample,
    standard_styles,
)
from tsgan_jax.types import Array, Key, Metrics, PairBatch

DEPTH_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weights of the perceptual loss for each block of VGG-19."""


class _Networks(NamedTuple):
    generator: Generator
    encoder: StyleEncoder | None
    critic: MultiscaleCritic


class Generated(NamedTuple):
    """The generated images of a batch, and the styles that the encoder gave for it."""

    image: Array
    style: Style | None


def gaugan(config: GauGANConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """GauGAN, with or without its style encoder.

    images_per_epoch: real training images, which turns images seen into epochs of the schedule.
    Raises UserError when settings contradict each other or VGG-19's weights are missing.
    """
    _check(config)
    nets = _networks(config)
    features = perceptual.load_features(config)

    def init(key: Key) -> Adversarial:
        generator, critic = _first_params(config, nets, key)
        vectors = {"critic": spectral_norm.start(critic, nets.critic.spectral)}
        vectors["generator"] = {
            name: spectral_norm.start(params, getattr(nets, name).spectral) for name, params in generator.items()
        }
        return start(key, generator, critic, config.adam_betas, frozen=perceptual.frozen(features), memory=vectors)

    def step(state: Adversarial, batch: PairBatch) -> tuple[Adversarial, Metrics]:
        (noise,) = step_streams(state.key, state.step, "style")
        rate, critic_rate = (
            learning_rate(base, config.epochs, config.decay_start, images_per_epoch, state.images_seen)
            for base in (config.learning_rate, config.critic_learning_rate)
        )
        mask, size = one_hot(batch.mask), batch.ct.shape[0]
        vectors = {
            player: spectral_norm.iterate(getattr(state, player).params, vectors)
            for player, vectors in state.memory.items()
        }
        outputs_of = _critic_outputs(nets.critic, vectors["critic"], mask)
        state, metrics = alternate(
            state.replace(memory=vectors),  # type: ignore[attr-defined]
            lambda params: _generate(nets, params, vectors["generator"], mask, batch.ct, jax.random.split(noise, size)),
            _critic_loss(outputs_of, batch.ct),
            _generator_loss(config, outputs_of, batch.ct, perceptual.extractor(config, features, state.frozen)),
            adam(rate, config.adam_betas),
            images=size,
            critic_adam=adam(critic_rate, config.adam_betas),
            generator_first=True,
        )
        return state, {**metrics, "learning_rate": rate}

    def translate(state: Adversarial, masks: Array, keys: Key) -> Array:
        params = spectral_norm.normalised(state.generator.params, state.memory["generator"])["generator"]
        style = standard_styles(keys, config.z_dim) if config.encoder else None
        return nets.generator.apply({"params": params}, one_hot(masks), style)[..., 0]

    return Translator(init, step, translate, perceptual.about(features))


def _networks(config: GauGANConfig) -> _Networks:
    dtype = jnp.dtype(config.precision)
    return _Networks(
        generator=Generator(config.num_ups, config.generator_width, config.spade_width, dtype),
        encoder=StyleEncoder(config.generator_width, config.z_dim, dtype) if config.encoder else None,
        critic=MultiscaleCritic(config.critic_scales, config.critic_width, config.critic_layers, dtype),
    )


def _first_params(config: GauGANConfig, nets: _Networks, key: Key) -> tuple[Params, Params]:
    """Initial parameters of the generator (with the encoder) and of the critic."""
    shape = (1, config.resolution, config.resolution)
    mask, ct, pair = (jnp.zeros((*shape, channels)) for channels in (NUM_CLASSES, 1, NUM_CLASSES + 1))
    style = jnp.zeros((1, config.z_dim)) if nets.encoder else None
    generator = {"generator": initialise(nets.generator, stream(key, "generator"), mask, style, deviation=xavier)}
    if nets.encoder:
        generator["encoder"] = initialise(nets.encoder, stream(key, "encoder"), ct, deviation=xavier)
    return generator, initialise(nets.critic, stream(key, "critic"), pair, deviation=xavier)


def _generate(nets: _Networks, params: Params, vectors: Any, mask: Array, ct: Array, keys: Key) -> Generated:
    """CT from the masks, in the style of the real CT if there is an encoder; keys: [n]."""
    weights = spectral_norm.normalised(params, vectors)
    style = nets.encoder.apply({"params": weights["encoder"]}, ct) if nets.encoder else None
    drawn = sample(style, keys) if style else None
    return Generated(nets.generator.apply({"params": weights["generator"]}, mask, drawn), style)


CriticOutputs = Callable[[Params, Array], list[list[Array]]]
"""(critic params, images) -> every scale's outputs."""


def _critic_outputs(critic: MultiscaleCritic, vectors: Any, mask: Array) -> CriticOutputs:
    def outputs_of(params: Params, image: Array) -> list[list[Array]]:
        weights = spectral_norm.normalised(params, vectors)
        return critic.apply({"params": weights}, jnp.concatenate([mask, image], -1))

    return outputs_of


def _logits(outputs: list[list[Array]]) -> list[Array]:
    return [scale[-1] for scale in outputs]


def _critic_loss(outputs_of: CriticOutputs, real: Array) -> Callable[[Params, Generated], Loss]:
    """The hinge loss."""

    def loss(params: Params, generated: Generated) -> Loss:
        real_logits, fake_logits = (_logits(outputs_of(params, image)) for image in (real, generated.image))
        total = losses.hinge_critic(real_logits, fake_logits)
        return total, {
            "critic_loss": total,
            "critic_real": losses.mean_of_means(real_logits),
            "critic_fake": losses.mean_of_means(fake_logits),
        }

    return loss


def _generator_loss(
    config: GauGANConfig, outputs_of: CriticOutputs, real: Array, extract: perceptual.Extractor | None
) -> Callable[[Generated, Params], Loss]:
    """GAN + feature matching + perceptual (+ KL), weighted; the metrics are the unweighted terms."""
    weights = {layer: DEPTH_WEIGHTS[int(layer[4]) - 1] for layer in config.perceptual_layers}

    def loss(generated: Generated, params: Params) -> Loss:
        fake_outputs, real_outputs = outputs_of(params, generated.image), outputs_of(params, real)
        terms = {
            "gan": losses.hinge_generator(_logits(fake_outputs)),
            "matching": losses.feature_matching(fake_outputs, real_outputs),
        }
        total = terms["gan"] + config.matching_weight * terms["matching"]
        if extract is not None:
            terms["perceptual"] = losses.perceptual(extract(generated.image), extract(real), weights)
            total += config.perceptual_weight * terms["perceptual"]
        if generated.style is not None:
            terms["kl"] = losses.divergence_from_normal(*generated.style)
            total += config.kl_weight * terms["kl"]
        return total, {"generator_loss": total, **terms}

    return loss


def _check(config: GauGANConfig) -> None:
    """Raise UserError for doublings and scales that leave too few pixels."""
    side = config.resolution
    if side >> config.num_ups < 2:
        raise UserError(
            f"translation.num_ups {config.num_ups}: from {side} px the start has less than 2 px, too few for a norm; "
            f"set num_ups to at most {side.bit_length() - 2}"
        )
    if side >> (config.critic_scales - 1) < 8:
        raise UserError(
            f"translation.critic_scales {config.critic_scales}: the last one has fewer than 8 px at {side} px; "
            f"set critic_scales to at most {side.bit_length() - 3}"
        )
