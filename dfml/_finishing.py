"""The ends of tasks that wait for a disk, beside the threads that compute.

A thread that computes keeps memory that is warm, in the caches and in what its
allocator has at hand. So it does not wait, and no other takes its place meanwhile.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AtOnce", "Beside", "Finished", "Finisher", "Finishing"]

_Result = TypeVar("_Result")
_Result_co = TypeVar("_Result_co", covariant=True)


class Finishing(Protocol[_Result_co]):
    """A result that is there, or will be."""

    def result(self) -> _Result_co:
        """Wait for it; an error of the end is raised here."""


class Finisher(Protocol):
    """Runs the ends of tasks somewhere."""

    def __call__(self, end: Callable[[], _Result]) -> Finishing[_Result]:
        """Run an end, now or soon."""

    def close(self) -> None:
        """Wait for all ends."""


@dataclass(frozen=True)
class Finished(Generic[_Result]):
    """A result that is there; it pickles if what is in it does."""

    value: _Result

    def result(self) -> _Result:
        """Give it."""
        return self.value


class AtOnce:
    """Runs ends where their tasks run, as in processes of a cluster; it pickles."""

    def __call__(self, end: Callable[[], _Result]) -> Finished[_Result]:
        """Run an end; its error is the task's."""
        return Finished(end())

    def close(self) -> None:
        """Nothing is left to wait for."""


class Beside:
    """Runs ends in threads of their own.

    Parameters
    ----------
    n_threads : int
        How many. Twice as many ends may wait or run; who brings one more waits.
    """

    def __init__(self, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads, "dfml-finish")
        self._room = threading.BoundedSemaphore(2 * n_threads)

    def __call__(self, end: Callable[[], _Result]) -> Future[_Result]:
        """Hand over an end."""
        self._room.acquire()
        future = self._pool.submit(end)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Wait for all ends."""
        self._pool.shutdown(wait=True)
