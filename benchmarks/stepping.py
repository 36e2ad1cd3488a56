"""A compiled training step for repeated calls."""

from collections.abc import Callable
from typing import Any

import jax

from tsgan_jax.train.devices import data_mesh, place
from tsgan_jax.train.loop import CompiledStep


def stepper(learner: Any, state: Any, batch: Any, batch_size: int) -> Callable[[], None]:
    """A function that trains `state` on `batch` like the training loop, and returns when the step is done."""
    mesh = data_mesh(batch_size)
    step = CompiledStep(learner, mesh)
    held = place(state, mesh), step.start(state, batch)

    def run() -> None:
        nonlocal held
        held = step(*held, batch)
        jax.block_until_ready(held)

    return run


def parameter_count(params: Any) -> int:
    """Numbers in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
