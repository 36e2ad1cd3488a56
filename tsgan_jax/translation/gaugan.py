"""GauGAN (Park et al. 2019) as a Translator: a generator with norms modulated by the mask, critics at two scales.

Differences from the publication: each image is normalised alone (`Spade`); the critics get the images of the
generator's step (published: images generated again after it); singular values are updated once per step (published:
in every pass); VGG-19 gets the input that its weights expect (published: images in [-1, 1]).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tsgan_jax import losses
from tsgan_jax.config import GauGANConfig
from tsgan_jax.errors import UserError
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.nn import spectral_norm
from tsgan_jax.nn.layers import initialise, xavier
from tsgan_jax.train.learner import Params, step_streams, stream
from tsgan_jax.translation import common
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import Adversarial, Extractor, Loss
from tsgan_jax.translation.gaugan_networks import Generator, MultiscaleCritic, Style, StyleEncoder, standard_styles
from tsgan_jax.types import Array, Key, Metrics, PairBatch

DEPTH_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # weights of the perceptual loss for each block of VGG-19


class _Networks(NamedTuple):
    generator: Generator
    encoder: StyleEncoder | None
    critic: MultiscaleCritic


class Generated(NamedTuple):
    """The generated images of a batch, and the styles that the encoder gave for it."""

    image: Array
    style: Style | None


def gaugan(config: GauGANConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """GauGAN, with or without its style encoder; see `registry.translator`."""
    _check(config)
    dtype, width = jnp.dtype(config.precision), config.generator_width
    nets = _Networks(
        Generator(config.num_ups, width, config.spade_width, dtype),
        StyleEncoder(width, config.z_dim, dtype) if config.encoder else None,
        MultiscaleCritic(config.critic_scales, config.critic_width, config.critic_layers, dtype),
    )
    features = common.load_vgg(config)

    def init(key: Key) -> Adversarial:
        generator, critic = _first_params(config, nets, key)
        vectors = {"critic": spectral_norm.start(critic, nets.critic.spectral)}
        vectors["generator"] = {
            name: spectral_norm.start(params, getattr(nets, name).spectral) for name, params in generator.items()
        }
        frozen = common.frozen_vgg(features)
        return common.start(key, generator, critic, config.adam_betas, frozen=frozen, memory=vectors)

    def step(state: Adversarial, batch: PairBatch) -> tuple[Adversarial, Metrics]:
        (noise,) = step_streams(state.key, state.step, "style")
        factor = common.rate_factor(config, images_per_epoch, state.images_seen)
        mask, keys = jax.nn.one_hot(batch.mask, NUM_CLASSES), jax.random.split(noise, len(batch.ct))
        weights = {"generator": state.generator.params, "critic": state.critic.params}
        vectors = {player: spectral_norm.iterate(weights[player], u) for player, u in state.memory.items()}

        def outputs_of(params: Params, image: Array) -> list[list[Array]]:
            divided = spectral_norm.normalised(params, vectors["critic"])
            return nets.critic.apply({"params": divided}, jnp.concatenate([mask, image], -1))

        extract = common.extractor(config, features, state.frozen)
        critic_loss, generator_loss = _losses(config, outputs_of, batch.ct, extract)

        def generate(params: Params) -> Generated:
            """CT from the masks, in the style of the real CT if there is an encoder."""
            divided = spectral_norm.normalised(params, vectors["generator"])
            style = nets.encoder.apply({"params": divided["encoder"]}, batch.ct) if nets.encoder else None
            drawn = style.sample(keys) if style else None
            return Generated(nets.generator.apply({"params": divided["generator"]}, mask, drawn), style)

        state, metrics = common.alternate(
            state.replace(memory=vectors),  # type: ignore[attr-defined]
            generate,
            critic_loss,
            generator_loss,
            optax.adam(config.learning_rate * factor, *config.adam_betas),
            images=len(batch.ct),
            critic_adam=optax.adam(config.critic_learning_rate * factor, *config.adam_betas),
            generator_first=True,
        )
        return state, {**metrics, "learning_rate": config.learning_rate * factor}

    def translate(state: Adversarial, masks: Array, keys: Key) -> Array:
        params = spectral_norm.normalised(state.generator.params, state.memory["generator"])["generator"]
        style = standard_styles(keys, config.z_dim) if config.encoder else None
        return nets.generator.apply({"params": params}, jax.nn.one_hot(masks, NUM_CLASSES), style)[..., 0]

    return Translator(init, step, translate, common.about_vgg(features))


def _first_params(config: GauGANConfig, nets: _Networks, key: Key) -> tuple[Params, Params]:
    """Initial parameters of the generator (with the encoder) and of the critic."""
    shape = (1, config.resolution, config.resolution)
    mask, ct, pair = (jnp.zeros((*shape, channels)) for channels in (NUM_CLASSES, 1, NUM_CLASSES + 1))
    style = jnp.zeros((1, config.z_dim)) if nets.encoder else None
    generator = {"generator": initialise(nets.generator, stream(key, "generator"), mask, style, deviation=xavier)}
    if nets.encoder:
        generator["encoder"] = initialise(nets.encoder, stream(key, "encoder"), ct, deviation=xavier)
    return generator, initialise(nets.critic, stream(key, "critic"), pair, deviation=xavier)


def _losses(
    config: GauGANConfig,
    outputs_of: Callable[[Params, Array], list[list[Array]]],
    real: Array,
    extract: Extractor | None,
) -> tuple[Callable[[Params, Generated], Loss], Callable[[Generated, Params], Loss]]:
    """The critics' hinge loss, and the generator's: hinge + feature matching + perceptual (+ KL), weighted.

    outputs_of: (critic params, images) -> every scale's outputs.  The metrics are the unweighted terms.
    """
    layers = {layer: DEPTH_WEIGHTS[int(layer[4]) - 1] for layer in config.perceptual_layers}

    def critic_loss(params: Params, generated: Generated) -> Loss:
        real_logits, fake_logits = (_logits(outputs_of(params, image)) for image in (real, generated.image))
        total = losses.hinge_critic(real_logits, fake_logits)
        real_mean, fake_mean = losses.mean_of_means(real_logits), losses.mean_of_means(fake_logits)
        return total, {"critic_loss": total, "critic_real": real_mean, "critic_fake": fake_mean}

    def generator_loss(generated: Generated, params: Params) -> Loss:
        fake_outputs, real_outputs = outputs_of(params, generated.image), outputs_of(params, real)
        terms = {
            "gan": losses.hinge_generator(_logits(fake_outputs)),
            "matching": losses.feature_matching(fake_outputs, real_outputs),
        }
        total = terms["gan"] + config.matching_weight * terms["matching"]
        if extract is not None:
            terms["perceptual"] = losses.perceptual(extract(generated.image), extract(real), layers)
            total += config.perceptual_weight * terms["perceptual"]
        if generated.style is not None:
            terms["kl"] = losses.divergence_from_normal(*generated.style)
            total += config.kl_weight * terms["kl"]
        return total, {"generator_loss": total, **terms}

    return critic_loss, generator_loss


def _logits(outputs: list[list[Array]]) -> list[Array]:
    return [scale[-1] for scale in outputs]


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
