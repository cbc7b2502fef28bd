"""Limits on the threads of BLAS and OpenMP while partitions are worked on in parallel.

BLAS keeps its number of threads for the whole process, OpenMP for each thread. Limits
that overlap would restore each other's, so the first task that limits BLAS notes what
it found, and the last one restores it.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import dask
from dask.system import CPU_COUNT
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["limit_threads", "threads_per_task"]


def threads_per_task() -> int | None:
    """Tell how many threads a task may use, so that all tasks stay within the cores.

    Returns
    -------
    n_threads : int or None
        None on the main thread, where nothing runs side by side.
    """
    if threading.current_thread() is threading.main_thread():
        return None
    n_threads: int = CPU_COUNT // _n_tasks()
    return max(1, n_threads)


def _n_tasks() -> int:
    """Count the tasks that the scheduler of this thread runs at a time."""
    if "distributed.worker" in sys.modules:
        from distributed import get_worker

        with suppress(ValueError):  # this is not a thread of a worker
            return int(get_worker().state.nthreads)
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


@contextmanager
def limit_threads(n_threads: int | None) -> Generator[None]:
    """Limit BLAS and OpenMP; what they had before comes back, after errors too.

    Parameters
    ----------
    n_threads : int or None
        At most so many threads in this block. None changes nothing.
    """
    if n_threads is None:
        yield
        return
    with _blas.limited(n_threads), _openmp_limited(n_threads):
        yield


@cache
def _libraries(user_api: str) -> list[Any]:
    # Looking for libraries takes 3 ms: once, when scikit-learn has loaded its own.
    found = ThreadpoolController().select(user_api=user_api)
    return list(found.lib_controllers)


@contextmanager
def _openmp_limited(n_threads: int) -> Generator[None]:
    before = [(library, library.num_threads) for library in _libraries("openmp")]
    try:
        for library, n_before in before:
            library.set_num_threads(min(n_before, n_threads))
        yield
    finally:
        for library, n_before in before:
            library.set_num_threads(n_before)


class _Blas:
    """The limit of BLAS, shared by the tasks of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_tasks = 0
        self._before: list[tuple[Any, int]] = []

    @contextmanager
    def limited(self, n_threads: int) -> Generator[None]:
        with self._lock:
            if not self._n_tasks:
                self._before = [(lib, lib.num_threads) for lib in _libraries("blas")]
            self._n_tasks += 1
            for library, _ in self._before:
                if library.num_threads > n_threads:
                    _set_num_threads(library, n_threads)
        try:
            yield
        finally:
            with self._lock:
                self._n_tasks -= 1
                if not self._n_tasks:
                    for library, n_before in self._before:
                        _set_num_threads(library, n_before)


def _set_num_threads(library: Any, n_threads: int) -> None:
    """Set the threads of a library, whichever thread has set them before.

    Since 3.8 threadpoolctl ignores all threads but the first that has set OpenBLAS.
    """
    let_go = getattr(library, "clear_controlling_thread", None)
    if let_go is None:
        library.set_num_threads(n_threads)
        return
    let_go(force=True)
    library.set_num_threads(n_threads)
    let_go(force=True)


_blas = _Blas()
