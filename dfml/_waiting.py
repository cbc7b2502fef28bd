"""Many short calls that may wait for a disk: several at a time, where they do wait."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["map_waiting"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_AT_A_TIME = 8
# Below this, threads that hand each other the interpreter take longer than the wait:
# the footers of 40 files in the page cache took one thread 5 ms, and eight 16.
_SECONDS_EACH = 5e-4


def map_waiting(
    function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[_Result]:
    """Call a function for each item, by threads as soon as the calls wait.

    Parameters
    ----------
    function : callable
        Takes an item; such as one that reads the footer of a file.
    items : iterable
        Any number of them.

    Yields
    ------
    result : object
        In the order of the items.
    """
    rest, waited = iter(items), 0.0
    for number, item in enumerate(rest, 1):
        before = _seconds_waited()
        result = function(item)
        waited += _seconds_waited() - before
        yield result
        if waited > _SECONDS_EACH * max(number, _AT_A_TIME):
            break
    with ThreadPoolExecutor(_AT_A_TIME, "dfml-waiting") as pool:
        yield from pool.map(function, rest)


def _seconds_waited() -> float:
    return time.perf_counter() - time.thread_time()
