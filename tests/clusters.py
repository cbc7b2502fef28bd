"""Clusters of worker processes on this machine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import dask
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


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
