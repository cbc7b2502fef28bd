"""How the threads of one process take turns in computing."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

__all__ = ["Cores"]


class Cores:
    """Lets so many threads compute at once; the others wait for a disk meanwhile.

    Entered around what computes. Once pickled it lets everybody pass: other processes
    have their own ways to share the cores.

    Parameters
    ----------
    number : int
        How many may be inside at once.
    """

    def __init__(self, number: int) -> None:
        self._free = threading.Semaphore(number)

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, *_: Any) -> None:
        self._free.release()

    def __reduce__(self) -> Any:
        return nullcontext, ()
