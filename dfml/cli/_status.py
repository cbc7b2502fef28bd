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
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._handler = _Progress(self)
        self._level = _log.level

    def say(self, text: str) -> None:
        """Replace the text."""
        self._text = text

    def clear(self) -> None:
        """Make room for a line of another stream."""
        if self._thread is not None:
            click.echo(CLEAR, err=True, nl=False)

    def count(self, done: int, total: int) -> None:
        """Show how many of the parts are done."""
        share = done / total if total else 1.0
        self.say(f"{done:,} of {total:,} parts, {share:.0%}")

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
            seconds = time.perf_counter() - self._begin
            line = f"{CLEAR}{self._text} ... {seconds:.0f} s"
            click.echo(line, err=True, nl=False)
