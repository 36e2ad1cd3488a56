"""The training loop.  A method is a pure function `(state, batch) -> (state, metrics)`; side effects are in the
loop."""

import math
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tsgan_jax.train.devices import replicated, return_freed_memory, split
from tsgan_jax.train.learner import Learner
from tsgan_jax.types import Metrics

S = TypeVar("S")
B = TypeVar("B")
Step = Callable[[S, B], tuple[S, Metrics]]

SKIPPED = "skipped"
"""Metric: number of steps with an update skipped because its gradient was not finite."""

RECENT = 20  # steps whose metrics are kept for a diagnosis


@dataclass(frozen=True)
class StepInfo:
    """The argument of a hook between two steps.

    state: valid only until the hook returns; the next step reuses its memory.
    metrics: means since the last log point, and the count of skipped steps; None between log points.
    last: whether the loop ends here, finished or interrupted.
    healthy: whether the latest known step was not skipped.
    """

    state: Any
    step: int
    images: int
    metrics: Mapping[str, float] | None
    last: bool
    healthy: bool


class Hook:
    """Called after every step."""

    def __call__(self, info: StepInfo) -> None:
        raise NotImplementedError

    def rewind(self, step: int, images: int) -> None:
        """The run went back to an earlier step; discard everything after it."""


class Interrupted(Exception):
    """A signal stopped the run after its state was saved."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class NonFinite(Exception):
    """Too many consecutive updates were not finite."""

    def __init__(self, step: int, images: int, recent: Sequence[Mapping[str, float]]) -> None:
        super().__init__(f"updates up to step {step} were not finite")
        self.step, self.images, self.recent = step, images, tuple(recent)


def count_skipped(step: Step[S, B]) -> Step[S, B]:
    """`step` with an additional metric: whether any metric, such as a gradient norm, is NaN or infinite.

    For a gradient norm, `update_player` has skipped the update.  `step` and `images_seen` still advance, so the next
    step uses other data and other noise.
    """

    def counted(state: S, batch: B) -> tuple[S, Metrics]:
        new, metrics = step(state, batch)
        finite = jnp.isfinite(jnp.stack([jnp.asarray(value, jnp.float32) for value in metrics.values()])).all()
        return new, {**metrics, SKIPPED: 1.0 - finite.astype(jnp.float32)}

    return counted


def compile_step(learner: Learner[S, B], mesh: Mesh) -> Step[S, B]:
    """The only jit of training: the state donated and replicated, the batch split over the mesh.

    Compiled on its first call, for the shapes of that call.
    """
    jitted = jax.jit(
        count_skipped(learner.step),
        donate_argnums=0,
        in_shardings=(replicated(mesh), split(mesh)),
        out_shardings=(replicated(mesh), replicated(mesh)),
    )
    compiled: Step[S, B] | None = None

    def step(state: S, batch: B) -> tuple[S, Metrics]:
        nonlocal compiled
        if compiled is None:
            compiled = jitted.lower(state, batch).compile()
            return_freed_memory()
        return compiled(state, batch)

    return step


def prefetch(batches: Iterable[B], mesh: Mesh, depth: int = 2) -> Iterator[B]:
    """Batches on the devices, copied while earlier steps run."""
    ahead: deque[B] = deque()
    for batch in batches:
        ahead.append(jax.device_put(batch, split(mesh)))
        if len(ahead) > depth:
            yield ahead.popleft()
    yield from ahead


class Interrupt:
    """While active, SIGTERM and SIGINT only set a flag, which the loop reads between steps.

    A second Ctrl-C raises KeyboardInterrupt at once, without saving.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


class Tally:
    """Means of metrics, and the current number of consecutive skipped steps."""

    def __init__(self) -> None:
        self.streak = 0
        self.recent: deque[dict[str, float]] = deque(maxlen=RECENT)
        self._sums: dict[str, float] = {}
        self._good = self._bad = 0

    @property
    def empty(self) -> bool:
        """Whether no step was added since the last `drain`."""
        return not self._good and not self._bad

    def add(self, metrics: Metrics) -> None:
        """Fetch one step's metrics; waits until that step is done."""
        values = {name: float(np.asarray(value)) for name, value in jax.device_get(metrics).items()}
        self.recent.append(values)
        for name in values.keys() - {SKIPPED}:
            self._sums.setdefault(name, 0.0)
        if values[SKIPPED]:
            self.streak += 1
            self._bad += 1
            return
        self.streak = 0
        self._good += 1
        for name, value in values.items():
            if name != SKIPPED:
                self._sums[name] += value

    def drain(self) -> dict[str, float]:
        """Means since the last call, and the count of skipped steps; where every one was, the means are NaN."""
        means = {name: total / self._good if self._good else math.nan for name, total in self._sums.items()}
        means[SKIPPED] = float(self._bad)
        self._sums, self._good, self._bad = {}, 0, 0
        return means


def run(
    step: Step[Any, Any],
    state: S,
    batches: Iterator[Any],
    hooks: Sequence[Hook],
    *,
    until_images: int,
    log_steps: int = 50,
    bad_limit: int = 10,
) -> S:
    """Train until `until_images` real images are seen.

    Step k's metrics are read after step k+1 was dispatched, so the device never waits for the host; but for a log
    point that no earlier step came before, such as the first after a resume.
    Raises Interrupted after SIGTERM or SIGINT (hooks saw the last step), NonFinite after `bad_limit` skips in a row.
    """
    taken, images = int(state.step), int(state.images_seen)  # type: ignore[attr-defined]
    tally = Tally()
    running: Metrics | None = None
    last = images >= until_images
    with Interrupt() as interrupt:
        while not last:
            batch = next(batches)
            state, metrics = step(state, batch)
            taken, images = taken + 1, images + jax.tree.leaves(batch)[0].shape[0]
            if running is not None:
                tally.add(running)
            running = metrics
            last = images >= until_images or interrupt.signum is not None
            log = last or taken % log_steps == 0
            if last or (log and tally.empty):
                tally.add(running)
                running = None
            if tally.streak >= bad_limit:
                raise NonFinite(taken, images, tally.recent)
            means = tally.drain() if log else None
            info = StepInfo(state, taken, images, means, last, healthy=tally.streak == 0)
            for hook in hooks:
                hook(info)
        if interrupt.signum is not None:
            raise Interrupted(interrupt.signum)
    return state
