"""A head start for new layers: before a resolution fades in, its layers learn to do what the old ones do.

Not in the paper (A20).  A new block starts from noise, and at StyleGAN's learning rate its weights, of variance 1, need
thousands of steps to leave it: growing is paid for in images.  What the new layers shall do first is known, though:
the generator's new head shall draw what the old head draws, and the critic's new block shall see in it what the old
path sees.  So they are fitted to that, alone and fast, while all that is older stands still; then the fade begins, and
the adversary is left with the details.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from tsgan_jax import losses
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.discriminator import PATHS, discriminator_of
from tsgan_jax.masks.growth import Phase
from tsgan_jax.masks.learner import imagine, shown
from tsgan_jax.masks.state import MaskGanState
from tsgan_jax.masks.synthesis import class_shares
from tsgan_jax.train.keys import step_streams
from tsgan_jax.train.learner import Params
from tsgan_jax.types import Array, Metrics

RATE = 0.05
"""Adam's first learning rate; it falls to 0 in a straight line."""

Flat = dict[tuple[str, ...], Array]


class Pupils(NamedTuple):
    """The new layers of both networks, by path."""

    gen: Flat
    critic: Flat


def split_new(params: Params, phase: Phase) -> tuple[Flat, Flat]:
    """Parameters by path: those of the phase's resolution, which are new in a fade, and all others."""
    flat = flatten_dict(params)
    prefix = f"b{phase.resolution}_"
    new = {path: leaf for path, leaf in flat.items() if any(name.startswith(prefix) for name in path)}
    return new, {path: leaf for path, leaf in flat.items() if path not in new}


def joined(*parts: Flat) -> Params:
    """`split_new` undone."""
    return unflatten_dict({path: leaf for part in parts for path, leaf in part.items()})


def lessons(config: MasksConfig, phase: Phase) -> int:
    """Steps of the head start before `phase`: `config.head_start`, but no more than the fade itself has; else 0."""
    return min(config.head_start, phase.images // phase.batch_size) if phase.fade else 0


def head_start(state: MaskGanState, config: MasksConfig, phase: Phase) -> tuple[MaskGanState, Metrics, Metrics]:
    """`state`, just grown, with the new layers of a fade fitted to the old ones in `lessons(config, phase)` > 0 steps.

    Returns with it, of the first step and of the last, `head_lag` (`losses.head_lag`) and `path_lag` (mean squared
    difference of the critic's two paths over the old one's mean square).  A pure function of the state: the same
    whenever it is computed.
    """
    new_gen, old_gen = split_new(state.gen.params, phase)
    new_critic, old_critic = split_new(state.critic.params, phase)
    critic = discriminator_of(config, phase)
    scale = jnp.float32(config.gumbel_floor)
    steps = lessons(config, phase)
    tx = optax.adam(optax.linear_schedule(RATE, 0.0, steps), b1=0.0, b2=0.99)

    def lag(pupils: Pupils, old_gen: Flat, old_critic: Flat, index: Array) -> tuple[Array, Metrics]:
        names = ("head start latents", "head start sample", "head start alpha")
        latent_key, sample_key, alpha_key = step_streams(state.key, state.step + index, *names)
        heads, _ = imagine(config, phase, joined(old_gen, pupils.gen), latent_key, phase.batch_size)
        alpha = jax.random.uniform(alpha_key)  # pictures from all of the fade
        fake = jax.lax.stop_gradient(shown(config, phase, sample_key, class_shares(heads, alpha), scale, alpha))
        params = {"params": joined(old_critic, pupils.critic)}
        _, seen = critic.apply(params, fake, alpha, mutable=[PATHS])
        ((old, new),) = jax.tree.map(lambda x: x.astype(jnp.float32), seen[PATHS]["old_and_new"])
        old = jax.lax.stop_gradient(old)
        log = {
            "head_lag": losses.head_lag(*heads),
            "path_lag": jnp.square(new - old).mean() / jnp.square(old).mean(),
        }
        return log["head_lag"] + log["path_lag"], log

    @jax.jit
    def lesson(
        pupils: Pupils, opt_state: optax.OptState, old_gen: Flat, old_critic: Flat, index: Array
    ) -> tuple[Pupils, optax.OptState, Metrics]:
        grads, log = jax.grad(lag, has_aux=True)(pupils, old_gen, old_critic, index)
        updates, opt_state = tx.update(grads, opt_state, pupils)
        return optax.apply_updates(pupils, updates), opt_state, log

    pupils, logs = Pupils(new_gen, new_critic), []
    opt_state = tx.init(pupils)
    for index in range(steps):
        pupils, opt_state, log = lesson(pupils, opt_state, old_gen, old_critic, jnp.int32(index))
        logs.append(log)
    _, old_ema = split_new(state.ema, phase)
    state = replace(
        state,
        gen=replace(state.gen, params=joined(old_gen, pupils.gen)),
        critic=replace(state.critic, params=joined(old_critic, pupils.critic)),
        ema=joined(old_ema, pupils.gen),
    )
    return state, logs[0], logs[-1]
