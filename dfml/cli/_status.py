"""One line on stderr that tells what is going on, where stderr is a terminal."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Status"]

INTERVAL = 0.2
WIDTH = 20
CLEAR = "\r\x1b[K"


_log = logging.getLogger("dfml")


class _Progress(logging.Handler):
    """Hands the progress in log records to a status."""

    def __init__(self, status: Status) -> None:
        super().__init__()
        self._status = status

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is not None:
            self._status.count(*progress)


class Progress:
    """Parts that are done, as a bar with the rate and the time that is left.

    Parameters
    ----------
    before : int
        Parts that were done before the clock began.
    begin : float
        When that was.
    """

    def __init__(self, before: int, begin: float) -> None:
        self._before, self._begin = before, begin
        self._done = self._total = before

    def update(self, done: int, total: int) -> None:
        """Note how many parts are done."""
        self._done, self._total = done, total

    def describe(self, now: float) -> str:
        """Give the line at a time."""
        done, total = self._done, self._total
        share = done / total if total else 1.0
        bar = "#" * int(share * WIDTH)
        line = f"[{bar:.<{WIDTH}}] {done:,} of {total:,} parts, {share:.0%}"
        seconds = now - self._begin
        if done <= self._before or seconds <= 0:
            return line
        rate = (done - self._before) / seconds
        return f"{line}, {rate:.3g} a second, {as_time((total - done) / rate)} left"


def as_time(seconds: float) -> str:
    """Show a duration in hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Status:
    """A line with a text and the seconds it has stood there; gone at the end.

    Parameters
    ----------
    text : str
        What is being done.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._begin = time.perf_counter()
        self._progress: Progress | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._handler = _Progress(self)
        self._level = _log.level

    def say(self, text: str) -> None:
        """Replace the text."""
        self._text, self._progress = text, None

    def clear(self) -> None:
        """Make room for a line of another stream."""
        if self._thread is not None:
            click.echo(CLEAR, err=True, nl=False)

    def count(self, done: int, total: int) -> None:
        """Show how many of the parts are done, how fast, and the time that is left."""
        if self._progress is None:  # the first part also waits for what is before it
            self._progress = Progress(done, time.perf_counter())
        self._progress.update(done, total)

    def follow(self) -> None:
        """Show the progress that dfml logs until the end."""
        self._handler.setLevel(logging.DEBUG)
        _log.addHandler(self._handler)
        _log.setLevel(logging.DEBUG)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _log.removeHandler(self._handler)
        _log.setLevel(self._level)
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            click.echo(CLEAR, err=True, nl=False)

    def _draw(self) -> None:
        while not self._ended.wait(INTERVAL):
            now, progress = time.perf_counter(), self._progress
            waiting = f"{self._text} ... {now - self._begin:.0f} s"
            line = progress.describe(now) if progress else waiting
            click.echo(CLEAR + line, err=True, nl=False)
