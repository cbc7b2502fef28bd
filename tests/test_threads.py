"""Threads of BLAS and OpenMP stay within the cores, and the user's limits stay."""

from __future__ import annotations

import threading

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.decomposition import IncrementalPCA
from threadpoolctl import threadpool_info, threadpool_limits

from dfml import Incremental, ParallelPostFit
from dfml._threads import limit_threads, threads_per_task


def found():
    """The threads of each library, as this thread sees them."""
    return {info["filepath"]: info["num_threads"] for info in threadpool_info()}


class Noting(RegressorMixin, BaseEstimator):
    """Notes how many threads it may use."""

    def __init__(self, fails=False):
        self.fails = fails

    def partial_fit(self, X, y):
        self.seen_ = [*getattr(self, "seen_", []), max(found().values())]
        if self.fails and len(self.seen_) == 2:
            raise RuntimeError("no more")
        return self

    def fit(self, X, y):
        return clone(self).partial_fit(X, y)

    def predict(self, X):
        if self.fails:
            raise RuntimeError("no answer")
        return np.full(len(X), float(max(found().values())))


@pytest.fixture
def frame():
    pdf = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0)})
    return dd.from_pandas(pdf, npartitions=6)


@pytest.fixture(params=["synchronous", "threads"])
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


@pytest.fixture(params=[1, 2])
def users_limit(request):
    with threadpool_limits(request.param):
        yield found()


def test_a_step_has_one_thread(frame, scheduler, users_limit):
    clf = Incremental(Noting()).fit(frame, "y")
    assert clf.seen_ == [1] * 6
    assert found() == users_limit


def test_limits_come_back_after_an_error(frame, scheduler, users_limit):
    with pytest.raises(RuntimeError, match="no more"):
        Incremental(Noting(fails=True)).fit(frame, "y")
    assert found() == users_limit
    model = Noting(fails=True)
    model.seen_ = []
    answers = ParallelPostFit(model).predict(frame[["x"]], meta=("p", "float64"))
    with pytest.raises(RuntimeError, match="no answer"):
        answers.compute()
    assert found() == users_limit


@pytest.mark.parametrize(("workers", "expected"), [(8, 1), (1, 2)])
def test_tasks_share_the_cores(frame, workers, expected, monkeypatch):
    monkeypatch.setattr("dfml._threads.CPU_COUNT", 2)
    model = Incremental(Noting()).fit(frame, "y")
    with threadpool_limits(2):
        before = found()
        with dask.config.set(scheduler="threads", num_workers=workers):
            assert set(model.predict(frame[["x"]]).compute()) == {expected}
        assert found() == before


def test_nothing_is_limited_where_nothing_runs_beside(frame):
    model = Incremental(Noting()).fit(frame, "y")
    with threadpool_limits(2), dask.config.set(scheduler="synchronous"):
        assert threads_per_task() is None
        assert set(model.predict(frame[["x"]]).compute()) == {2}


def test_limits_that_overlap_restore_what_was_there_first():
    inner_is_in, outer_is_out = threading.Event(), threading.Event()
    seen = []

    def other():
        with limit_threads(1):
            inner_is_in.set()
            outer_is_out.wait(10)
            seen.append(max(found().values()))

    thread = threading.Thread(target=other)
    with threadpool_limits(2):
        before = found()
        with limit_threads(1):
            thread.start()
            assert inner_is_in.wait(10)
        outer_is_out.set()
        thread.join()
        assert seen == [1]
        assert found() == before


def test_a_limit_never_raises_that_of_the_user():
    with threadpool_limits(1), limit_threads(4):
        assert set(found().values()) == {1}


def test_blas_threads_do_not_reach_the_model():
    """With two threads of BLAS, other last bits come out of this table."""
    X = np.random.default_rng(0).normal(size=(4000, 200))
    names = [f"x{i}" for i in range(200)]
    frame = dd.from_pandas(pd.DataFrame(X, columns=names), npartitions=4, sort=False)
    expected = IncrementalPCA(5)
    with threadpool_limits(1):
        for part in np.split(X, 4):
            expected.partial_fit(part)
    for scheduler in ("synchronous", "threads"):
        with dask.config.set(scheduler=scheduler), threadpool_limits(2):
            pca = Incremental(IncrementalPCA(5)).fit(frame)
        assert_array_equal(pca.components_, expected.components_)
