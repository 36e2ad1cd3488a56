"""Progressive growing: the phases of stage 1, its state, and the state with which the next phase starts.

Each resolution above 4 has a phase in which its new blocks fade in, then a stable one (A20, A21).  Time is counted in
real images, so the phases do not depend on the batch size.
"""

from dataclasses import dataclass

import flax.struct
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from tsgan_jax.config import MasksConfig
from tsgan_jax.train.learner import Params, Player
from tsgan_jax.types import Array, Key


@flax.struct.dataclass
class MaskGanState:
    """State of stage 1 in every phase; the phase follows from `images_seen` (`phase_at`)."""

    step: Array
    images_seen: Array
    key: Key
    gen: Player  # parameters {"mapping", "synthesis"}
    critic: Player
    ema: Params  # running mean of the generator's, for samples
    w_avg: Array  # float32 [w_dim], running mean of w, for truncation


@dataclass(frozen=True)
class Phase:
    """A part of the training with one pair of networks and one compiled step."""

    resolution: int
    fade: bool  # whether new blocks fade in
    batch_size: int
    images: int  # length of the phase
    start: int  # images seen before it

    @property
    def end(self) -> int:
        """Images seen at its end."""
        return self.start + self.images


def plan(config: MasksConfig) -> tuple[Phase, ...]:
    """4 stable, 8 fade, 8 stable, 16 fade, ...; a fade has `fade_fraction` of the steps of its resolution."""
    phases: list[Phase] = []
    start = 0
    for resolution in config.resolutions:
        steps, batch = config.steps(resolution), config.batch_size[resolution]
        fading = min(round(config.fade_fraction * steps), steps - 1) if resolution > 4 else 0
        for fade, part in ((True, fading), (False, steps - fading)):
            if part:
                phases.append(Phase(resolution, fade, batch, part * batch, start))
                start += part * batch
    return tuple(phases)


def phase_at(phases: tuple[Phase, ...], images_seen: int) -> tuple[int, Phase]:
    """The index of the phase after `images_seen` images, and the phase; the last one if all are complete."""
    for index, phase in enumerate(phases):
        if images_seen < phase.end:
            return index, phase
    return len(phases) - 1, phases[-1]


def fade_alpha(phase: Phase, images_seen: Array) -> Array:
    """Weight of the new resolution: from 0 at the start of a fade to 1 at its end, then 1; float32 scalar."""
    if not phase.fade:
        return jnp.float32(1.0)
    seen = (images_seen - phase.start).astype(jnp.float32)
    return jnp.clip(seen / phase.images, 0.0, 1.0)


def overlay(fresh: Params, trained: Params) -> Params:
    """`fresh`, with each parameter replaced by that of the same path in `trained`, if there is one; ValueError for one
    of two shapes, which means two different configs.
    """
    old, new = flatten_dict(trained), flatten_dict(fresh)
    for path in new.keys() & old.keys():
        if new[path].shape != old[path].shape:
            raise ValueError(f"{'/'.join(path)}: shape {old[path].shape} cannot grow into {new[path].shape}")
    return unflatten_dict({path: old.get(path, value) for path, value in new.items()})


def grow(state: MaskGanState, fresh: MaskGanState) -> MaskGanState:
    """The state with which the next phase starts: `state` of the previous one laid over `fresh`, its learner's `init`.

    Both optimisers are reset: with the old moments, Adam's first update of the new blocks would be several times the
    learning rate.
    """

    def player(old: Player, new: Player) -> Player:
        return Player(params=overlay(new.params, old.params), opt_state=new.opt_state)

    return state.replace(  # type: ignore[attr-defined]
        gen=player(state.gen, fresh.gen),
        critic=player(state.critic, fresh.critic),
        ema=overlay(fresh.ema, state.ema),
    )
