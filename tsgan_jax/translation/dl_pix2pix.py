"""DL-Pix2Pix (section 3.3): pix2pix with LIA on the skips, DWMH at the bottleneck and a perceptual loss."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tsgan_jax import losses
from tsgan_jax.config import DLPix2PixConfig
from tsgan_jax.errors import UserError
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.nn.layers import Conv, InstanceNorm, PatchCritic, UpConv, initialise
from tsgan_jax.nn.local_importance import MIN_SIZE, LocalImportanceAttention
from tsgan_jax.nn.resample import upsample
from tsgan_jax.nn.stylegan import modulate
from tsgan_jax.nn.window_attention import DynamicWindowAttention
from tsgan_jax.train.learner import Params, step_streams, stream
from tsgan_jax.translation import appearance as appearances
from tsgan_jax.translation import common
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import Adversarial, Extractor, Loss
from tsgan_jax.types import Array, Key, Metrics, PairBatch

BOTTLENECKS = (4, 8, 16)
"""Sides of the bottleneck that are valid for LIA and DWMH (A8), as from 512 px with 5 to 7 down-samplings."""

PARTS = ("lia", "lia_width", "dwmh", "heads", "window", "dropout", "resize", "appearance")
"""Settings that the generator has under the same name."""
APPEARANCE = 2000
"""Folded into an image's key for its appearance; dropout takes the level."""


class Generator(nn.Module):
    """One-hot mask to CT.

    depth: down-samplings.  Level i (from 0) has width * min(2**i, 8) channels and half the side of
    level i - 1.  Down: LeakyReLU(0.2), 4x4 convolution of stride 2, norm (none in the first and last).
    Up: ReLU, 4x4 transposed convolution of stride 2, norm, dropout in some, then the skip is prepended.

    A skip is LeakyReLU(x), not x, as in pix2pix, whose activation works in place on the tensor that it concatenates
    later.  LIA's gate uses it too (FACTS 3).
    """

    depth: int
    width: int = 64
    lia: bool = True
    lia_width: int = 16
    dwmh: bool = True
    heads: int = 8
    window: int = 4
    dropout: float = 0.5
    resize: bool = False
    appearance: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, mask: Array, keys: Key, appearance: Array | None = None) -> Array:
        """mask: [n, h, w, classes], one-hot 0 and 1; keys: [n], each image's noise (dropout).
        appearance: [n, k], mean 0 and deviation 1, with `appearance`: it scales and shifts each level's channels.

        Returns float32 [n, h, w, 1] in (-1, 1).
        """
        skips, x = [], mask
        features = [self.width * min(2**i, 8) for i in range(self.depth)]
        for i in range(self.depth):
            x = Conv(features[i], use_bias=False, dtype=self.dtype, name=f"down{i}")(x)
            if 0 < i < self.depth - 1:
                x = InstanceNorm(name=f"down{i}_norm")(x)
            if i < self.depth - 1:
                x = jax.nn.leaky_relu(x, 0.2)
                skips.append(x)
        if self.dwmh:
            x = DynamicWindowAttention(self.heads, self.window, self.dtype, name="dwmh")(x)
        for i in reversed(range(1, self.depth)):
            x = self._up(features[i - 1], i)(jax.nn.relu(x))
            x = InstanceNorm(name=f"up{i}_norm")(x)
            if self.appearance:
                x = modulate(x, nn.Dense(2 * x.shape[-1], name=f"appearance{i}")(appearance).astype(x.dtype))
            if i in noisy_levels(self.depth):
                x = _dropout(x, self.dropout, keys, i)
            skip = skips[i - 1]
            if self.lia:
                skip = LocalImportanceAttention(self.lia_width, self.dtype, name=f"lia{i - 1}")(skip)
            x = jnp.concatenate([skip, x], axis=-1)
        x = self._up(1, 0)(jax.nn.relu(x))
        return jnp.tanh(x.astype(jnp.float32))

    def _up(self, features: int, level: int) -> Callable[[Array], Array]:
        """The up-sampling from `level`, with a bias where no norm follows."""
        settings = {"use_bias": level == 0, "dtype": self.dtype, "name": f"up{level}"}
        if not self.resize:
            return UpConv(features, **settings)
        convolution = Conv(features, kernel=3, stride=1, **settings)
        return lambda x: convolution(upsample(x))


def noisy_levels(depth: int) -> tuple[int, ...]:
    """Levels whose up-sampling ends in dropout, the only noise of the network, in training and in sampling: pix2pix's
    depth - 5 middle blocks, or the innermost block where there is none of them (A8).
    """
    return tuple(range(4, depth - 1)) or (depth - 1,)


def _dropout(x: Array, rate: float, keys: Key, level: int) -> Array:
    """Inverted dropout with one key per image, so an image's noise does not depend on its batch."""
    if rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, level), 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))


def dl_pix2pix(config: DLPix2PixConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """DL-Pix2Pix, or pix2pix if its parts are switched off; see `registry.translator`."""
    _check(config)
    features, dtype = common.load_vgg(config), jnp.dtype(config.precision)
    parts = {name: getattr(config, name) for name in PARTS}
    generator = Generator(config.depth, config.generator_width, dtype=dtype, **parts)
    critic = PatchCritic(config.critic_width, config.critic_layers, dtype)

    def init(key: Key) -> Adversarial:
        mask, pair = (jnp.zeros((1, config.resolution, config.resolution, NUM_CLASSES + more)) for more in (0, 1))
        unknown = jnp.zeros((1, appearances.NUMBERS))
        players = (
            initialise(generator, stream(key, "generator"), mask, jax.random.split(key, 1), unknown),
            initialise(critic, stream(key, "critic"), pair),
        )
        memory = appearances.none_yet() if config.appearance else None
        return common.start(key, *players, config.adam_betas, frozen=common.frozen_vgg(features), memory=memory)

    def step(state: Adversarial, batch: PairBatch) -> tuple[Adversarial, Metrics]:
        (noise,) = step_streams(state.key, state.step, "noise")
        rate = config.learning_rate * common.rate_factor(config, images_per_epoch, state.images_seen)
        mask, size = jax.nn.one_hot(batch.mask, NUM_CLASSES), batch.ct.shape[0]

        def logits_of(params: Params, image: Array) -> Array:
            return critic.apply({"params": params}, jnp.concatenate([mask, image], -1))

        extract = common.extractor(config, features, state.frozen)
        critic_loss, generator_loss = _losses(config, logits_of, batch.ct, extract)
        appearance = None
        if config.appearance:
            rows = appearances.measured(batch.ct, batch.mask)
            state = state.replace(memory=appearances.kept(state.memory, rows))  # type: ignore[attr-defined]
            appearance = appearances.standardised(state.memory, rows)
        state, metrics = common.alternate(
            state,
            lambda params: generator.apply({"params": params}, mask, jax.random.split(noise, size), appearance),
            critic_loss,
            generator_loss,
            optax.adam(rate, *config.adam_betas),
            images=size,
        )
        return state, {**metrics, "learning_rate": rate}

    def translate(state: Adversarial, masks: Array, keys: Key) -> Array:
        own = jax.vmap(lambda key: jax.random.fold_in(key, APPEARANCE))(keys)
        appearance = appearances.drawn(state.memory, own) if config.appearance else None
        mask, params = jax.nn.one_hot(masks, NUM_CLASSES), state.generator.params
        return generator.apply({"params": params}, mask, keys, appearance)[..., 0]

    return Translator(init, step, translate, common.about_vgg(features))


def _losses(
    config: DLPix2PixConfig,
    logits_of: Callable[[Params, Array], Array],
    real: Array,
    extract: Extractor | None,
) -> tuple[Callable[[Params, Array], Loss], Callable[[Array, Params], Loss]]:
    """The critic's loss, half the sum on the real and on the fake pair, and the generator's (Eq. 8 to 10).

    logits_of: (critic params, images) -> logits.  The metrics are the unweighted terms.
    """

    def critic_loss(params: Params, fake: Array) -> Loss:
        real_logits, fake_logits = logits_of(params, real), logits_of(params, fake)
        total = losses.patch_critic(real_logits, fake_logits, config.gan_loss)
        return total, {"critic_loss": total, "critic_real": real_logits.mean(), "critic_fake": fake_logits.mean()}

    def generator_loss(fake: Array, params: Params) -> Loss:
        gan = losses.adversarial(logits_of(params, fake), True, config.gan_loss)
        terms = {"gan": gan, "l1": losses.mean_l1(fake, real)}
        total = terms["gan"] + config.l1_weight * terms["l1"]
        if extract is not None:
            terms["perceptual"] = losses.perceptual(extract(fake), extract(real))
            total += config.perceptual_weight * terms["perceptual"]
        return total, {"generator_loss": total, **terms}

    return critic_loss, generator_loss


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
    common.check_critic(config)
