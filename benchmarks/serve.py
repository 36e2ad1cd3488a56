"""The worker of a benchmark, which takes a step on request.  Standard library only."""

import os
import resource
import sys
import time
from collections.abc import Callable


def serve(prepare: Callable[[str, int, int], tuple[Callable[[], None], int]]) -> None:
    """Answer the parent over stdin and stdout until stdin closes.

    argv: case name, resolution, batch size.  prepare(name, resolution, batch) gives a step that returns
    when it is done, and the number of trained parameters.  The first line sent is
    `ready PARAMETERS`; each line received is answered with the seconds of one step and the peak resident
    memory in MiB so far.
    """
    name, resolution, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries goes to stderr
    step, parameters = prepare(name, resolution, batch)
    print("ready", parameters, file=replies, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, peak_mib(), file=replies, flush=True)


def peak_mib() -> float:
    """Largest resident memory of this process; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
