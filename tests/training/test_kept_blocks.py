"""Partitions that stay in memory between epochs: fewer loads, the same bits."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.linear_model import SGDClassifier

from dfml import Incremental
from dfml._partitions import Turn
from dfml.arrays._blocks import Block
from dfml.training._kept_blocks import KeptBlocks
from dfml.training._steps import Plan, shuffled_rows

N_PARTITIONS = 4
#: A partition: 50 rows of three float64 features and an int64 label.
PARTITION_BYTES = 50 * 4 * 8 + 132  # and the pandas index


class Counted:
    """A function for map_partitions that counts its calls."""

    def __init__(self):
        self._calls = []

    @property
    def calls(self):
        return len(self._calls)

    def __call__(self, part):
        self._calls.append(None)
        return part

    def __dask_tokenize__(self):
        return id(self)


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
def frame(counted):
    generator = np.random.default_rng(0)
    pdf = pd.DataFrame(generator.normal(size=(200, 3)), columns=list("abc"))
    pdf["label"] = (pdf["a"] > 0).astype(int)
    ddf = dd.from_pandas(pdf, npartitions=N_PARTITIONS)
    return ddf.map_partitions(counted, meta=ddf._meta)


def fit(frame, budget, scheduler="threads", **params):
    clf = Incremental(SGDClassifier(random_state=0), epochs=3, random_state=1, **params)
    with dask.config.set({"dfml.memory-budget": budget, "scheduler": scheduler}):
        return clf.fit(frame, "label", classes=[0, 1])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_the_model_is_the_same(frame, shuffle, scheduler):
    expected = fit(frame, 0, "synchronous", shuffle=shuffle)
    for budget in ("1 MiB", 2 * PARTITION_BYTES):
        clf = fit(frame, budget, scheduler, shuffle=shuffle)
        assert_array_equal(clf.coef_, expected.coef_)
        assert [row["partition"] for row in clf.history_] == [
            row["partition"] for row in expected.history_
        ]


@pytest.mark.parametrize(
    ("budget", "loads"),
    [
        (0, 3 * N_PARTITIONS),
        (PARTITION_BYTES - 200, 3 * N_PARTITIONS),
        (2 * PARTITION_BYTES, 2 + 3 * (N_PARTITIONS - 2)),
        ("1 MiB", N_PARTITIONS),
    ],
)
def test_what_fits_is_loaded_once(frame, counted, budget, loads):
    fit(frame, budget)
    assert counted.calls == loads


def test_text_counts_with_its_bytes(counted):
    long = pd.DataFrame({"a": ["x" * 100_000] * 20, "label": [0, 1] * 10})
    ddf = dd.from_pandas(long, npartitions=4).map_partitions(counted, meta=long[:0])
    clf = Incremental(Lengths(), epochs=2)
    with dask.config.set({"dfml.memory-budget": "600 kB", "scheduler": "synchronous"}):
        clf.fit(ddf, "label")
    assert counted.calls == 4 + 3  # one of four partitions was kept
    assert clf.total_ == 2 * 20 * 100_000


class Lengths(BaseEstimator):
    def partial_fit(self, X, y):
        self.total_ = getattr(self, "total_", 0) + int(X["a"].str.len().sum())
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


class Scribbler(BaseEstimator):
    """Writes into the rows it is given."""

    def partial_fit(self, X, y):
        np.asarray(X)[:] = 0
        return self


def test_an_estimator_cannot_change_what_is_kept(frame):
    with (
        dask.config.set({"dfml.memory-budget": "1 MiB"}),
        pytest.raises(ValueError, match="read-only"),
    ):
        Incremental(Scribbler(), epochs=2).fit(frame, "label")


def test_rows_are_put_in_the_order_of_any_later_turn():
    rows = np.arange(20)
    loaded = Block(rows[:, None], rows)
    plan = Plan(n_partitions=2, epochs=4, seed=7)

    def in_order_of(turn):
        return loaded.take(shuffled_rows(7, turn, 20))

    with dask.config.set({"dfml.memory-budget": "1 kB"}):
        kept = KeptBlocks(plan)
    first = Turn(1, 1)  # as after a checkpoint: it was not loaded in epoch 0
    kept.keep(first, in_order_of(first))
    for turn in (Turn(1, 2), Turn(1, 3)):
        assert_array_equal(kept.again(turn)().value.y, in_order_of(turn).y)
    assert kept.again(Turn(0, 2)) is None
