"""CT of masks in batches, and how many images a batch has.

On an accelerator a batch is one program.  Its convolutions may add in another order for another number of images, so
CT is equal to one grey level.  On a CPU that would gain nothing: there each image is a program of its own, several run
side by side, and CT is equal bit for bit whatever the batch.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.stages import Compiled
from numpy.typing import NDArray

from tsgan_jax.generation.candidates import Candidate
from tsgan_jax.train.devices import data_mesh, free_bytes, needed_bytes, on_cpu, overlapped, replicated, split
from tsgan_jax.translation.api import Translator
from tsgan_jax.types import Array, Key

MOST_PIXELS = {True: 2**17, False: 2**20}
"""Pixels of a batch chosen by memory, on a CPU and elsewhere: larger ones are no faster, and delay the first file."""

AT_A_TIME = 2  # batches on the device at a time: one is computed while the one before it is fetched
Render = Callable[[list[Candidate]], Array]


def batch_size_for(
    translator: Translator[Any],
    state: Any,
    side: int,
    count: int,
    wanted: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Images of a batch for `count` masks of side `side`: `wanted`, or the most of which AT_A_TIME fit into memory,
    shared evenly among the batches; at least one.  Found by compiling; `renderer` uses the program.
    """
    if wanted is not None:
        return min(wanted, count)
    say("translation: compiling")
    free = free_bytes() // AT_A_TIME
    size = _even(count, max(1, MOST_PIXELS[on_cpu()] // side**2))
    while (needed := _bytes_of(translator, state, side, size)) > free and size > 1:
        # Halve at least: the weights, which are part of what is needed, do not shrink with the batch.
        size = _even(count, max(1, min(size // 2, size * free // needed)))
    needed_mib, free_mib = (-(-AT_A_TIME * each // 2**20) for each in (needed, free))
    say(f"translation: batches of {size}, {AT_A_TIME} at a time, need {needed_mib:,} MiB of {free_mib:,} MiB")
    return size


def renderer(translator: Translator[Any], state: Any, key: Key, size: int) -> Render:
    """CT [n, h, w] in [-1, 1] of up to `size` masks; rows past the masks given are padding.

    Image i's noise comes from `fold_in(key, i)`.  The result is still being computed when the call returns.
    """
    mesh = data_mesh(size)
    state, key = jax.device_put((state, key), replicated(mesh))
    together = _together(size)

    def render(batch: list[Candidate]) -> Array:
        filled = batch + batch[-1:] * (-len(batch) % together)
        masks = np.stack([candidate.mask for candidate in filled if candidate.mask is not None])
        indices = np.array([candidate.index for candidate in filled], np.uint32)
        program = _program(translator, state, masks.shape[1], size)
        starts = range(0, len(filled), together)
        parts = [program(state, key, masks[at : at + together], indices[at : at + together]) for at in starts]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    return render


def rendered(
    render: Render, batches: Iterable[list[Candidate]]
) -> Iterator[tuple[list[Candidate], NDArray[np.float32]]]:
    """Batches with their CT [len(batch), h, w], in order; AT_A_TIME of them are on the device."""
    for batch, ct in overlapped(((batch, render(batch)) for batch in batches), AT_A_TIME):
        yield batch, np.asarray(ct)[: len(batch)]


def _even(count: int, most: int) -> int:
    """Images of a batch, if `count` are shared by as few batches of up to `most` as possible."""
    return -(-count // -(-count // most))


def _together(size: int) -> int:
    """Images of one program: the batch, on a CPU one for each device."""
    return data_mesh(size).size if on_cpu() else size


def _bytes_of(translator: Translator[Any], state: Any, side: int, size: int) -> int:
    """Bytes of a batch on one device: on a CPU its programs may all run at once."""
    return needed_bytes(_program(translator, state, side, size), runs=size // _together(size))


def _program(translator: Translator[Any], state: Any, side: int, size: int) -> Compiled:
    shapes, tree = jax.tree.flatten(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state))
    return _compiled(translator.translate, tree, tuple(shapes), side, _together(size), data_mesh(size))


@functools.lru_cache(maxsize=8)
def _compiled(
    method: Callable[[Any, Array, Key], Array],
    tree: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    side: int,
    together: int,
    mesh: jax.sharding.Mesh,
) -> Compiled:
    """(state, key, masks [together, side, side], indices [together]) to CT [together, side, side]."""

    def some(state: Any, key: Key, masks: Array, indices: Array) -> Array:
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)
        return method(state, masks, keys)

    whole, part = PartitionSpec(), PartitionSpec("data")  # type: ignore[no-untyped-call]
    shared = jax.shard_map(some, mesh=mesh, in_specs=(whole, whole, part, part), out_specs=part, check_vma=False)
    placed = (replicated(mesh), replicated(mesh), split(mesh), split(mesh))
    masks = jax.ShapeDtypeStruct((together, side, side), np.uint8)
    indices = jax.ShapeDtypeStruct((together,), np.uint32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.tree.unflatten(tree, shapes)
    return jax.jit(shared, in_shardings=placed).lower(state, key, masks, indices).compile()
