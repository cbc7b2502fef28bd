"""A DuckDB relation as a table to train on, before anything of it has run.

What the columns are DuckDB tells without running the query. Which of them are features,
target and weight is decided as for any frame, on an empty one with the same columns.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from dfml import _frames
from dfml._dask_settings import dask_settings
from dfml._frames import Table
from dfml._schema import array_dtype, times_of
from dfml.exceptions import DfmlWarning
from dfml.sources import read_sql
from dfml.sources._columns import (
    check_columns,
    has_nullable_dtype,
    quoted,
    rows_to_pandas,
    special_dtypes,
)
from dfml.sources._facts import changes_order, describe_query
from dfml.sources._lazy_frame import count_values
from dfml.sources._query import database_errors
from dfml.sources._stream import open_stream

if TYPE_CHECKING:
    from dfml.sources._columns import Column

__all__ = [
    "RelationTable",
    "empty_frame",
    "join_lazily",
    "of_relation",
    "warn_of_order",
]

_ANY_ORDER = """\
{where}: DuckDB may give the rows of this query in another order on each run \
({reason}), so that another run gives another model. Hint: end the query with ORDER BY \
over columns that tell all rows apart, or SET threads = 1."""


@dataclass(frozen=True)
class RelationTable(Table):
    """X, y and the weights as columns of a relation that has not run.

    Parameters
    ----------
    relation : DuckDBPyRelation
        All of its columns.
    columns : tuple of Column
        What DuckDB says of them.
    """

    relation: Any = None
    columns: tuple[Column, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns that are needed: features, target, weight."""
        metas = (self.features, self.target, self.sample_weight)
        found: list[Any] = []
        for meta in metas:
            if meta is not None:
                is_frame = isinstance(meta, pd.DataFrame)
                found += list(meta.columns) if is_frame else [meta.name]
        return list(dict.fromkeys(found))

    @property
    def needed(self) -> tuple[Column, ...]:
        """What DuckDB says of the needed columns."""
        known = {column.name: column for column in self.columns}
        return tuple(known[name] for name in self.names)

    @property
    def dtypes(self) -> dict[str, Any]:
        """The dtypes in pandas of nullable and categorical columns."""
        known_nulls = [
            name
            for name, dtype in self.features.dtypes.items()
            if pd.api.types.is_extension_array_dtype(dtype)
        ]
        return special_dtypes(self.needed, known_nulls)

    def rows(self) -> Any:
        """Make the relation of the needed columns alone."""
        if self.names == list(self.relation.columns):
            return self.relation
        return self.relation.project(", ".join(quoted(name) for name in self.names))

    def resolved(self, where: str) -> RelationTable:
        """Ask the database for nulls, if the dtypes of all blocks depend on them.

        Whole numbers and flags beside float32 make an array of float32, and of float64
        if one of them has a null; beside text they stay what they are, or become
        float64. Everywhere else a null changes nothing in the blocks that have none.
        """
        maybe = [
            column
            for column in self.needed
            if has_nullable_dtype(column) and column.name in self.features.columns
        ]
        wide = special_dtypes(maybe, [column.name for column in maybe])
        declared = array_dtype(self.features)
        if declared is None:
            is_open = bool(maybe)
        else:
            is_wider = array_dtype(self.features.astype(wide)) != declared
            is_open = declared.kind == "f" and is_wider
        if not is_open:
            return self
        with database_errors(describe_query(self.relation), where):
            _, with_nulls = count_values(self.rows(), maybe)
        known = {name: dtype for name, dtype in wide.items() if name in with_nulls}
        return replace(self, features=self.features.astype(known))

    def spilled(self, where: str) -> Table:
        """Run the query, and give its rows as the table of a dask DataFrame."""
        frame = read_sql(self.rows())
        weight = None if self.sample_weight is None else self.sample_weight.name
        table = _frames.join(where, frame, _names_of(self.target), weight)
        return table.select(list(self.features.columns), times_of(self.features))


def _names_of(target: Any) -> Any:
    if isinstance(target, pd.DataFrame):
        return list(target.columns)
    return None if target is None else target.name


def empty_frame(where: str, relation: Any) -> tuple[dd.DataFrame, tuple[Column, ...]]:
    """Make a frame without rows that has the columns of a relation.

    Parameters
    ----------
    where : str
        The call, for messages.
    relation : DuckDBPyRelation
        It is bound, not run; for a time zone DuckDB gives none of its rows.

    Returns
    -------
    frame, columns : tuple
        The dtypes are those of columns without nulls.

    Raises
    ------
    QueryError
        If a column has a type that a frame cannot hold.
    """
    source = describe_query(relation)
    with database_errors(source, where):
        columns = tuple(check_columns(relation, where))
        schema = pa.schema([(column.name, column.arrow_type) for column in columns])
        if any(column.is_zoned for column in columns):
            with open_stream(relation.limit(0), columns, source, where) as (schema, _):
                pass
    empty = rows_to_pandas(schema.empty_table(), special_dtypes(columns, ()))
    with dask_settings({"dataframe.convert-string": False}):
        return dd.from_pandas(empty, npartitions=1), columns


def join_lazily(where: str, X: Any, y: Any = None, sample_weight: Any = None) -> Table:
    """Join lazy X, y and weights, as :func:`dfml._frames.join`, without a spill.

    Parameters
    ----------
    where : str
        The call, for messages.
    X : lazy table
        The rows.
    y, sample_weight : lazy column, column name(s) or None
        Of columns of X; names, if it is a relation.

    Returns
    -------
    table : Table
        A :class:`RelationTable` for a relation. Nothing of it is computed.
    """
    if not _frames.is_relation(X):
        return _frames.join(where, X, y, sample_weight)
    _frames.check_same_kind(where, X, y, sample_weight)
    frame, columns = empty_frame(where, X)
    return of_relation(_frames.join(where, frame, y, sample_weight), X, columns)


def of_relation(
    table: Table, relation: Any, columns: tuple[Column, ...]
) -> RelationTable:
    """Give a table that was joined from the empty frame the rows of its relation."""
    return RelationTable(
        joint=None,
        features=table.features,
        target=table.target,
        sample_weight=table.sample_weight,
        relation=relation,
        columns=columns,
    )


def warn_of_order(where: str, relation: Any) -> None:
    """Warn if another run of a query may give its rows in another order.

    Parameters
    ----------
    where : str
        The call, for the message.
    relation : DuckDBPyRelation
        It is planned, not run.
    """
    with database_errors(describe_query(relation), where):
        reason = changes_order(relation)
    if reason is not None:
        text = _ANY_ORDER.format(where=where, reason=reason)
        warnings.warn(text, DfmlWarning, stacklevel=level_of_caller())


def level_of_caller() -> int:
    """Count the frames up to the one that has called dfml, for a warning.

    How many lie between depends on the decorators of scikit-learn around ``fit``.
    """
    frame = inspect.currentframe()
    level = 0
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package not in ("dfml", "sklearn"):
            break
        frame, level = frame.f_back, level + 1
    return level
