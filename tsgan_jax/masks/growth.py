"""Progressive growing as data: a tuple of static phases, and the step from one phase's state to the next.

Each resolution above 4 has a phase that fades its new blocks in and one that trains them stably (A20, A21).
Time is counted in real images, so that a change of the batch size moves nothing.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.state import MaskGanState
from tsgan_jax.train.learner import Params, Player
from tsgan_jax.types import Array


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one pair of networks: one compiled step.

    resolution: pixels; fade: whether the new blocks are being faded in; batch_size: images of a step;
    images: length of the phase; start: images seen before it.
    """

    resolution: int
    fade: bool
    batch_size: int
    images: int
    start: int

    @property
    def end(self) -> int:
        """Images seen when the phase is over."""
        return self.start + self.images


def plan(config: MasksConfig) -> tuple[Phase, ...]:
    """4 stable, 8 fade, 8 stable, 16 fade, ...; `fade_fraction` of each resolution's steps are its fade."""
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
    """The phase that trains next after `images_seen`, with its index; the last one when all are done."""
    for index, phase in enumerate(phases):
        if images_seen < phase.end:
            return index, phase
    return len(phases) - 1, phases[-1]


def fade_alpha(phase: Phase, images_seen: Array) -> Array:
    """Share of the new resolution, 0 at the start of a fade and 1 from its end on; float32 scalar."""
    if not phase.fade:
        return jnp.float32(1.0)
    seen = (images_seen - phase.start).astype(jnp.float32)
    return jnp.clip(seen / phase.images, 0.0, 1.0)


def overlay(fresh: Params, trained: Params) -> Params:
    """`fresh` with every parameter that `trained` has under the same path taken from there.

    Parameters of `trained` that the new network lacks (the previous resolution's ToRGB after a fade) are
    left behind.  The same path with two shapes means two configs, and raises ValueError.
    """
    old, new = flatten_dict(trained), flatten_dict(fresh)
    for path in new.keys() & old.keys():
        if new[path].shape != old[path].shape:
            raise ValueError(f"{'/'.join(path)}: shape {old[path].shape} cannot grow into {new[path].shape}")
    return unflatten_dict({path: old.get(path, value) for path, value in new.items()})


def grow(state: MaskGanState, fresh: MaskGanState) -> MaskGanState:
    """The state with which the next phase starts.

    state: the last phase's; fresh: `init` of the next phase's learner.  Parameters and their running mean are
    overlaid, counters, key and w_avg carried, and both optimisers start anew: a carried Adam would give the
    new blocks a first update of several times the learning rate.
    """

    def player(old: Player, new: Player) -> Player:
        return Player(params=overlay(new.params, old.params), opt_state=new.opt_state)

    return state.replace(  # type: ignore[attr-defined]
        gen=player(state.gen, fresh.gen),
        critic=player(state.critic, fresh.critic),
        ema=overlay(fresh.ema, state.ema),
    )
