"""Worker processes, which end with the command."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from tsgan_jax.errors import UserError


def cores() -> int:
    """Number of cores that this process may use; on macOS all cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int,
    report: Callable[[int, Any], object] = lambda done, result: None,
) -> list[Any]:
    """`function(job)` of every job, in their order, in `workers` processes; in this one if that is at most 1.

    report: is told each result as it comes, and how many are done.  Raises UserError when a worker is killed.
    """
    if workers <= 1:
        results = []
        for job in jobs:
            results.append(function(job))
            report(len(results), results[-1])
        return results
    try:
        with pool(workers) as processes:
            futures = [processes.submit(function, job) for job in jobs]
            for done, future in enumerate(as_completed(futures), start=1):
                report(done, future.result())
            return [future.result() for future in futures]
    except BrokenProcessPool:
        raise UserError(
            f"one of {workers} worker processes was killed, probably for lack of memory; run again with fewer workers"
        ) from None


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that are killed when the block ends with an exception, Ctrl-C and SIGTERM included, and when
    this process is killed.

    They are spawned, not forked, because the parent may have threads of TensorFlow and XLA.
    """
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent) as processes:
        try:
            yield processes
        except BaseException:  # nobody waits for work that is running
            processes.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
            raise


def _end_with_parent() -> None:
    """Leave Ctrl-C, which a terminal sends to workers as well, to the parent, and end when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
