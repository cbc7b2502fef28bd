"""Worker processes and clusters of them on this machine."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import dask
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_METHODS = ("distributed.worker.multiprocessing-method", "multiprocessing.context")
_PRELOADED = [
    "distributed",
    "dfml",
    "duckdb",
    "pyarrow.parquet",
    "sklearn.linear_model",
]


def fork_workers() -> None:
    """Let dask fork its processes from one that has imported what they need.

    By itself it starts new ones, of which each imports for three seconds.
    """
    dask.config.set(dict.fromkeys(_METHODS, "forkserver"))
    if find_spec("distributed"):
        from distributed.utils import get_mp_context

        get_mp_context()  # or it would name its own modules later
    multiprocessing.set_forkserver_preload(_PRELOADED)


def started_as_by_users() -> dask.config.set:
    """Have dask start new processes, as it does by itself."""
    return dask.config.set(dict.fromkeys(_METHODS, "spawn"))


def exit_code(function: Callable[..., object], *args: object) -> int | None:
    """Run a function of a module in a process of its own, which may die of it."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode


@contextmanager
def local_cluster(n_workers: int = 2, *, set_as_default: bool = True) -> Iterator:
    """Give the client of a cluster whose workers come back however often they die."""
    distributed = pytest.importorskip("distributed")
    # Some time after each loss a LocalCluster looks whether the worker is there, and
    # gives it up if it is away at that moment, be it because of another loss.
    settings = {"distributed.deploy.lost-worker-timeout": "1 day"}
    if set_as_default:
        settings["scheduler"] = None
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        distributed.Client(cluster, set_as_default=set_as_default) as client,
    ):
        yield client
