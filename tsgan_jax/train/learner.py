"""The contract between methods and the training loop: a pair of pure functions over one pytree."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tsgan_jax.types import Array, Key, Metrics

Params = Any


class TrainState(Protocol):
    """What the loop may read of a method's state; everything else in it is the method's own."""

    step: Array  # int32 scalar, optimiser steps taken
    images_seen: Array  # int32 scalar, real images consumed; schedules and data position follow it
    key: Key  # typed PRNG key of the stage; step keys are folded from it, it never changes


S = TypeVar("S")
B = TypeVar("B")


class Learner(NamedTuple, Generic[S, B]):
    """`init(key) -> state` and `step(state, batch) -> (state, metrics)`, pure, closed over a frozen config.

    The state that goes into `step` and the one that comes out have the same tree, shapes and dtypes.  The metrics
    hold the gradient norm of every player: a step with any metric that is not finite counts as skipped.
    """

    init: Callable[[Key], S]
    step: Callable[[S, B], tuple[S, Metrics]]


@flax.struct.dataclass
class Player:
    """One network and its optimiser state."""

    params: Params
    opt_state: optax.OptState


def new_player(tx: optax.GradientTransformation, params: Params) -> Player:
    """A player at its start."""
    return Player(params=params, opt_state=tx.init(params))


def update_player(tx: optax.GradientTransformation, player: Player, grads: Params) -> tuple[Player, Array]:
    """One optimiser step, and the norm of the gradient; with a norm that is not finite the player stays as it is."""
    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, player.opt_state, player.params)
    new = Player(params=optax.apply_updates(player.params, updates), opt_state=opt_state)
    finite = jnp.isfinite(norm)
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, player), norm


def moving_average(average: Params, params: Params, images: int, half_life: int | Array) -> Params:
    """`average` moved towards `params` by a step of `images`; half its weight is gone after `half_life` images."""
    beta = 0.5 ** (images / half_life)
    return jax.tree.map(lambda a, p: beta * a + (1.0 - beta) * p, average, params)
