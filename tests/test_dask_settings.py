from __future__ import annotations

import threading

import dask
import dask.dataframe as dd
import pytest

from dfml._dask_settings import dask_settings
from dfml._partitions import Partitions

TUNING = "optimization.tune.active"


def test_threads_leave_the_setting_as_it_was():
    before = dask.config.get(TUNING, None)
    second_is_at_it, first_is_out = threading.Event(), threading.Event()

    def second():
        second_is_at_it.set()
        with dask_settings({TUNING: False}):
            first_is_out.wait()

    thread = threading.Thread(target=second)
    with dask_settings({TUNING: False}):
        thread.start()
        second_is_at_it.wait()
    first_is_out.set()
    thread.join()

    assert dask.config.get(TUNING, None) == before


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_tables_lowered_at_once_are_not_tuned(lake):
    # dask joins these small files into fewer partitions, unless its tuning is off.
    frames = [dd.read_parquet(lake)[["a"]] + 1 for _ in range(8)]
    assert frames[0].optimize().npartitions < frames[0].npartitions
    found, ready = [], threading.Barrier(len(frames))

    def lower(frame):
        ready.wait()
        found.extend(len(Partitions(frame)) for _ in range(20))

    threads = [threading.Thread(target=lower, args=(f,)) for f in frames]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [8] * 160
