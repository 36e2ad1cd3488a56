"""Masks that pass the gate, in batches, made by a thread while the device computes the CT of earlier ones."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, repeat
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.generation.sources import MaskSource, Redrawn
from tsgan_jax.masks.plausibility import check

T = TypeVar("T")

AHEAD = 2  # batches of masks that wait for their CT


@dataclass
class Candidate:
    """An image in progress: its mask, if one is accepted, with its facts; the reasons for refusing earlier attempts."""

    index: int
    mask: NDArray[np.uint8] | None = None
    refused: list[list[str]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def candidates(
    source: MaskSource, todo: list[int], attempts: int, batch_size: int, pool: ThreadPoolExecutor
) -> Iterator[Candidate]:
    """Every image of `todo`, with its first accepted mask, or without one after `attempts` refusals.

    Images are queued by attempt, so that each draw is full: a batch, rounded up to what the source draws at once.  The
    latest attempt with enough queued images is drawn first, which also limits the queue.
    """
    size = -(-batch_size // source.at_once) * source.at_once
    waiting = [deque[Candidate]() for _ in range(attempts)]
    waiting[0].extend(Candidate(index) for index in todo)
    while any(waiting):
        full = [attempt for attempt, queue in enumerate(waiting) if len(queue) >= size]
        attempt = full[-1] if full else next(attempt for attempt, queue in enumerate(waiting) if queue)
        queue = waiting[attempt]
        drawn = [queue.popleft() for _ in range(min(size, len(queue)))]
        masks = source.draw(attempt, [candidate.index for candidate in drawn])
        judged = pool.map(_judged, repeat(source), repeat(attempt), drawn, masks)
        for candidate, (redrawn, reasons) in zip(drawn, judged, strict=True):
            if not reasons:
                candidate.mask, candidate.facts = redrawn.mask, redrawn.facts
                yield candidate
                continue
            candidate.refused.append(list(reasons))
            if attempt + 1 < attempts:
                waiting[attempt + 1].append(candidate)
            else:
                yield candidate


def _judged(
    source: MaskSource, attempt: int, candidate: Candidate, mask: NDArray[np.uint8]
) -> tuple[Redrawn, tuple[str, ...]]:
    """(the mask as the source redraws it, why it is refused)."""
    redrawn = source.redraw(attempt, candidate.index, mask)
    return redrawn, redrawn.lacking or check(redrawn.mask, source.pixel_mm(candidate.index)).reasons


def batches(found: Iterable[Candidate], size: int, reject: Callable[[Candidate], None]) -> Iterator[list[Candidate]]:
    """Accepted candidates in batches of `size`, the last may be smaller; the others go to `reject`."""

    def accepted() -> Iterator[Candidate]:
        for candidate in found:
            if candidate.mask is None:
                reject(candidate)
            else:
                yield candidate

    left = accepted()
    while batch := list(islice(left, size)):
        yield batch


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items, made by a thread of their own; at most AHEAD of them wait to be taken.

    Close it (`contextlib.closing`): the thread then ends with the item that it is making.  Its errors are raised here.
    """
    made: deque[Future[T | None]] = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            made.extend(thread.submit(next, items, None) for _ in range(AHEAD))
            while (item := made.popleft().result()) is not None:
                made.append(thread.submit(next, items, None))
                yield item
        finally:
            for future in made:
                future.cancel()
