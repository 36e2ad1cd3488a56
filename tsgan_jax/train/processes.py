"""Several processes of one training, on one host or many: their start, what they agree on, the loss of one.

Each runs the same program on its part of every batch (devices.py).  The first one alone writes files; the run directory
is on a disk that all can read.  They agree through JAX's coordination service, which the first one hosts.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
from jax._src.distributed import global_state  # the service's client has no public name

from tsgan_jax.errors import UserError

T = TypeVar("T")

LOST = 75
"""Exit code of a process whose peer is gone (EX_TEMPFAIL): the same commands again go on."""

WAIT_MINUTES = 60
"""How long processes wait for each other, as while the first one prepares data; a dead one is noticed much earlier."""

SIGNS = ("gloo", "nccl", "coordination", "heartbeat", "barrier", "connection", "socket closed", "deadline_exceeded")
"""Words of errors that a peer's end causes."""

_turns = 0
_kept: list[Any] = []
"""What C calls, and Python must not free."""


@dataclass(frozen=True)
class Place:
    """A process among others.  coordinator: host:port of the first one; all None: SLURM says it."""

    coordinator: str | None = None
    count: int | None = None
    index: int | None = None


def start(place: Place, timeout: int) -> None:
    """Join the other processes; call it before anything else uses JAX.

    timeout: seconds until a process that does not come, or is heard no more, counts as lost: this one then ends with a
    message and the code LOST.  Raises UserError for an address that cannot be used.
    """
    _report_abort(place.index if place.index is not None else int(os.environ.get("SLURM_PROCID", "0")), timeout)
    jax.config.update("jax_enable_preemption_service", False)  # its handler of SIGTERM would replace the loop's
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.count,
            place.index,
            cluster_detection_method="deactivate" if place.coordinator else "slurm",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=timeout,
            shutdown_timeout_seconds=timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{place.coordinator or 'SLURM'}: the processes cannot be joined: {error}") from error


def lost_message(index: int) -> str:
    """What a user is told when a process has lost another one."""
    return (
        f"error: process {index} lost another process of this training (it ended, or its host is out of reach; see its "
        "own output); run the same commands again, on all hosts, to continue from the last checkpoint"
    )


def _report_abort(index: int, timeout: int) -> None:
    """Turn the abort with which JAX's coordination client ends a process into a message and an exit code."""
    message = (lost_message(index) + f" (timeout {timeout} s)\n").encode()

    def ended(signum: int) -> None:
        os.write(2, message)
        os._exit(LOST)

    # Not signal.signal: a handler in Python would never run, because abort() does not return to it.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(ended)
    _kept.append(handler)
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


def is_loss(error: Exception) -> bool:
    """Whether an error comes from the end of another process."""
    text = str(error).lower()
    return count() > 1 and isinstance(error, RuntimeError | ValueError) and any(sign in text for sign in SIGNS)


def count() -> int:
    """Number of processes; 1 where none were joined, without a device being initialised."""
    return int(global_state.num_processes or 1)


def index() -> int:
    """Number of this process, from 0."""
    return int(global_state.process_id or 0)


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return index() == 0


def barrier() -> None:
    """Wait until all processes are here; each must call it as often as the others."""
    global _turns
    if count() > 1:
        _turns += 1
        global_state.client.wait_at_barrier(f"tsgan/{_turns}", 60_000 * WAIT_MINUTES)  # type: ignore[union-attr]


def agreed(value: int) -> int:
    """The largest of the values that the processes bring; they wait for each other."""
    if count() == 1:
        return value
    client: Any = global_state.client
    place = f"tsgan/values/{_turns + 1}/"
    client.key_value_set(f"{place}{index()}", str(value))
    barrier()
    return max(int(text) for _, text in client.key_value_dir_get(place))


def in_turn(work: Callable[[], T]) -> T:
    """The result of `work`, by the first process and then by the others, who find the files that it made."""
    if is_first():
        result = work()
        barrier()
        return result
    barrier()
    return work()


def local(state: T) -> T:
    """A replicated state's copy on this process' first device, for work that the others do not do."""
    if count() == 1:
        return state
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), state)
