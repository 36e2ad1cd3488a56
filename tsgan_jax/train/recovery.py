"""Recovery from updates that are not finite: return to the last good checkpoint, and stop if that does not help."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from tsgan_jax.errors import UserError
from tsgan_jax.files import write_json
from tsgan_jax.train import processes
from tsgan_jax.train.checkpoint import Checkpoints
from tsgan_jax.train.loop import CompiledStep, Hook, NonFinite, run

S = TypeVar("S")
DIAGNOSIS = "diagnosis.json"


def run_recovering(
    step: CompiledStep[Any, Any],
    state: S,
    batches_from: Callable[[int], Iterator[Any]],
    hooks: Sequence[Hook],
    checkpoints: Checkpoints,
    load: Callable[[bool], S],
    *,
    until_images: int,
    log_steps: int = 50,
    bad_limit: int = 10,
    rollbacks: int = 3,
    say: Callable[[str], None] = print,
) -> S:
    """`loop.run` that returns to a checkpoint after `bad_limit` or more consecutive updates that are not finite.

    batches_from: images seen -> batches from that position.
    load: the state of the newest checkpoint or, given True, of the one before it if it exists.

    Repeated steps use other noise (the stage key is folded with the number of the attempt), so that the same fault does
    not recur.  From the second attempt on the earlier checkpoint is loaded, because the newest may be finite but
    unusable.  After `rollbacks` attempts without progress a diagnosis is written next to the checkpoints and UserError
    is raised.
    """
    attempts, reached = 0, max(checkpoints.steps(), default=-1)
    while True:
        try:
            batches = batches_from(int(state.images_seen))  # type: ignore[attr-defined]
            return run(step, state, batches, hooks, until_images=until_images, log_steps=log_steps, bad_limit=bad_limit)
        except NonFinite as fault:
            checkpoints.wait()
            processes.barrier()  # all see the same checkpoints
            latest = max(checkpoints.steps(), default=-1)
            attempts = 1 if latest > reached else attempts + 1
            reached = max(reached, latest)
            if attempts > rollbacks:
                raise UserError(_diagnose(fault, rollbacks, checkpoints.directory.parent / DIAGNOSIS)) from None
            earlier = load(attempts > 1)
            state = earlier.replace(key=jax.random.fold_in(earlier.key, attempts))  # type: ignore[attr-defined]
            back = int(state.step)  # type: ignore[attr-defined]
            say(f"step {fault.step}: at least {bad_limit} updates in a row not finite; step {back} again, other noise")
            checkpoints.drop_after(back)
            for hook in hooks:
                hook.rewind(back, int(state.images_seen))  # type: ignore[attr-defined]


def _diagnose(fault: NonFinite, attempts: int, path: Path) -> str:
    """Write a diagnosis of the fault; returns the message for the user."""
    names = sorted({n for row in fault.recent for n, v in row.items() if not math.isfinite(v)})
    recent = [{n: (v if math.isfinite(v) else str(v)) for n, v in row.items()} for row in fault.recent]
    found = {"step": fault.step, "images_seen": fault.images, "rollbacks": attempts, "not_finite": names}
    write_json(path, {**found, "latest_steps": recent}, indent=1)
    what = f"{', '.join(names)} became NaN or infinite" if names else "gradients became NaN or infinite"
    return (
        f"training does not recover: {what} at step {fault.step}, again after {attempts} returns to the last good "
        f"checkpoint. {path} has the last metrics. Lower the stage's learning_rate or train in precision: float32"
    )
