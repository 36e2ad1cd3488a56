"""Hooks of the training loop: log, timed checkpoints, sample grids, progress.  Their failures do not stop a run."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tsgan_jax.files import write_bytes
from tsgan_jax.images import write_png
from tsgan_jax.train.checkpoint import Checkpoints
from tsgan_jax.train.loop import Hook, StepInfo


class JsonlLog(Hook):
    """Append one JSON object per log point; a resumed run does not repeat a step.

    label: constant fields of every line, such as the phase.
    """

    def __init__(self, path: Path, label: Mapping[str, Any], say: Callable[[str], None] = print) -> None:
        self._path, self._label, self._say = path, dict(label), say

    def __call__(self, info: StepInfo) -> None:
        if info.metrics is None:
            return
        values = {name: value if math.isfinite(value) else None for name, value in info.metrics.items()}
        line = {"step": info.step, "images": info.images, "time": round(time.time(), 3), **self._label, **values}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            self._say(f"{self._path}: a log line was lost: {error}")

    def rewind(self, step: int, images: int) -> None:
        truncate_log(self._path, step)


def truncate_log(path: Path, step: int) -> None:
    """Drop the lines after `step`, and an incomplete last line."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
    if kept != lines:
        write_bytes(path, "".join(kept).encode())


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf


class Tensorboard(Hook):
    """The same numbers as the log, for TensorBoard; needs the extra `tensorboard`.

    They are written here, not by tensorboardX's thread: once a full disk has ended that, training would wait for it for
    ever.
    """

    def __init__(self, directory: Path, step: int, say: Callable[[str], None] = print) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        self._directory, self._say, self._event, self._scalar = directory, say, Event, scalar
        directory.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(directory / "events"))
        start = SessionLog(status=SessionLog.START)  # what was written from this step on counts no more
        self._write(Event(step=step + 1, file_version="brain.Event:2"), Event(step=step + 1, session_log=start))

    def __call__(self, info: StepInfo) -> None:
        if info.metrics is not None:
            values = info.metrics.items()
            self._write(*(self._event(step=info.step, summary=self._scalar(name, value)) for name, value in values))

    def _write(self, *events: Any) -> None:
        try:
            for event in events:
                event.wall_time = time.time()
                self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            self._say(f"{self._directory}: points for TensorBoard were lost or are late: {error}")


class Save(Hook):
    """Save checkpoints every `minutes` of wall-clock time and at the end, but never while updates are skipped.
    labels: metadata of each checkpoint, in addition to the images seen.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        minutes: float,
        labels: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checkpoints, self._seconds, self._labels, self._clock = checkpoints, 60 * minutes, dict(labels), clock
        self._latest = clock()

    def __call__(self, info: StepInfo) -> None:
        self._checkpoints.poll()
        due = self._clock() - self._latest >= self._seconds
        if not (info.last or (due and info.healthy)):
            return
        self._checkpoints.save(info.state, {**self._labels, "images_seen": info.images}, info.step)
        self._latest = self._clock()
        if info.last:
            self._checkpoints.wait()


class Samples(Hook):
    """A grid of samples of the state, drawn each time one of `points` (images seen) is passed.

    render: state -> uint8 [h, w, 3], with fixed seeds.
    """

    def __init__(
        self,
        directory: Path,
        render: Callable[[Any], NDArray[np.uint8]],
        points: Sequence[int],
        images: int,
        say: Callable[[str], None] = print,
    ) -> None:
        self._directory, self._render, self._say = directory, render, say
        self._all = sorted(points)
        self._points = [point for point in self._all if point > images]

    def __call__(self, info: StepInfo) -> None:
        if not self._points or info.images < self._points[0]:
            return
        self._points = [point for point in self._points if point > info.images]
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_png(self._directory / f"{info.images:09d}.png", self._render(info.state))
        except Exception as error:  # a failed picture does not stop the run
            self._say(f"no sample grid at {info.images} images: {type(error).__name__}: {error}")

    def rewind(self, step: int, images: int) -> None:
        self._points = [point for point in self._all if point > images]


class Console(Protocol):
    """Output of a run: lines for events, and one status line that is updated."""

    def say(self, line: str) -> None:
        """Print one event."""

    def update(self, label: str, done: float, line: str) -> None:
        """Show how far `label` is; done: share in [0, 1]."""

    def finish(self) -> None:
        """End the status line."""


@dataclass(frozen=True)
class Span:
    """The part of a run that one training loop covers, in units of work (GFLOP, roughly).

    start, end: images seen; per_image: work of one image; before: work of the stage before this span;
    stage, overall: total work of the stage, and of the stage and all that follows in the command.
    """

    label: str
    start: int
    end: int
    per_image: float
    before: float
    stage: float
    overall: float


class ProgressHook(Hook):
    """Show images/s, the time left for the stage and for the whole command, and the losses.

    The rate is measured from the start of the loop, without its first step, which includes compilation.
    """

    def __init__(self, console: Console, span: Span, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._span, self._clock = console, span, clock
        self._began: tuple[float, int] | None = None

    def __call__(self, info: StepInfo) -> None:
        now = self._clock()
        if self._began is None:
            self._began = (now, info.images)
        if info.metrics is None:
            return
        span = self._span
        seen = min(info.images, span.end) - span.start  # the last batch may extend beyond the end
        done = span.before + seen * span.per_image
        line = f"step {info.step}, {seen}/{span.end - span.start} images"
        seconds, images = now - self._began[0], info.images - self._began[1]
        if seconds > 0 and images > 0:
            rate = images * span.per_image / seconds
            line += f", {_rate(images / seconds)}, stage {spell((span.stage - done) / rate)} left"
            if span.overall > span.stage:
                line += f", all {spell((span.overall - done) / rate)} left"
        shown = ", ".join(f"{name} {value:.3g}" for name, value in info.metrics.items() if "loss" in name)
        if skipped := info.metrics.get("skipped"):
            shown += f", {skipped:.0f} updates skipped"
        self._console.update(span.label, done / span.stage, f"{line} | {shown}")

    def rewind(self, step: int, images: int) -> None:
        self._began = None


def spell(seconds: float) -> str:
    """A duration in its one or two largest units: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{max(0, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def _rate(images_per_second: float) -> str:
    return f"{images_per_second:.3g} images/s" if images_per_second >= 1 else f"{1 / images_per_second:.3g} s/image"
