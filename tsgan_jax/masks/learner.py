"""Stage 1's training step: StyleGAN on label maps with WGAN-GP (section 3.2; Eq. 1 and 2).

One step is a critic update followed by a generator update against the new critic, each with latents of its
own (NVlabs' order, A20); then the running means.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from tsgan_jax import labels, losses
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.discriminator import discriminator_of
from tsgan_jax.masks.growth import Phase, fade_alpha, settling
from tsgan_jax.masks.mapping import LR_MUL, average_w, mapping_of, mix_styles, num_layers
from tsgan_jax.masks.small_objects import class_scale, inner, placed, shown_masks
from tsgan_jax.masks.state import MaskGanState
from tsgan_jax.masks.synthesis import class_shares, layer_noise, synthesis_of
from tsgan_jax.nn.equalized import initialise
from tsgan_jax.nn.gumbel import sample_one_hot
from tsgan_jax.train.keys import step_streams, stream
from tsgan_jax.train.learner import Learner, Params, Player, moving_average, new_player, update_player
from tsgan_jax.types import Array, Key, MaskBatch, Metrics


def optimiser(config: MasksConfig, resolution: int, pace: Array | float = 1.0) -> optax.GradientTransformation:
    """Adam of section 4.1, at `pace` of a resolution's learning rate.

    Without a first moment (beta1 = 0) none is kept: the same updates, less state.
    """
    beta1, beta2 = config.adam_betas
    if beta1 != 0.0:
        moments = optax.scale_by_adam(b1=beta1, b2=beta2, eps=1e-8)
    else:
        moments = optax.scale_by_rms(decay=beta2, eps=1e-8, eps_in_sqrt=False, bias_correction=True)
    return optax.chain(moments, optax.scale(-pace * config.rate(resolution)))


def imagine(config: MasksConfig, phase: Phase, params: Params, key: Key, n: int) -> tuple[tuple[Array, ...], Array]:
    """The heads' logits (`Synthesis.heads`) for n new latents, with style mixing; their first w's [n, w_dim].

    params: a generator's, {"mapping", "synthesis"}.
    """
    mapping, synthesis = mapping_of(config), synthesis_of(config, phase)
    z_key, mix_key, noise_key = jax.random.split(key, 3)
    z = jax.random.normal(z_key, (2 * n, config.z_dim))
    first, second = jnp.split(mapping.apply({"params": params["mapping"]}, z), 2)
    ws = mix_styles(mix_key, first, second, num_layers(phase.resolution), config.style_mixing)
    noise = jax.vmap(lambda k: layer_noise(k, phase.resolution))(jax.random.split(noise_key, n))
    return synthesis.apply({"params": params["synthesis"]}, ws, noise, method="heads"), first


def shown(config: MasksConfig, phase: Phase, key: Key, shares: Array, scale: Array, alpha: Array) -> Array:
    """What the critic sees of class shares [n, r, r, 6]: a hard sample (A23), in [-1, 1], small objects with contrast.

    To a critic of slope 1 a class weighs as much as its pixels are many, and nodules and trachea are a thousandth of
    them each.
    """
    if config.discretisation == "gumbel":
        shares = sample_one_hot(key, shares, config.temperature, scale, alpha if phase.fade else None)
    contrast = class_scale({labels.NODULE: config.nodule_contrast, labels.TRACHEA: config.trachea_contrast})
    return (2.0 * shares - 1.0) * contrast


def stylegan(config: MasksConfig, phase: Phase) -> Learner[MaskGanState, MaskBatch]:
    """The learner of one phase.

    `init(key)` gives the state of a run that begins with this phase (the first one; for a later one `grow`
    lays the trained parameters over it).  `step` takes batches of any size at the phase's resolution.
    """
    mapping, synthesis = mapping_of(config), synthesis_of(config, phase)
    discriminator = discriminator_of(config, phase)
    layers = num_layers(phase.resolution)
    tx = optimiser(config, phase.resolution)
    show = functools.partial(shown, config, phase)
    window = max(1, phase.resolution // 42)  # 8 mm of a slice of 340 mm, the diameter of a middling nodule

    def train_critic(
        state: MaskGanState, keys: tuple[Key, ...], real: Array, alpha: Array, scale: Array
    ) -> tuple[Player, Array, Metrics]:
        latent_key, fake_key, real_key, mix_key = keys
        heads, w = imagine(config, phase, state.gen.params, latent_key, real.shape[0])
        fake = class_shares(heads, alpha)
        shares = {
            f"{whose}{labels.NAMES[small]}_share": (masks.argmax(-1) == small).mean(dtype=jnp.float32)
            for whose, masks in (("", fake), ("real_", real))
            for small in labels.SMALL
        }
        real, fake = show(real_key, real, scale, alpha), show(fake_key, fake, scale, alpha)
        between = losses.interpolate(mix_key, real, fake)

        def critic_loss(params: Params) -> tuple[Array, Metrics]:
            def score(x: Array, parts: int = 1) -> Array:
                return discriminator.apply({"params": params}, x, alpha, parts)

            real_scores, fake_scores = jnp.split(score(jnp.concatenate([real, fake]), parts=2), 2)
            penalty, norm = losses.gradient_penalty(score, between)
            distance = losses.wasserstein_critic(real_scores, fake_scores)
            drift = losses.score_drift(real_scores, fake_scores, config.drift_on)
            loss = distance + config.gradient_penalty * penalty + config.drift * drift
            return loss, {
                "critic_loss": loss,
                "wasserstein": -distance,
                "gradient_penalty": penalty,
                "gradient_norm": norm,
                "real_score": real_scores.mean(),
                "fake_score": fake_scores.mean(),
            }

        grads, log = jax.grad(critic_loss, has_aux=True)(state.critic.params)
        critic, size = update_player(tx, state.critic, grads)
        return critic, w, {**log, **shares, "critic_gradient": size}

    def train_generator(
        state: MaskGanState, critic: Player, keys: tuple[Key, ...], real: Array, alpha: Array, scale: Array, pace: Array
    ) -> tuple[Player, Metrics]:
        latent_key, fake_key = keys

        def generator_loss(params: Params) -> tuple[Array, Metrics]:
            heads, _ = imagine(config, phase, params, latent_key, real.shape[0])
            fake = class_shares(heads, alpha)
            scores = discriminator.apply({"params": critic.params}, show(fake_key, fake, scale, alpha), alpha)
            loss = losses.wasserstein_generator(scores)
            made, wanted = inner(placed(fake)), inner(placed(real))
            floor = losses.class_floor(made, wanted) + losses.class_presence(made, wanted, labels.NODULE, window)
            return loss + config.class_floor * floor, {"generator_loss": loss, "class_floor": floor}

        grads, log = jax.grad(generator_loss, has_aux=True)(state.gen.params)
        gen, size = update_player(optimiser(config, phase.resolution, pace), state.gen, grads)
        return gen, {**log, "generator_gradient": size}

    def init(key: Key) -> MaskGanState:
        z_key, synthesis_key, critic_key = (stream(key, name) for name in ("mapping", "synthesis", "critic"))
        alpha = jnp.float32(1.0)
        z, ws = jnp.zeros((1, config.z_dim)), jnp.zeros((1, layers, config.w_dim))
        noise = tuple(one[None] for one in layer_noise(synthesis_key, phase.resolution))
        image = jnp.zeros((1, phase.resolution, phase.resolution, labels.NUM_CLASSES))
        gen_params = {
            "mapping": initialise(mapping, z_key, z, lr_mul=LR_MUL),
            "synthesis": initialise(synthesis, synthesis_key, ws, noise, alpha),
        }
        critic_params = initialise(discriminator, critic_key, image, alpha)
        return MaskGanState(
            step=jnp.int32(0),
            images_seen=jnp.int32(phase.start),
            key=stream(key, "steps"),
            gen=new_player(tx, gen_params),
            critic=new_player(tx, critic_params),
            ema=jax.tree.map(jnp.copy, gen_params),
            w_avg=jnp.zeros(config.w_dim),
        )

    def step(state: MaskGanState, batch: MaskBatch) -> tuple[MaskGanState, Metrics]:
        names = ("critic latents", "critic fake", "critic real", "interpolate", "generator latents", "generator fake")
        keys = step_streams(state.key, state.step, *names)
        alpha = fade_alpha(phase, state.images_seen)
        scale = settling(phase, state.images_seen, config.gumbel_floor)
        pace = settling(phase, state.images_seen, config.generator_pace)
        n = batch.classes.shape[0]
        real = shown_masks(batch.classes, config.nodule_weight, alpha if phase.fade else None)
        critic, w, critic_log = train_critic(state, keys[:4], real, alpha, scale)
        gen, gen_log = train_generator(state, critic, keys[4:], real, alpha, scale, pace)
        new = state.replace(  # type: ignore[attr-defined]
            step=state.step + 1,
            images_seen=state.images_seen + n,
            gen=gen,
            critic=critic,
            ema=moving_average(state.ema, gen.params, n, config.ema_half_life),
            w_avg=average_w(state.w_avg, w, config.w_avg_decay),
        )
        return new, {**critic_log, **gen_log, "alpha": alpha}

    return Learner(init, step)
