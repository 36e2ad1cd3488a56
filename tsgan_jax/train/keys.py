"""Random keys are derived from (stage key, step, stream name), never carried: that makes a resume exact."""

import zlib

import jax

from tsgan_jax.types import Array, Key


def stream(key: Key, name: str) -> Key:
    """The key of a named stream; the name, not the order of calls, decides it."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def step_streams(key: Key, step: Array, *names: str) -> tuple[Key, ...]:
    """One key for each named stream of one training step."""
    step_key = jax.random.fold_in(key, step)
    return tuple(stream(step_key, name) for name in names)
