"""CycleGAN (Zhu et al. 2017); `cycle_translator` is its training, for any generator of images from images of one shape.

There are two sides, "ct" and "mask".  Each player has one network per side, which generates or classifies its images.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from tsgan_jax import losses
from tsgan_jax.config import CycleGANConfig
from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, NODULE, NUM_CLASSES, RIGHT_LUNG, TRACHEA
from tsgan_jax.nn.layers import Conv, PatchCritic, initialise
from tsgan_jax.nn.resnet import Decoder, Encoder, reflect
from tsgan_jax.train.learner import Params, step_streams, stream
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import Adversarial, Loss, alternate, check_critic, rate_factor, start
from tsgan_jax.types import Array, Key, Metrics, PairBatch

OTHER = {"ct": "mask", "mask": "ct"}  # the sides, each with the input side of its generator
Sides = dict[str, Array]  # Images float32 [n, h, w, 1] of both sides
GREY = {BACKGROUND: -1.0, TRACHEA: -0.9, LEFT_LUNG: -0.8, RIGHT_LUNG: -0.7, NODULE: 0.1, BODY: 0.4}
"""The grey value of each class: near the median of its CT in the window [-1000, 400] HU; all values differ."""


class Generator(nn.Module):
    """c7s1-64, d128, d256, nine residual blocks, u128, u64, c7s1-1, tanh, at a width of 64."""

    width: int = 64
    blocks: int = 9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """image: [n, h, w, 1] in [-1, 1], h and w multiples of 4.  Returns float32 [n, h, w, 1] in (-1, 1)."""
        x = Encoder(self.width, self.blocks, self.dtype, name="encoder")(image)
        x = Decoder(self.width, self.dtype, name="decoder")(x)
        x = Conv(1, 7, stride=1, padding=0, dtype=self.dtype, name="last")(reflect(x, 3))
        return jnp.tanh(x.astype(jnp.float32))


def cyclegan(config: CycleGANConfig, images_per_epoch: int) -> Translator[Adversarial]:
    """CycleGAN on unpaired masks and CT; see `cycle_translator`."""
    generator = Generator(config.generator_width, config.residual_blocks, jnp.dtype(config.precision))
    return cycle_translator(config, generator, images_per_epoch)


def cycle_translator(config: CycleGANConfig, generator: nn.Module, images_per_epoch: int) -> Translator[Adversarial]:
    """A Translator of two generators and two 70x70 critics for unpaired masks and CT; see `registry.translator`.

    generator: [n, h, w, 1] -> float32 [n, h, w, 1], both in [-1, 1].
    """
    check_critic(config)
    critic = PatchCritic(config.critic_width, config.critic_layers, jnp.dtype(config.precision), affine=False)

    def init(key: Key) -> Adversarial:
        shape = (config.resolution, config.resolution, 1)

        def both(module: nn.Module, name: str) -> Params:
            return {side: initialise(module, stream(key, f"{name}_{side}"), jnp.zeros((1, *shape))) for side in OTHER}

        pools = {side: new_pool(config.pool_size, *shape) for side in OTHER} if config.pool_size else None
        return start(key, both(generator, "generator"), both(critic, "critic"), config.adam_betas, memory=pools)

    def step(state: Adversarial, batch: PairBatch) -> tuple[Adversarial, Metrics]:
        keys = dict(zip(OTHER, step_streams(state.key, state.step, "pool_ct", "pool_mask"), strict=True))
        rate = config.learning_rate * rate_factor(config, images_per_epoch, state.images_seen)
        real = {"ct": batch.ct, "mask": scalar(batch.mask)}
        critic_loss, generator_loss = _losses(config, critic, real)
        state, metrics = alternate(
            state,
            lambda params: _generate(generator, params, real, identity=config.identity_weight > 0),
            critic_loss,
            generator_loss,
            optax.adam(rate, *config.adam_betas),
            images=batch.ct.shape[0],
            generator_first=True,
            critic_input=lambda images, pools: _from_pools(images.fake, pools, keys),
        )
        return state, {**metrics, "learning_rate": rate}

    def translate(state: Adversarial, masks: Array, keys: Key) -> Array:
        del keys  # the generator has no noise
        return generator.apply({"params": state.generator.params["ct"]}, scalar(masks))[..., 0]

    return Translator(init, step, translate, paired=False)


def scalar(mask: Array) -> Array:
    """Class codes [n, h, w] as one channel, float32 [n, h, w, 1], with the grey level of each class's CT (A23).

    By the codes themselves lungs would be brighter than the body, and methods that learn from unpaired images exchange
    the two.  AttentionGAN copies its input where its maps choose it, hence levels close to the CT's.
    """
    return jnp.asarray([GREY[code] for code in range(NUM_CLASSES)])[mask][..., None]


class CycleImages(NamedTuple):
    """Outputs of both generators: from the other side (fake), from that again (cycled), from their own side (same)."""

    fake: Sides
    cycled: Sides
    same: Sides | None


def _generate(generator: nn.Module, params: Params, real: Sides, identity: bool) -> CycleImages:
    """Images in a batch are independent, so each generator is applied to both sides at once."""

    def made(side: str, *given: Array) -> list[Array]:
        return jnp.split(generator.apply({"params": params[side]}, jnp.concatenate(given)), len(given))

    outputs = {side: made(side, real[other], *[real[side]] * identity) for side, other in OTHER.items()}
    fake = {side: images[0] for side, images in outputs.items()}
    cycled = {side: made(side, fake[other])[0] for side, other in OTHER.items()}
    return CycleImages(fake, cycled, {side: images[1] for side, images in outputs.items()} if identity else None)


def _losses(
    config: CycleGANConfig, critic: PatchCritic, real: Sides
) -> tuple[Callable[[Params, Sides], Loss], Callable[[CycleImages, Params], Loss]]:
    """The critics' and the generators' loss, summed over both sides; the metrics are the unweighted terms.

    Critics: half the sum of LSGAN on real and generated images.
    Generators: LSGAN + cycle_weight (cycle + identity_weight identity), the latter two L1.
    """
    weights = {"gan": 1.0, "cycle": config.cycle_weight, "identity": config.cycle_weight * config.identity_weight}

    def critic_loss(params: Params, generated: Sides) -> Loss:
        log: Metrics = {}
        for side in OTHER:
            logits = critic.apply({"params": params[side]}, jnp.concatenate([real[side], generated[side]]))
            real_logits, fake_logits = jnp.split(logits, 2)
            log[f"critic_{side}"] = losses.patch_critic(real_logits, fake_logits, "lsgan")
        total = log["critic_ct"] + log["critic_mask"]
        return total, {"critic_loss": total, **log}

    def generator_loss(images: CycleImages, params: Params) -> Loss:
        log: Metrics = {}
        for side in OTHER:
            logits = critic.apply({"params": params[side]}, images.fake[side])
            log[f"gan_{side}"] = losses.adversarial(logits, True, "lsgan")
            log[f"cycle_{side}"] = losses.mean_l1(images.cycled[side], real[side])
            if images.same is not None:
                log[f"identity_{side}"] = losses.mean_l1(images.same[side], real[side])
        total = sum((weights[name.split("_")[0]] * term for name, term in log.items()), start=jnp.zeros(()))
        return total, {"generator_loss": total, **log}

    return critic_loss, generator_loss


@flax.struct.dataclass
class Pool:
    """Generated images kept for a critic (Shrivastava et al. 2017)."""

    images: Array  # float32 [size, h, w, c], of which the first `count` are filled
    count: Array  # int32


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

    pool, inputs = jax.lax.scan(one, pool, (images, jax.random.split(key, images.shape[0])))
    return inputs, pool


def _from_pools(fake: Sides, pools: dict[str, Pool] | None, keys: dict[str, Key]) -> tuple[Sides, Any]:
    """The critic's input of each side, from its pool if there is one."""
    if pools is None:
        return fake, None
    drawn = {side: query(pools[side], fake[side], keys[side]) for side in OTHER}
    return {side: shown for side, (shown, _) in drawn.items()}, {side: pool for side, (_, pool) in drawn.items()}
