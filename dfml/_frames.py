"""The one place that asks what kind of thing X is.

Everything lazy becomes a dask DataFrame here, and X, y and the weights become
one joint collection, so that they are read once and cannot be paired wrongly.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.dataframe.dask_expr._collection import new_collection
from dask.dataframe.dask_expr._expr import Drop, Projection
from dask.dataframe.utils import has_known_categories
from dask.delayed import Delayed

from dfml._schema import array_dtype, check_names, kind_of, listed, times_of
from dfml.arrays._announced_kinds import announced_kinds, with_times
from dfml.arrays._packer import Packer, columns_of
from dfml.exceptions import (
    ColumnMismatchError,
    InputTypeError,
    PartitionMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = [
    "Table",
    "as_frame",
    "check_same_kind",
    "describe",
    "is_array",
    "is_lazy",
    "is_relation",
    "join",
    "split_columns",
]


def is_relation(X: Any) -> bool:
    """Tell whether X is a DuckDB relation, without importing DuckDB."""
    duckdb = sys.modules.get("duckdb")
    return duckdb is not None and isinstance(X, duckdb.DuckDBPyRelation)


def is_array(X: Any) -> bool:
    """Tell whether X is a dask Array."""
    return isinstance(X, da.Array)


def is_lazy(X: Any) -> bool:
    """Tell whether X is a dask collection or a DuckDB relation.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd
    >>> pdf = pd.DataFrame({"a": [1, 2]})
    >>> is_lazy(pdf), is_lazy(dd.from_pandas(pdf, npartitions=1))
    (False, True)
    """
    return isinstance(X, (dd.DataFrame, dd.Series)) or is_array(X) or is_relation(X)


def describe(X: Any) -> str:
    """Name the kind of X in the words of an error message."""
    if X is None:
        return "None"
    if isinstance(X, dd.DataFrame | dd.Series):
        return f"a dask {type(X).__name__}"
    if is_array(X):
        return "a dask Array"
    if is_relation(X):
        return "a DuckDB relation"
    return f"an in-memory {type(X).__name__}"


def as_frame(where: str, X: Any) -> dd.DataFrame | dd.Series:
    """Turn any lazy input into a dask DataFrame or Series.

    Parameters
    ----------
    where : str
        The call, for messages.
    X : dask DataFrame, Series or Array, or DuckDB relation
        A relation is run now and spilled; nothing else is computed.

    Returns
    -------
    frame : dask DataFrame or Series
        Columns of an Array are numbered.
    """
    if is_relation(X):
        from dfml.sources import read_sql

        return read_sql(X)
    if not is_array(X):
        return X
    if X.ndim == 1:
        return dd.from_dask_array(X)
    if X.ndim != 2:
        raise InputTypeError.expecting(
            where, "arrays of one or two dimensions", f"{X.ndim}", "reshape it"
        )
    joined = X.rechunk({1: -1}) if X.numblocks[1] > 1 else X
    return dd.from_dask_array(joined, columns=list(range(X.shape[1])))


def split_columns(where: str, X: Any, y: Any, sample_weight: Any) -> tuple[Any, ...]:
    """Take labels given as column names out of an in-memory frame.

    Parameters
    ----------
    where : str
        The call, for messages.
    X : array-like or frame
        Pandas and polars frames and Arrow tables may hold the labels as columns.
    y, sample_weight : array-like, column name, list of column names or None
        Anything but names is returned as it is.

    Returns
    -------
    X, y, sample_weight : tuple
        Features and values.
    """
    columns = X.column_names if _is_arrow(X) else getattr(X, "columns", None)
    if columns is None:
        _check_has_columns(where, X, y, sample_weight)
        return X, y, sample_weight
    taken: list[Hashable] = []
    values = []
    for label in (y, sample_weight):
        names = _as_names(label, columns, where)
        taken += names or []
        values.append(label if names is None else _chosen(X, names, single=True))
    if not taken:
        return X, *values
    features = [name for name in columns if name not in taken]
    return _chosen(X, features), *values


def _check_has_columns(where: str, X: Any, *labels: Any) -> None:
    """Refuse the name of a column where X is nothing that has columns."""
    name = next((label for label in labels if isinstance(label, str)), None)
    if name is None:
        return
    query = isinstance(X, str) or type(X).__name__ == "DuckDBPyConnection"
    raise InputTypeError.expecting(
        where,
        f"a table, of which {name!r} is a column",
        repr(X) if isinstance(X, str) else describe(X),
        "read it, dfml.read_sql(query, connection) or dask.dataframe.read_parquet(path)"
        if query
        else "pass a dask or pandas DataFrame or a DuckDB relation",
    )


def _is_arrow(X: Any) -> bool:
    """Tell whether X is an Arrow table, without importing Arrow."""
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(X, (arrow.Table, arrow.RecordBatch))


def _chosen(X: Any, names: list[Hashable], *, single: bool = False) -> Any:
    """Select columns of an in-memory frame; one name alone gives a Series."""
    one = single and len(names) == 1
    if not _is_arrow(X):
        return X[names[0] if one else names]
    chosen = X.select(names)
    return chosen.column(0).to_pandas() if one else chosen


def _is_number(label: Any) -> bool:
    return isinstance(label, Integral) and not isinstance(label, bool)


def _as_names(
    label: Any, columns: Any, where: str, *, lazy: bool = False
) -> list[Hashable] | None:
    """List the columns that a label names; None if it is not a name.

    A list of numbers holds values in memory; lazily it can only hold names.
    """
    known = set(columns)
    if isinstance(label, str):
        if label not in known:
            raise ColumnMismatchError.expecting(
                where,
                "the name of a column",
                f"{label!r}, columns: {listed(columns, 20)}",
                "pass one of the names",
            )
        return [label]
    if isinstance(label, list) and label:
        return _names_in_list(label, known, where, lazy)
    return [label] if _is_number(label) and label in known else None


def _names_in_list(
    labels: list[Any], known: set[Any], where: str, lazy: bool
) -> list[Hashable] | None:
    numbers = lazy and all(_is_number(label) for label in labels)
    if not numbers and not all(isinstance(label, str) for label in labels):
        return None
    missing = [name for name in labels if name not in known]
    if missing and (lazy or len(missing) < len(labels)):
        raise ColumnMismatchError.expecting(
            where, "names of columns", f"unknown: {missing}", "check the names"
        )
    return None if missing else labels


@dataclass(frozen=True)
class Table:
    """X, y and the weights as one lazy collection, with what to take from it.

    Parameters
    ----------
    joint : dask DataFrame
        Each partition loads as one frame, or as a triple of X, y and weight if
        they came from different expressions.
    features, target, sample_weight : pandas DataFrame, Series or None
        Metas: the empty frames with the declared names and dtypes.
    labels : dask Series or DataFrame, optional
        The target alone, for a pass that reads nothing else.
    paired : bool
        True if partitions are triples.
    named : bool
        False if X was a dask Array.
    """

    joint: Any
    features: Any
    target: Any = None
    sample_weight: Any = None
    labels: Any = None
    paired: bool = False
    named: bool = True

    @property
    def target_names(self) -> Hashable | tuple[Hashable, ...] | None:
        """The target's name, a tuple of names for several, None if unknown."""
        if self.target is None:
            return None
        if isinstance(self.target, pd.DataFrame):
            return tuple(self.target.columns)
        name: Hashable = self.target.name
        return name

    def select(self, names: list[Hashable], times: Mapping[Hashable, str]) -> Table:
        """Take some of the features, in the order given, with the times of a model."""
        return replace(self, features=with_times(self.features[names], times))

    def packer(self, where: str) -> Packer:
        """Make the picklable function from a loaded partition to a Block."""
        is_frame = isinstance(self.features, pd.DataFrame)
        columns = getattr(self.joint, "columns", None)
        by_position = is_frame and not self.paired and columns is not None
        return Packer(
            features=list(self.features.columns) if is_frame else self.features.name,
            columns=columns if by_position else None,
            target=self.target,
            weight=None if self.sample_weight is None else self.sample_weight.name,
            paired=self.paired,
            dtype=array_dtype(self.features) if is_frame else None,
            named=self.named,
            kinds=announced_kinds(self.features) if is_frame else None,
            times=times_of(self.features) if is_frame else {},
            where=where,
        )


def join(where: str, X: Any, y: Any = None, sample_weight: Any = None) -> Table:
    """Join lazy X, y and weights into one collection, lazily.

    Parameters
    ----------
    where : str
        The call, for messages.
    X : dask DataFrame, Series or Array, or DuckDB relation
        The table.
    y, sample_weight : dask Series, DataFrame or Array, column name(s), or None
        Lazy columns of the same table, or the names of columns of X.

    Returns
    -------
    table : Table
        Nothing of it is computed, except that a relation is spilled.

    Raises
    ------
    InputTypeError
        If lazy and in-memory inputs, or frames and arrays, are mixed.
    PartitionMismatchError
        If the numbers of partitions differ.
    """
    check_same_kind(where, X, y, sample_weight)
    named = not is_array(X)
    X, y, sample_weight = _same_chunks(X, y, sample_weight)
    y, sample_weight = _one_column(y), _one_column(sample_weight)
    frame = as_frame(where, X)
    if isinstance(frame, dd.Series):
        _check_no_names(where, X, y, sample_weight)
    if isinstance(frame, dd.DataFrame):
        check_names(where, list(frame.columns))
        table = _join_by_name(where, frame, y, sample_weight)
        if table is not None:
            return table
        y, sample_weight = (
            _select(where, frame, label) for label in (y, sample_weight)
        )
    y = None if y is None else as_frame(where, y)
    sample_weight = None if sample_weight is None else as_frame(where, sample_weight)
    return _join_pairs(where, frame, y, sample_weight, named)


def _one_column(label: Any) -> Any:
    """Take the only column of a frame or an Array of one column."""
    if isinstance(label, dd.DataFrame) and len(label.columns) == 1:
        return label[label.columns[0]]
    if is_array(label) and label.ndim == 2 and label.shape[1] == 1:
        return label[:, 0]
    return label


def _check_no_names(where: str, X: Any, *labels: Any) -> None:
    """Refuse the name of a column where X is a Series, which has no other columns."""
    for label in labels:
        if label is not None and not is_lazy(label):
            raise InputTypeError.expecting(
                where,
                f"X to be a DataFrame, of which {label!r} is a column",
                describe(X),
                f"select both columns, ddf[[{X.name!r}, {label!r}]]",
            )


def check_same_kind(where: str, X: Any, y: Any, sample_weight: Any) -> None:
    """Refuse labels that cannot be of the same table as X."""
    for name, label in (("y", y), ("sample_weight", sample_weight)):
        names = label if isinstance(label, list) else [label]
        if label is None or all(isinstance(k, str) or _is_number(k) for k in names):
            continue
        in_relation = is_relation(X) or is_relation(label)
        if not is_lazy(label) or is_array(label) != is_array(X) or in_relation:
            raise InputTypeError.expecting(
                where,
                f"{name} of the same table as X, or the name of a column",
                f"X: {describe(X)}, {name}: {describe(label)}",
                f"{_by_name(name, label)}, or compute both",
            )


def _by_name(name: str, label: Any) -> str:
    if isinstance(label, tuple):
        return f"pass a list of names, fit(X, {name}={list(label)!r})"
    column = "label" if name == "y" else "weight"
    return f'pass the column name, fit(X, {name}="{column}")'


def _same_chunks(X: Any, *others: Any) -> tuple[Any, ...]:
    if not is_array(X) or any(np.isnan(X.chunks[0])):
        return X, *others
    return X, *(
        other.rechunk({0: X.chunks[0]})
        if is_array(other) and other.shape[0] == X.shape[0]
        else other
        for other in others
    )


def _join_by_name(
    where: str, frame: dd.DataFrame, y: Any, sample_weight: Any
) -> Table | None:
    """One selection of one frame, if y and weight are columns of it."""
    base, features = _base_of(frame)
    selected: list[Hashable] = list(features)
    metas: list[Any] = []
    taken: set[Hashable] = set()
    for label in (y, sample_weight):
        names = _as_names(label, frame.columns, where, lazy=True)
        if names is not None:
            taken |= set(names)
            metas.append(frame._meta[names[0] if len(names) == 1 else names])
        elif label is None:
            metas.append(None)
        else:
            other, names = _base_of(label)
            if other._name != base._name or is_array(label):
                return None
            metas.append(label._meta)
        selected += [name for name in names or [] if name not in selected]
    kept = [name for name in features if name not in taken]
    if not kept:
        raise ColumnMismatchError.expecting(
            where,
            "at least one feature beside the label",
            f"{list(features)}",
            "select the features too",
        )
    joint = new_collection(base)[selected]
    target = metas[0]
    labels = None if target is None else joint[columns_of(target)]
    return Table(joint, frame._meta[kept], target, metas[1], labels)


def _base_of(collection: Any) -> tuple[Any, list[Hashable]]:
    """Find the expression below column selections, and the columns selected."""
    expr = getattr(collection, "expr", None)
    if isinstance(collection, Delayed) or expr is None:
        return collection, []
    columns = list(expr.columns)
    while isinstance(expr, (Projection, Drop)):
        expr = expr.frame
    return expr, columns


def _select(where: str, frame: dd.DataFrame, label: Any) -> Any:
    names = _as_names(label, frame.columns, where, lazy=True)
    if names is None:
        return label
    return frame[names[0] if len(names) == 1 else names]


def _join_pairs(where: str, X: Any, y: Any, sample_weight: Any, named: bool) -> Table:
    others = [other for other in (y, sample_weight) if other is not None]
    for other in others:
        if other.npartitions != X.npartitions:
            raise PartitionMismatchError.expecting(
                where,
                "X, y and sample_weight with the same partitions",
                f"{X.npartitions} and {other.npartitions}",
                'pass the column name instead, fit(X, y="label")',
            )
    target, weight = (None if o is None else o._meta for o in (y, sample_weight))
    if not others:
        return Table(X, X._meta, named=named)
    joint = dd.map_partitions(
        _pair,
        X,
        *others,
        where=where,
        has_y=y is not None,
        meta=pd.DataFrame({"triple": pd.Series([], dtype=object)}),
        enforce_metadata=False,
    )
    return Table(joint, X._meta, target, weight, y, paired=True, named=named)


def _pair(
    X: Any,
    *others: Any,
    where: str,
    has_y: bool,
    partition_info: dict[str, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """Hold X, y and weight of one partition together, if they fit."""
    for other in others:
        if len(X) != len(other) or not X.index.equals(other.index):
            number = "?" if partition_info is None else partition_info["number"]
            raise PartitionMismatchError.expecting(
                where,
                "X, y and sample_weight with the same rows in every partition",
                f"partition {number}: {len(X)} and {len(other)} rows"
                + (", another index" if len(X) == len(other) else ""),
                'take them from one frame, fit(ddf, y="label")',
            )
    y = others[0] if has_y else None
    weight = others[-1] if len(others) > int(has_y) else None
    return X, y, weight


def columns_by_kind(table: Table) -> dict[str, list[Hashable]]:
    """List the feature columns of each kind; ``"category"`` is one of text."""
    if not isinstance(table.features, pd.DataFrame):
        return {}
    kinds: dict[str, list[Hashable]] = {}
    for name, dtype in table.features.dtypes.items():
        kind: str = kind_of(dtype)
        if isinstance(dtype, pd.CategoricalDtype):
            known = has_known_categories(table.features[name])
            of_text = known and kind_of(dtype.categories.dtype) == "text"
            kind = "category" if of_text else "other"
        kinds.setdefault(kind, []).append(name)
    return kinds


def label_names(where: str, frame: dd.DataFrame, label: Any) -> list[Hashable]:
    """List the columns of a frame that a label names, if it names any."""
    return _as_names(label, frame.columns, where, lazy=True) or []
