"""Settings of dask that hold while dfml works on a graph.

dask's configuration is one for the process. Two threads that set the same key, and end
in another order than they began, would leave the value of one for good.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["dask_settings"]

_one_at_a_time = threading.RLock()


@contextmanager
def dask_settings(values: dict[str, Any]) -> Generator[None]:
    """Set keys of dask's configuration, one thread of dfml after another.

    Parameters
    ----------
    values : dict
        As in ``dask.config.set``.

    Yields
    ------
    None
        Keep it short: others wait.
    """
    with _one_at_a_time, dask.config.set(values):
        yield
