"""Consoles of the commands: a live bar on a terminal, plain lines elsewhere.  rich is imported only when needed."""

import sys
import time
from typing import Any, TextIO

PLAIN_SECONDS = 30.0  # minimum time between two progress lines in a log file


class PlainConsole:
    """One line per event; progress at most every 30 s."""

    def __init__(self, stream: TextIO | None = None, interval: float = PLAIN_SECONDS) -> None:
        self._stream, self._interval = stream or sys.stdout, interval
        self._label, self._shown = "", 0.0
        self._held: str | None = None

    def say(self, line: str) -> None:
        """Print one event."""
        self._print(line)

    def update(self, label: str, done: float, line: str) -> None:
        """Print progress if its label is new, it is complete or the interval is over; else keep it for `finish`."""
        text = f"{label} {100 * done:.0f} %: {line}"
        if label == self._label and done < 1 and time.monotonic() - self._shown < self._interval:
            self._held = text
            return
        self._label, self._shown, self._held = label, time.monotonic(), None
        self._print(text)

    def finish(self) -> None:
        """Print the last progress that was not printed."""
        if self._held is not None:
            self._print(self._held)
        self._label, self._held = "", None

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveConsole:
    """A live bar below the lines of events."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, markup=False, soft_wrap=True)
        self._progress: Any = None
        self._task: Any = None

    def say(self, line: str) -> None:
        """Print one event above the bar."""
        self._console.print(line)

    def update(self, label: str, done: float, line: str) -> None:
        """Move the bar."""
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(24),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[line]}", markup=False),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task(label, total=1.0, line=line)
        self._progress.update(self._task, description=label, completed=min(done, 1.0), line=line)

    def finish(self) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None


def console(stream: TextIO | None = None) -> PlainConsole | LiveConsole:
    """The console for a stream, by default standard output."""
    stream = stream or sys.stdout
    return LiveConsole(stream) if stream.isatty() else PlainConsole(stream)
