"""CycleGAN's training as published (Zhu et al. 2017), for any generator from one image to another of its shape.

There are two sides, "ct" and "mask".  Each player has one network per side, which generates or classifies its images.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from tsgan_jax import losses
from tsgan_jax.config import CycleGANConfig
from tsgan_jax.errors import UserError
from tsgan_jax.nn.layers import initialise
from tsgan_jax.nn.patch_critic import PatchCritic
from tsgan_jax.train.learner import Params, step_streams, stream
from tsgan_jax.translation.adversarial import Adversarial, Loss, alternate, start
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import adam, learning_rate, scalar
from tsgan_jax.types import Array, Key, Metrics, PairBatch

OTHER = {"ct": "mask", "mask": "ct"}
"""The sides, each with the input side of its generator."""

Sides = Mapping[str, Array]
"""Images float32 [n, h, w, 1] of both sides."""


class CycleImages(NamedTuple):
    """Outputs of both generators: from the other side (fake), from that again (cycle), from their own side
    (identity)."""

    fake: Sides
    cycled: Sides
    same: Sides | None


@flax.struct.dataclass
class Pool:
    """Generated images kept for a critic (Shrivastava et al. 2017).

    images: float32 [size, h, w, c], of which the first `count` are filled; count: int32."""

    images: Array
    count: Array


def new_pool(size: int, *shape: int) -> Pool:
    """An empty pool for `size` images of a shape [h, w, c]."""
    return Pool(images=jnp.zeros((size, *shape)), count=jnp.zeros((), jnp.int32))


def query(pool: Pool, images: Array, key: Key) -> tuple[Array, Pool]:
    """The critic's input in place of the new `images` [n, h, w, c], and the new pool.

    For each image in order: while the pool is not full, the image is stored and returned.  Afterwards, with probability
    .5 it replaces a random stored image, which is returned instead.  Images that are not finite are never stored.
    """

    def one(pool: Pool, given: tuple[Array, Key]) -> tuple[Pool, Array]:
        image, key = given
        size = pool.images.shape[0]
        chance, place = jax.random.split(key)
        filling, finite = pool.count < size, jnp.isfinite(image).all()
        swap = ~filling & finite & jax.random.bernoulli(chance)
        slot = jnp.where(filling, pool.count, jax.random.randint(place, (), 0, size))
        old = pool.images[slot]
        kept = jnp.where(finite & (filling | swap), image, old)
        pool = Pool(images=pool.images.at[slot].set(kept), count=pool.count + (filling & finite))
        return pool, jnp.where(swap, old, image)

    pool, inputs = lax.scan(one, pool, (images, jax.random.split(key, images.shape[0])))
    return inputs, pool


def cycle_translator(config: CycleGANConfig, generator: nn.Module, images_per_epoch: int) -> Translator[Adversarial]:
    """A Translator of two generators and two 70x70 critics for unpaired masks and CT.

    generator: [n, h, w, 1] -> float32 [n, h, w, 1], both in [-1, 1].  images_per_epoch: real training images.
    Raises UserError when critic_layers leaves no patch.
    """
    _check(config)
    critic = PatchCritic(config.critic_width, config.critic_layers, jnp.dtype(config.precision), affine=False)

    def init(key: Key) -> Adversarial:
        shape = (config.resolution, config.resolution, 1)

        def both(module: nn.Module, name: str) -> Params:
            return {side: initialise(module, stream(key, f"{name}_{side}"), jnp.zeros((1, *shape))) for side in OTHER}

        pools = {side: new_pool(config.pool_size, *shape) for side in OTHER} if config.pool_size else None
        return start(key, both(generator, "generator"), both(critic, "critic"), config.adam_betas, memory=pools)

    def step(state: Adversarial, batch: PairBatch) -> tuple[Adversarial, Metrics]:
        keys = dict(zip(OTHER, step_streams(state.key, state.step, "pool_ct", "pool_mask"), strict=True))
        rate = learning_rate(
            config.learning_rate, config.epochs, config.decay_start, images_per_epoch, state.images_seen
        )
        real = {"ct": batch.ct, "mask": scalar(batch.mask)}
        state, metrics = alternate(
            state,
            lambda params: _generate(generator, params, real, identity=config.identity_weight > 0),
            _critic_loss(critic, real),
            _generator_loss(config, critic, real),
            adam(rate, config.adam_betas),
            images=batch.ct.shape[0],
            generator_first=True,
            critic_input=lambda images, pools: _critic_input(images.fake, pools, keys),
        )
        return state, {**metrics, "learning_rate": rate}

    def translate(state: Adversarial, masks: Array, keys: Key) -> Array:
        del keys  # the generator has no noise
        return generator.apply({"params": state.generator.params["ct"]}, scalar(masks))[..., 0]

    return Translator(init, step, translate, paired=False)


def _generate(generator: nn.Module, params: Params, real: Sides, identity: bool) -> CycleImages:
    """Images in a batch are independent, so each generator is applied to both sides at once."""

    def made(side: str, given: Array) -> Array:
        return generator.apply({"params": params[side]}, given)

    if not identity:
        fake, same = {side: made(side, real[other]) for side, other in OTHER.items()}, None
    else:
        pairs = {side: made(side, jnp.concatenate([real[other], real[side]])) for side, other in OTHER.items()}
        halves = {side: jnp.split(pair, 2) for side, pair in pairs.items()}
        fake, same = ({side: half[i] for side, half in halves.items()} for i in (0, 1))
    return CycleImages(fake, {side: made(side, fake[other]) for side, other in OTHER.items()}, same)


def _critic_input(fake: Sides, pools: Any, keys: Mapping[str, Key]) -> tuple[Sides, Any]:
    """The critic's input of each side, from its pool if there is one."""
    if pools is None:
        return fake, None
    drawn = {side: query(pools[side], fake[side], keys[side]) for side in OTHER}
    return {side: generated for side, (generated, _) in drawn.items()}, {
        side: after for side, (_, after) in drawn.items()
    }


def _critic_loss(critic: PatchCritic, real: Sides) -> Callable[[Params, Sides], Loss]:
    """Half the sum of the losses on real and generated images, summed over both sides."""

    def loss(params: Params, generated: Sides) -> Loss:
        log: Metrics = {}
        for side in OTHER:
            logits = critic.apply({"params": params[side]}, jnp.concatenate([real[side], generated[side]]))
            real_logits, fake_logits = jnp.split(logits, 2)
            log[f"critic_{side}"] = losses.patch_critic(real_logits, fake_logits, "lsgan")
        total = log["critic_ct"] + log["critic_mask"]
        return total, {"critic_loss": total, **log}

    return loss


def _generator_loss(config: CycleGANConfig, critic: PatchCritic, real: Sides) -> Callable[[CycleImages, Params], Loss]:
    """GAN + cycle_weight (cycle + identity_weight identity), summed over both sides; metrics are the unweighted
    terms."""

    def loss(images: CycleImages, params: Params) -> Loss:
        log: Metrics = {}
        for side in OTHER:
            logits = critic.apply({"params": params[side]}, images.fake[side])
            log[f"gan_{side}"] = losses.adversarial(logits, True, "lsgan")
            log[f"cycle_{side}"] = losses.mean_l1(images.cycled[side], real[side])
            if images.same is not None:
                log[f"identity_{side}"] = losses.mean_l1(images.same[side], real[side])
        weights = {"gan": 1.0, "cycle": config.cycle_weight, "identity": config.cycle_weight * config.identity_weight}
        total = sum((weights[name.split("_")[0]] * term for name, term in log.items()), start=jnp.zeros(()))
        return total, {"generator_loss": total, **log}

    return loss


def _check(config: CycleGANConfig) -> None:
    side = config.resolution
    if side // 2**config.critic_layers < 3:
        raise UserError(f"translation.critic_layers {config.critic_layers} leaves no patch at {side} px")
