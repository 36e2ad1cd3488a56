"""Stage 1's training step: StyleGAN with WGAN-GP (section 3.2; Eq. 1 and 2).

One step is a critic update followed by a generator update against the new critic, each with latents of its
own (NVlabs' order, A20); then the running means.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import optax

from tsgan_jax import losses
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import MaskGanState, Phase, fade_alpha
from tsgan_jax.masks.networks import Networks, layer_noise, mix_styles, networks_of, num_layers
from tsgan_jax.masks.representation import representation_of
from tsgan_jax.nn.equalized import initialise
from tsgan_jax.nn.resample import downsample, fade, upsample
from tsgan_jax.train.learner import (
    Learner,
    Params,
    mean_over_parts,
    moving_average,
    new_player,
    step_streams,
    stream,
    update_player,
)
from tsgan_jax.types import Array, Key, MaskBatch, Metrics


def generate(
    config: MasksConfig, networks: Networks, params: Params, key: Key, n: int, alpha: Array
) -> tuple[Array, Array]:
    """Maps [n, r, r, c] of n new latents, with style mixing; their first w's [n, w_dim]."""
    z_key, mix_key, noise_key = jax.random.split(key, 3)
    z = jax.random.normal(z_key, (2 * n, config.z_dim))
    first, second = jnp.split(networks.mapping.apply({"params": params["mapping"]}, z), 2)
    resolution = networks.synthesis.resolution
    ws = mix_styles(mix_key, first, second, num_layers(resolution), config.style_mixing)
    noise = jax.vmap(lambda k: layer_noise(k, resolution))(jax.random.split(noise_key, n))
    return networks.synthesis.apply({"params": params["synthesis"]}, ws, noise, alpha), first


def optimiser(config: MasksConfig, resolution: int) -> optax.GradientTransformation:
    """Adam of section 4.1.  Without a first moment (beta1 = 0) none is kept: the same updates, less state."""
    beta1, beta2 = config.adam_betas
    if beta1 != 0.0:
        moments = optax.scale_by_adam(b1=beta1, b2=beta2, eps=1e-8)
    else:
        moments = optax.scale_by_rms(decay=beta2, eps=1e-8, eps_in_sqrt=False, bias_correction=True)
    return optax.chain(moments, optax.scale(-config.rate(resolution)))


def critic_objective(
    config: MasksConfig, networks: Networks, params: Params, real: Array, fake: Array, mix_key: Key, alpha: Array
) -> tuple[Array, Metrics]:
    """Eq. 1: E[D(fake)] - E[D(real)] + lambda_gp E[(|grad D(x-hat)| - 1)^2] + lambda_drift E[D^2]."""

    def score(x: Array, parts: int = 1) -> Array:
        return networks.discriminator.apply({"params": params}, x, alpha, parts)

    real_scores, fake_scores = jnp.split(score(jnp.concatenate([real, fake]), parts=2), 2)
    penalty, norm = losses.gradient_penalty(score, losses.interpolate(mix_key, real, fake))
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


def stylegan(config: MasksConfig, phase: Phase) -> Learner[MaskGanState, MaskBatch]:
    """The learner of one phase.

    `init(key)` gives the state of a run that begins with this phase (the first one; for a later one `grow`
    lays the trained parameters over it).  `step` takes batches of any size at the phase's resolution.
    """
    networks, tx = networks_of(config, phase), optimiser(config, phase.resolution)
    critic_input, parts = representation_of(config).critic_input, config.parts(phase.resolution)
    pooled = phase.fade or phase.resolution < config.resolution  # whether real maps are averages

    def init(key: Key) -> MaskGanState:
        return initial_state(config, phase, networks, tx, key)

    def step(state: MaskGanState, batch: MaskBatch) -> tuple[MaskGanState, Metrics]:
        alpha = fade_alpha(phase, state.images_seen)
        names = ("critic latents", "critic fake", "critic real", "interpolate", "generator latents", "generator fake")
        keys = step_streams(state.key, state.step, *names)

        def critic_gradient(keys: Sequence[Key], maps: Array) -> tuple[Params, Metrics, Array]:
            z_key, fake_key, real_key, mix_key = keys
            fake, w = generate(config, networks, state.gen.params, z_key, len(maps), alpha)
            real = fade(upsample(downsample(maps)), maps, alpha) if phase.fade else maps
            real, fake = critic_input(real_key if pooled else None, real), critic_input(fake_key, fake)
            objective = partial(critic_objective, config, networks, real=real, fake=fake, mix_key=mix_key, alpha=alpha)
            return *jax.grad(objective, has_aux=True)(state.critic.params), w.mean(0)

        grads, log, w = mean_over_parts(critic_gradient, parts, keys[:4], batch.maps)
        critic, critic_size = update_player(tx, state.critic, grads)

        def generator_gradient(keys: Sequence[Key], maps: Array) -> tuple[Array, Params]:
            def objective(params: Params) -> Array:
                """Eq. 2: -E[D(fake)]."""
                fake, _ = generate(config, networks, params, keys[0], len(maps), alpha)
                scores = networks.discriminator.apply({"params": critic.params}, critic_input(keys[1], fake), alpha)
                return losses.wasserstein_generator(scores)

            return jax.value_and_grad(objective)(state.gen.params)

        loss, grads = mean_over_parts(generator_gradient, parts, keys[4:], batch.maps)
        gen, gen_size = update_player(tx, state.gen, grads)
        n = len(batch.maps)
        new = state.replace(  # type: ignore[attr-defined]
            step=state.step + 1,
            images_seen=state.images_seen + n,
            gen=gen,
            critic=critic,
            ema=moving_average(state.ema, gen.params, n, config.ema_half_life),
            w_avg=config.w_avg_decay * state.w_avg + (1.0 - config.w_avg_decay) * w,
        )
        sizes = {"critic_gradient": critic_size, "generator_gradient": gen_size}
        return new, {**log, "generator_loss": loss, **sizes, "alpha": alpha}

    return Learner(init, step)


def initial_state(
    config: MasksConfig, phase: Phase, networks: Networks, tx: optax.GradientTransformation, key: Key
) -> MaskGanState:
    """Untrained networks; counters as at the beginning of `phase`."""
    z_key, synthesis_key, critic_key = (stream(key, name) for name in ("mapping", "synthesis", "critic"))
    alpha = jnp.float32(1.0)
    z, ws = jnp.zeros((1, config.z_dim)), jnp.zeros((1, num_layers(phase.resolution), config.w_dim))
    noise = tuple(one[None] for one in layer_noise(synthesis_key, phase.resolution))
    image = jnp.zeros((1, phase.resolution, phase.resolution, representation_of(config).channels))
    gen_params = {
        "mapping": initialise(networks.mapping, z_key, z),
        "synthesis": initialise(networks.synthesis, synthesis_key, ws, noise, alpha),
    }
    critic_params = initialise(networks.discriminator, critic_key, image, alpha)
    return MaskGanState(
        step=jnp.int32(0),
        images_seen=jnp.int32(phase.start),
        key=stream(key, "steps"),
        gen=new_player(tx, gen_params),
        critic=new_player(tx, critic_params),
        ema=jax.tree.map(jnp.copy, gen_params),
        w_avg=jnp.zeros(config.w_dim),
    )
