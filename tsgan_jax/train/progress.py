"""Throughput and remaining time from the work done, reported to a console."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tsgan_jax.train.loop import Hook, StepInfo


class Console(Protocol):
    """Output of a run: lines for events, and one status line that is updated."""

    def say(self, line: str) -> None:
        """Print one event."""

    def update(self, label: str, done: float, line: str) -> None:
        """Show how far `label` is; done: share in [0, 1]."""

    def finish(self) -> None:
        """End the status line."""


class Silent:
    """A console that shows nothing."""

    def say(self, line: str) -> None:
        """Ignore the line."""

    def update(self, label: str, done: float, line: str) -> None:
        """Ignore the update."""

    def finish(self) -> None:
        """Do nothing."""


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
