"""The training loop.  A method is a pure function `(state, batch) -> (state, metrics)`; side effects are in the loop.

Metrics are summed on the device and read by the host only when a line is written.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tsgan_jax.train import processes
from tsgan_jax.train.devices import overlapped, put, replicated, return_freed_memory, split
from tsgan_jax.train.learner import Learner
from tsgan_jax.types import Array, Metrics

S = TypeVar("S")
B = TypeVar("B")

SKIPPED = "skipped"
"""Metric: number of steps with an update skipped because its gradient was not finite."""

RECENT = 20
"""Steps whose metrics are kept for a diagnosis."""


@flax.struct.dataclass
class Tally:
    """Sums since the last log point, and the steps before now; scalars and arrays, of the device or fetched.

    sums: of each metric over steps whose metrics are all finite; good, bad: number of those steps and of the others;
    streak: number of others in a row, up to now; recent: each metric of the last steps [RECENT], the latest last;
    taken: number of steps in `recent`, at most RECENT.
    """

    sums: dict[str, Any]
    good: Any
    bad: Any
    streak: Any
    recent: dict[str, Any]
    taken: Any

    @classmethod
    def empty(cls, metrics: Mapping[str, Any]) -> "Tally":
        """A tally of no steps; metrics: a step's, or their shapes."""
        zero, recent = np.int32(0), {name: np.zeros(RECENT, np.float32) for name in metrics}
        return cls(dict.fromkeys(metrics, np.float32(0)), zero, zero, zero, recent, zero)

    def add(self, metrics: Metrics) -> "Tally":
        """The tally with one more step; pure, for the compiled step.

        A step counts as skipped if any metric, such as a gradient norm, is NaN or infinite: for a gradient norm,
        `update_player` has skipped the update.
        """
        values = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        finite = jnp.isfinite(jnp.stack(list(values.values()))).all()
        return Tally(
            sums={name: self.sums[name] + jnp.where(finite, value, 0.0) for name, value in values.items()},
            good=self.good + finite,
            bad=self.bad + ~finite,
            streak=jnp.where(finite, 0, self.streak + 1),
            recent={name: jnp.roll(self.recent[name], -1).at[-1].set(value) for name, value in values.items()},
            taken=jnp.minimum(self.taken + 1, RECENT),
        )

    def means(self) -> dict[str, float]:
        """Mean of each metric and the count of skipped steps; where every step was skipped the means are NaN."""
        good = int(self.good)
        mean = {name: float(total) / good if good else math.nan for name, total in self.sums.items()}
        return {**mean, SKIPPED: float(self.bad)}

    def latest(self) -> list[dict[str, float]]:
        """The metrics of the latest steps, the last one last."""
        rows = range(RECENT - int(self.taken), RECENT)
        return [{name: float(values[row]) for name, values in self.recent.items()} for row in rows]


@dataclass(frozen=True)
class StepInfo:
    """The argument of a hook between two steps.

    state: valid only until the hook returns; the next step reuses its memory.
    metrics: means since the last log point, and the count of skipped steps; None between log points.
    last: whether the loop ends here, finished or interrupted.
    streak: number of steps in a row, up to this one, whose update was skipped; on the device.
    """

    state: Any
    step: int
    images: int
    metrics: Mapping[str, float] | None
    last: bool
    streak: Array | int

    @property
    def healthy(self) -> bool:
        """Whether this step was not skipped; waits until it is done."""
        return not int(jax.device_get(self.streak))


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


class CompiledStep(Generic[S, B]):
    """The only jit of training: `step(state, tally, batch) -> (state, tally)`, metrics added to the tally.

    The state is donated and replicated, the batch split over the mesh.  Compiled on the first call, for its shapes, or
    ahead of it by `compile`.
    A step whose update was skipped still advances `step` and `images_seen`, so the next one uses other data and noise.
    """

    def __init__(self, learner: Learner[S, B], mesh: Mesh) -> None:
        self.learner, self.mesh = learner, mesh
        self._everywhere = replicated(mesh)
        self._step = jax.jit(learner.step, inline=True)  # traced once, for `start` and for the program

        def counted(state: S, tally: Tally, batch: B) -> tuple[S, Tally]:
            new, metrics = self._step(state, batch)
            return new, tally.add(metrics)

        everywhere = self._everywhere
        self._jitted = jax.jit(
            counted,
            donate_argnums=0,
            in_shardings=(everywhere, everywhere, split(mesh)),
            out_shardings=(everywhere, everywhere),
        )
        self._compiled: Any = None
        self._compiling = threading.Lock()

    def start(self, state: S, batch: B) -> Tally:
        """A tally of no steps, on the devices."""
        return self.placed(self._empty(state, batch))

    def _empty(self, state: S, batch: B) -> Tally:
        _, metrics = jax.eval_shape(self._step, state, batch)
        return Tally.empty(metrics)

    def compile(self, state: S, batch: B) -> None:
        """Compile for arguments, or shapes of arguments; another thread that asks for it meanwhile waits."""
        with self._compiling:
            if self._compiled is None:
                self._compiled = self._jitted.lower(state, self._empty(state, batch), batch).compile()
                return_freed_memory()

    def compile_until(self, state: S, batch: B, stopped: Callable[[], bool]) -> bool:
        """Compile in a thread; False, while it goes on, once `stopped()`."""
        pool = ThreadPoolExecutor(1)
        compiling = pool.submit(self.compile, state, batch)
        pool.shutdown(wait=False)
        while not compiling.done():
            if stopped():
                return False
            wait([compiling], timeout=0.1)
        compiling.result()
        return True

    def placed(self, tally: Tally) -> Tally:
        """A tally of the host on the devices."""
        placed: Tally = put(tally, self._everywhere)
        return placed

    def __call__(self, state: S, tally: Tally, batch: B) -> tuple[S, Tally]:
        """One step; returns when it is dispatched."""
        if self._compiled is None:
            self.compile(state, batch)
            processes.barrier()  # compiling takes longer than a collective operation waits
        new: tuple[S, Tally] = self._compiled(state, tally, batch)
        return new


def prefetch(batches: Iterable[B], mesh: Mesh, depth: int = 2) -> Iterator[B]:
    """Batches on the devices, copied while earlier steps run."""
    return overlapped((put(batch, split(mesh)) for batch in batches), depth + 1)


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


def run(
    step: CompiledStep[Any, Any],
    state: S,
    batches: Iterator[Any],
    hooks: Sequence[Hook],
    *,
    until_images: int,
    log_steps: int = 50,
    bad_limit: int = 10,
) -> S:
    """Train until `until_images` real images are seen.

    Step k + 1 is dispatched while step k runs; the host reads nothing of a step but at log points.
    Raises Interrupted after SIGTERM or SIGINT (hooks saw the last step, if there was one), NonFinite if the last
    `bad_limit` steps or more before a log point were skipped.  Several processes heed a signal to one of them together,
    at a log point.
    """
    taken, images = (int(jax.device_get(count)) for count in (state.step, state.images_seen))  # type: ignore[attr-defined]
    tally: Tally | None = None
    last = images >= until_images
    with Interrupt() as interrupt:
        while not last:
            batch = next(batches)
            alone = tally is None and processes.count() == 1
            if alone and not step.compile_until(state, batch, lambda: interrupt.signum is not None):
                raise Interrupted(interrupt.signum or 0)  # at once: compiling takes up to minutes, and no step is lost
            before = tally if tally is not None else step.start(state, batch)
            state, tally = step(state, before, batch)
            jax.block_until_ready(before.good)  # no more than two steps are ever queued
            taken, images = taken + 1, images + jax.tree.leaves(batch)[0].shape[0]
            last = images >= until_images
            if processes.count() == 1 or last or taken % log_steps == 0:
                last |= processes.agreed(interrupt.signum or 0) > 0
            means = None
            if last or taken % log_steps == 0:
                seen: Tally = jax.device_get(tally)
                if seen.streak >= bad_limit:
                    raise NonFinite(taken, images, seen.latest())
                means, none = seen.means(), Tally.empty(seen.sums)
                tally = step.placed(Tally(none.sums, none.good, none.bad, seen.streak, seen.recent, seen.taken))
            info = StepInfo(state, taken, images, means, last, tally.streak)
            for hook in hooks:
                hook(info)
        if signum := processes.agreed(interrupt.signum or 0):  # the first process has saved
            raise Interrupted(signum)
    return state
