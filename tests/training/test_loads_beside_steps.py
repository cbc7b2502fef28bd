"""Loads take the processors that a step leaves, and all of them without one."""

from __future__ import annotations

import threading

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

from dfml._partitions import Partitions, Turn

N_PARTITIONS = 12


class Running:
    """Counts how many loads run at a time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, loaded: pd.DataFrame, turn: Turn) -> int:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        n_rows = len(loaded)
        with self._lock:
            self._now -= 1
        return n_rows


@pytest.fixture
def partitions():
    frame = pd.DataFrame({"x": range(N_PARTITIONS * 5)})
    with dask.config.set(scheduler="threads", num_workers=2):
        yield Partitions(dd.from_pandas(frame, npartitions=N_PARTITIONS))


def submit_all(loads):
    return [loads.submit(Turn(number)) for number in range(N_PARTITIONS)]


def test_one_load_at_a_time_runs_beside_a_step(partitions):
    running = Running()

    with partitions.loading(running) as loads, loads.step():
        rows = [future.result().value for future in submit_all(loads)]

    assert rows == [5] * N_PARTITIONS
    assert running.most == 1


def test_after_a_step_loads_have_all_processors(partitions):
    both = threading.Barrier(2)

    def meet(loaded: pd.DataFrame, _: Turn) -> int:
        return both.wait(timeout=60)  # breaks unless two loads run at a time

    with partitions.loading(meet) as loads:
        with loads.step():
            pass
        places = [future.result().value for future in submit_all(loads)]

    assert sorted(places) == [0] * 6 + [1] * 6


def test_a_load_that_fails_leaves_its_place(partitions):
    def fail(loaded: pd.DataFrame, turn: Turn) -> int:
        if turn.number < 3:
            raise ValueError("no")
        return len(loaded)

    with partitions.loading(fail) as loads, loads.step():
        futures = submit_all(loads)
        for future in futures[:3]:
            with pytest.raises(ValueError, match="no"):
                future.result()
        rows = [future.result().value for future in futures[3:]]

    assert rows == [5] * (N_PARTITIONS - 3)


def test_with_one_worker_a_load_still_runs_beside_a_step():
    frame = pd.DataFrame({"x": range(10)})
    with dask.config.set(scheduler="threads", num_workers=1):
        partitions = Partitions(dd.from_pandas(frame, npartitions=2))
        with partitions.loading() as loads, loads.step():
            loaded = loads.submit(Turn(0)).result().value

    assert len(loaded) == 5
