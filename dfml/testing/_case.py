"""What a check works with: an estimator, a small table, and the table made lazy.

The oracle of every comparison is the same model in memory.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from unittest import SkipTest

import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.callbacks import Callback
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from dfml.estimators import IID, Incremental, ParallelPostFit
from dfml.iid._classes import FirstPartitionMixin
from dfml.responses._methods import RESPONSES
from dfml.sources import read_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Case", "Table", "Trains", "assert_close", "example_table", "trains_of"]

Trains = Literal["all", "first", "memory"]

N_PARTITIONS = 4
_N_ROWS = 120


@dataclass(frozen=True)
class Table:
    """A small table in memory, and what its columns mean.

    Parameters
    ----------
    rows : pandas DataFrame
        With a default index, the features, the target if there is one, and the columns
        ``"weight"`` (positive numbers) and ``"row"`` (row numbers).
    features : list
        Names of the feature columns.
    target : hashable, list or None
        Name of the target column, or names of several.
    """

    rows: pd.DataFrame
    features: list[Any]
    target: Any = None

    @property
    def columns(self) -> list[Any]:
        """The features and the target, what ``fit`` is given."""
        if self.target is None:
            return list(self.features)
        several = isinstance(self.target, list)
        return [*self.features, *(self.target if several else [self.target])]


def example_table(estimator: Any) -> Table:
    """Make a table that the estimator can be trained on, as its tags describe it.

    Parameters
    ----------
    estimator : estimator
        Its tags decide the kind of the target, and whether features are categories.

    Returns
    -------
    table : Table
        120 rows of positive features. Every class and every category is in every
        quarter of it.
    """
    generator = np.random.default_rng(0)
    tags = get_tags(estimator)
    names = ["a", "b", "c", "d"] if tags.input_tags.two_d_array else ["a"]
    values = generator.uniform(0, 4, (_N_ROWS, len(names)))
    values[:4] = np.arange(4)[:, None]
    for quarter in range(1, N_PARTITIONS):
        values[quarter * 30 : quarter * 30 + 4] = values[:4]
    if tags.input_tags.categorical:
        values = np.floor(values)
    rows = pd.DataFrame(values, columns=names)
    signal = values[:, 0] - values[:, -1] / 2 + generator.normal(0, 0.3, _N_ROWS)
    target: Any = "label"
    if is_regressor(estimator):
        rows[target] = signal - signal.min() + 0.1
    elif is_classifier(estimator) or tags.target_tags.required:
        rows[target] = np.where(signal > np.median(signal), "yes", "no")
    else:
        target = None
    if target is not None and not tags.target_tags.single_output:
        rows["other"] = rows["label"].to_numpy()[::-1]
        target = ["label", "other"]
    rows["weight"] = generator.uniform(0.5, 2, _N_ROWS)
    rows["row"] = np.arange(_N_ROWS)
    return Table(rows, names, target)


def trains_of(estimator: Any) -> Trains:
    """Tell which partitions an estimator trains on."""
    if isinstance(estimator, ParallelPostFit):
        return "memory"
    if isinstance(estimator, Incremental):
        return "all"
    if isinstance(estimator, (IID, FirstPartitionMixin)):
        return "first"
    return "all" if hasattr(estimator, "partial_fit") else "first"


@dataclass(frozen=True)
class Part:
    """Picks the rows of one partition; it pickles with the rows."""

    parts: Sequence[pd.DataFrame]

    def __call__(self, number: int) -> pd.DataFrame:
        return self.parts[number]


@dataclass
class Case:
    """One estimator, one table and one kind of lazy input.

    Parameters
    ----------
    estimator : estimator
        Not fitted; every check works on clones.
    kind : {"dask", "duckdb"}
        Where the lazy table comes from.
    table : Table
        The rows.
    trains : {"all", "first", "memory"}
        Which partitions ``fit`` trains on; ``"memory"`` for none, it takes
        in-memory tables only.
    schedulers : sequence
        What is given to ``dask.config.set(scheduler=...)``: names, or a client.
    """

    estimator: Any
    kind: str
    table: Table
    trains: Trains
    schedulers: Sequence[Any] = ("synchronous", "threads")

    # Tables

    def cut(self, rows: pd.DataFrame, edges: Sequence[int]) -> dd.DataFrame:
        """Make a dask frame of unknown divisions whose partitions end at the edges."""
        parts = [
            rows.iloc[low:high]
            for low, high in zip([0, *edges], [*edges, len(rows)], strict=True)
        ]
        return dd.from_map(Part(parts), range(len(parts)), meta=rows.iloc[:0])

    def lazy(self, rows: pd.DataFrame, n_partitions: int = N_PARTITIONS) -> Any:
        """Make a lazy frame of the kind, with equal partitions."""
        if self.kind == "dask":
            return dd.from_pandas(rows, npartitions=n_partitions, sort=False)
        return read_sql(self.relation(rows), npartitions=n_partitions)

    def relation(self, rows: pd.DataFrame) -> Any:
        """Make a DuckDB relation that holds a copy of the rows."""
        import duckdb

        connection = duckdb.connect()
        connection.register("given", rows)
        connection.execute("CREATE TABLE rows AS SELECT * FROM given")
        connection.unregister("given")
        return connection.sql("SELECT * FROM rows")

    @cached_property
    def frame(self) -> Any:
        """The whole table, lazily, in four partitions."""
        return self.lazy(self.table.rows)

    @property
    def features(self) -> pd.DataFrame:
        """The features in memory."""
        return self.table.rows[self.table.features]

    def in_memory(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
        """Split rows into features, C-ordered as partitions are, and target."""
        features = rows[self.table.features]
        array = np.ascontiguousarray(features.to_numpy())
        X = pd.DataFrame(array, columns=features.columns, copy=False)
        y = None if self.table.target is None else rows[self.table.target].to_numpy()
        return X, y

    # Models

    def fit(self, frame: Any, **params: Any) -> Any:
        """Fit a clone on a lazy frame; in memory where nothing else is taken."""
        model = clone(self.estimator)
        chosen = frame[[*self.table.columns, *self._weight_column(params)]]
        if self.trains == "memory":
            chosen = chosen.compute()
        return model.fit(chosen, y=self.table.target, **params)

    @staticmethod
    def _weight_column(params: dict[str, Any]) -> list[Any]:
        weight = params.get("sample_weight")
        return [weight] if isinstance(weight, str) else []

    def fit_in_memory(self, parts: Sequence[pd.DataFrame], weighted: bool) -> Any:
        """Train in memory on the parts that a lazy ``fit`` must have trained on."""
        if self.trains == "all":
            return self._loop(parts, weighted)
        X, y = self.in_memory(parts[0])
        options = {"sample_weight": parts[0]["weight"].to_numpy()} if weighted else {}
        return clone(self.estimator).fit(X, y, **options)

    def _loop(self, parts: Sequence[pd.DataFrame], weighted: bool) -> Any:
        inner = getattr(self.estimator, "estimator", None)
        model = clone(self.estimator if inner is None else inner)
        options: dict[str, Any] = {}
        if is_classifier(model):
            labels = pd.concat(parts)[self.table.target]
            options["classes"] = np.unique(labels.to_numpy())
        for _ in range(getattr(self.estimator, "epochs", 1)):
            for part in parts:
                X, y = self.in_memory(part)
                if weighted:
                    options["sample_weight"] = part["weight"].to_numpy()
                model.partial_fit(X, y, **options)
        return model

    @cached_property
    def fitted(self) -> Any:
        """A model fitted on the whole table; checks must not change it."""
        return self.fit(self.frame)

    @property
    def takes_weight(self) -> bool:
        """Whether ``fit`` takes ``sample_weight``."""
        return bool(has_fit_parameter(self.estimator, "sample_weight"))

    # Answers

    @cached_property
    def responses(self) -> list[str]:
        """The response methods of the model that answer row by row in memory.

        What is drawn at random for each row has no lazy equal, nor an eager one.
        """
        names = [r.name for r in RESPONSES if r.name != "inverse_transform"]
        return [name for name in names if self._row_by_row(name)]

    def _row_by_row(self, name: str) -> bool:
        if not hasattr(self.fitted, name):
            return False
        model = copy.deepcopy(self.fitted)
        whole = as_table(getattr(model, name)(self.features), len(self.features))
        half = as_table(getattr(model, name)(self.features[60:]), 60)
        return _close(whole[60:], half)

    def answer(self, name: str, rows: pd.DataFrame, model: Any = None) -> np.ndarray:
        """Answer in memory, as an array of two dimensions."""
        model = self.fitted if model is None else model
        return as_table(getattr(model, name)(rows[self.table.features]), len(rows))

    def same_answers(self, frame: Any, rows: pd.DataFrame, model: Any = None) -> None:
        """Assert that a model answers a lazy frame as it answers the rows."""
        model = self.fitted if model is None else model
        for name in self.responses:
            found = getattr(model, name)(frame).compute()
            assert_close(
                as_table(found, len(rows)),
                self.answer(name, rows, model),
                f"lazy {name} differs from {name} in memory",
            )

    def require_dask(self) -> None:
        """Skip a check whose table is made with dask, whatever the kind is."""
        self.require(self.kind == "dask", "the same on a query")

    @staticmethod
    def require(condition: Any, reason: str) -> None:
        """Skip the check unless the condition holds."""
        if not condition:
            raise SkipTest(reason)


class Watch(Callback):
    """Counts the computations that dask's local schedulers start inside it."""

    def __init__(self) -> None:
        self.n_runs = 0
        super().__init__(start=self._count)

    def _count(self, _: Any) -> None:
        self.n_runs += 1


def as_table(result: Any, n_rows: int) -> np.ndarray:
    """Bring whatever a response method returns to an array of two dimensions."""
    if isinstance(result, list):
        result = np.hstack(result)
    if hasattr(result, "toarray"):
        result = result.toarray()
    return np.asarray(result).reshape(n_rows, -1)


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    try:
        assert_close(found, expected, "")
    except AssertionError:
        return False
    return True


def assert_close(found: Any, expected: Any, message: str) -> None:
    """Assert that two arrays are equal, floating-point numbers to rounding."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.dtype.kind == "f" and expected.dtype.kind == "f":
        # BLAS sums in another order for another number of rows.
        rtol = 1e-4 if np.float32 in (found.dtype, expected.dtype) else 1e-7
        finite = np.abs(expected[np.isfinite(expected)])
        atol = rtol * finite.max(initial=0)  # of a distance of zero, say
        np.testing.assert_allclose(
            found, expected, rtol=rtol, atol=atol, err_msg=message
        )
    else:
        np.testing.assert_array_equal(found, expected, err_msg=message)
