"""What methods share: pix2pix's schedule; state, update and check of those with a critic; VGG-19 for training."""

from collections.abc import Callable
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tsgan_jax.config.translation import AdversarialConfig, DLPix2PixConfig, GauGANConfig, TranslatorConfig
from tsgan_jax.errors import UserError
from tsgan_jax.nn import vgg
from tsgan_jax.train.learner import Params, Player, new_player, update_player
from tsgan_jax.types import Array, Key, Metrics

F = TypeVar("F")
Loss = tuple[Array, Metrics]


def rate_factor(config: TranslatorConfig, images_per_epoch: int, images_seen: Array) -> Array:
    """pix2pix's schedule (section 4.1): 1 for `decay_start` epochs, then decreasing linearly towards 0.

    Epoch e (from 0) has (epochs - e) / (epochs - decay_start + 1), at most 1: with 100 + 100 epochs, 1 up to epoch 99,
    100/101 at epoch 100, 1/101 at epoch 199.  optax's schedules count steps; this one counts images, in whole epochs.
    """
    left = config.epochs - images_seen // images_per_epoch
    return jnp.clip(left / (config.epochs - config.decay_start + 1), 0.0, 1.0)


@flax.struct.dataclass
class Adversarial:
    """State of an adversarial translator.  Several generators or critics are one tree in the player's params."""

    step: Array  # int32, optimiser steps taken
    images_seen: Array  # int32
    key: Key
    generator: Player
    critic: Player
    frozen: Any = None  # weights that training reads and never changes (VGG-19), not in checkpoints; in the state, not
    # in the compiled step, where XLA would hold them as constants and fold them for minutes
    memory: Any = None  # arrays carried from step to step besides the players, such as pools of generated images


def start(
    key: Key, generator: Params, critic: Params, betas: tuple[float, float], *, frozen: Any = None, memory: Any = None
) -> Adversarial:
    """The state before the first step, from initial weights; betas: Adam's."""
    tx = optax.adam(0.0, *betas)
    players = new_player(tx, generator), new_player(tx, critic)
    return Adversarial(jnp.int32(0), jnp.int32(0), key, *players, frozen, memory)


def alternate(
    state: Adversarial,
    generate: Callable[[Params], F],
    critic_loss: Callable[[Params, Any], Loss],
    generator_loss: Callable[[F, Params], Loss],
    adam: optax.GradientTransformation,
    *,
    images: int,
    critic_adam: optax.GradientTransformation | None = None,
    generator_first: bool = False,
    critic_input: Callable[[F, Any], tuple[Any, Any]] | None = None,
) -> tuple[Adversarial, Metrics]:
    """One update of the critic and one of the generator, on the same fakes; the metrics of both with gradient norms.

    generate: generator params -> fakes (any tree), run once.
    critic_loss: (critic params, critic_input) -> loss, metrics.
    generator_loss: (fakes, critic params) -> loss, metrics.
    images: batch size.  critic_adam: the critic's optimiser if its rate differs.
    generator_first: the generator is updated against the old critic, as in CycleGAN; else the new one, as in pix2pix.
    critic_input: (fakes, the state's memory) -> the critic's input, the new memory; None: the input is the fakes.
    """
    fake, pull_back = jax.vjp(generate, state.generator.params)
    inputs, memory = (fake, state.memory) if critic_input is None else critic_input(fake, state.memory)
    critic_grad, critic_log = jax.grad(critic_loss, has_aux=True)(state.critic.params, inputs)
    critic, critic_norm = update_player(critic_adam or adam, state.critic, critic_grad)
    opponent = state.critic if generator_first else critic
    fake_grad, generator_log = jax.grad(generator_loss, has_aux=True)(fake, opponent.params)
    generator, generator_norm = update_player(adam, state.generator, *pull_back(fake_grad))
    norms = {"critic_gradient": critic_norm, "generator_gradient": generator_norm}
    seen = state.images_seen + images
    state = state.replace(  # type: ignore[attr-defined]
        step=state.step + 1, images_seen=seen, generator=generator, critic=critic, memory=memory
    )
    return state, {**critic_log, **generator_log, **norms}


def check_critic(config: AdversarialConfig) -> None:
    """Raise UserError when a PatchCritic of this config would have no patch."""
    if config.resolution // 2**config.critic_layers < 3:
        raise UserError(f"translation.critic_layers {config.critic_layers} leaves no patch at {config.resolution} px")


PerceptualConfig = DLPix2PixConfig | GauGANConfig
Extractor = Callable[[Array], dict[str, Array]]  # Images [n, h, w, 1] in [-1, 1] -> features of VGG-19 by layer


def load_vgg(config: PerceptualConfig) -> vgg.Vgg19 | None:
    """The weights that `config.perceptual` needs; UserError when the config names none or unusable ones."""
    if not config.perceptual:
        return None
    if config.vgg_weights is None:
        raise UserError(
            "translation.perceptual is on but translation.vgg_weights names no file: set it to VGG-19's weights "
            "(torchvision's .pth, Keras' .h5, or .npz), or set translation.perceptual=off"
        )
    if not config.perceptual_layers:
        raise UserError("translation.perceptual_layers is empty: name layers, or set translation.perceptual=off")
    return vgg.load_vgg19(config.vgg_weights, config.perceptual_layers)


def frozen_vgg(features: vgg.Vgg19 | None) -> Any:
    """The weights as arrays for a state's `frozen`."""
    return jax.tree.map(jnp.array, features.params) if features else None


def extractor(config: PerceptualConfig, features: vgg.Vgg19 | None, params: Any) -> Extractor | None:
    """The features of images by the state's weights `params`; None if the loss is off."""
    if features is None:
        return None
    dtype, layers, kind = jnp.dtype(config.precision), config.perceptual_layers, features.kind
    return lambda x: vgg.features(params, x, layers, kind, dtype)


def about_vgg(features: vgg.Vgg19 | None) -> dict[str, str]:
    """Name and hash of the file, for a translator's `about`."""
    return {"vgg19": f"{features.file} ({features.kind})", "vgg19_sha256": features.sha256} if features else {}
