"""The contract between methods and the training loop: a pair of pure functions over one pytree.

Random keys are derived from (stage key, step, stream name) and never stored, so a resume is exact.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tsgan_jax.types import Array, Key, Metrics

Params = Any


class TrainState(Protocol):
    """What the loop may read of a method's state; everything else in it is the method's own.

    A state may also have a field `frozen`: weights that training reads and never changes, such as VGG-19's.  `init`
    gives the same ones for every key.  Checkpoints do not hold them.
    """

    step: Array  # int32 scalar, optimiser steps taken
    images_seen: Array  # int32 scalar, real images consumed; schedules and data position follow it
    key: Key  # typed PRNG key of the stage; step keys are folded from it, it never changes


S = TypeVar("S")
B = TypeVar("B")
T = TypeVar("T")


class Learner(NamedTuple, Generic[S, B]):
    """`init(key) -> state` and `step(state, batch) -> (state, metrics)`, pure, closed over a frozen config.

    `step` returns a state with the same tree, shapes and dtypes.  The metrics include the gradient norm of every
    player: a step with any metric that is not finite counts as skipped.
    """

    init: Callable[[Key], S]
    step: Callable[[S, B], tuple[S, Metrics]]


@flax.struct.dataclass
class Player:
    """One network and its optimiser state."""

    params: Params
    opt_state: optax.OptState


def new_player(tx: optax.GradientTransformation, params: Params) -> Player:
    """A player with a new optimiser state."""
    return Player(params=params, opt_state=tx.init(params))


def update_player(tx: optax.GradientTransformation, player: Player, grads: Params) -> tuple[Player, Array]:
    """One optimiser step, and the norm of the gradient; if the norm is not finite the player is unchanged."""
    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, player.opt_state, player.params)
    new = Player(params=optax.apply_updates(player.params, updates), opt_state=opt_state)
    finite = jnp.isfinite(norm)
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, player), norm


def without_frozen(state: S) -> S:
    """The state as a checkpoint holds it: without `frozen` weights."""
    if getattr(state, "frozen", None) is None:
        return state
    saved: S = state.replace(frozen=None)  # type: ignore[attr-defined]
    return saved


def with_frozen(state: S, init: Callable[[Key], S], sharding: jax.sharding.Sharding) -> S:
    """A state from a checkpoint with the `frozen` weights that `init` gives, if there are any."""
    key = jax.random.key(0)
    if getattr(jax.eval_shape(init, key), "frozen", None) is None:
        return state
    frozen = jax.jit(lambda key: init(key).frozen, out_shardings=sharding)(key)  # type: ignore[attr-defined]
    whole: S = state.replace(frozen=frozen)  # type: ignore[attr-defined]
    return whole


def without_optimizers(state: S) -> S:
    """The state that sampling and translating read: its players without optimiser state, no `frozen` weights."""

    def weights_only(part: Any) -> Any:
        return Player(params=part.params, opt_state=()) if isinstance(part, Player) else part

    read: S = jax.tree.map(weights_only, without_frozen(state), is_leaf=lambda part: isinstance(part, Player))
    return read


def mean_over_parts(gradient: Callable[..., T], parts: int, keys: Sequence[Key], *batches: Array) -> T:
    """The mean of `gradient(keys, *batches)` over equal parts of a batch, computed in sequence.

    This is gradient accumulation: the memory is that of one part.  keys: split for the parts; a single part uses them
    unchanged.  batches: arrays [n, ...], n a multiple of `parts`.  Returns what `gradient` returns.
    """
    if parts == 1:
        return gradient(keys, *batches)
    each = tuple(jax.random.split(key, parts) for key in keys)
    inputs = each, *(batch.reshape(parts, -1, *batch.shape[1:]) for batch in batches)
    shapes = jax.eval_shape(lambda one: gradient(*one), jax.tree.map(lambda x: x[0], inputs))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(lambda sum_, one: (jax.tree.map(jnp.add, sum_, gradient(*one)), None), zeros, inputs)
    mean: T = jax.tree.map(lambda leaf: leaf / parts, total)
    return mean


def moving_average(average: Params, params: Params, images: int, half_life: int | Array) -> Params:
    """`average` moved towards `params` by a step of `images`; its weight halves every `half_life` images."""
    beta = 0.5 ** (images / half_life)
    return jax.tree.map(lambda a, p: beta * a + (1.0 - beta) * p, average, params)


def stream(key: Key, name: str) -> Key:
    """The key of a named stream; it depends on the name, not on the order of calls."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def step_streams(key: Key, step: Array, *names: str) -> tuple[Key, ...]:
    """One key for each named stream of one training step."""
    step_key = jax.random.fold_in(key, step)
    return tuple(stream(step_key, name) for name in names)
