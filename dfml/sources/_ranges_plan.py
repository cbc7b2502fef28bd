"""The plan "ranges": each partition is a query of its own over a range of a column.

At the call the database is asked for the number of rows and of nulls, and for the
sorted column, once each. What a partition holds is fixed by that: its range, its number
of rows, its dtypes and the order of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pandas as pd
import pyarrow as pa

from dfml._digest import content_digest
from dfml.exceptions import QueryError, SourceError
from dfml.sources._columns import (
    check_columns,
    folded,
    named_types,
    quoted,
    rows_to_pandas,
    special_dtypes,
)
from dfml.sources._cuts import find_cuts, literals
from dfml.sources._lazy_frame import (
    HEAD_ROWS,
    count_values,
    make_frame,
    row_width,
)
from dfml.sources._query import database_errors
from dfml.sources._reopen import Database
from dfml.sources._reopenable import check_reopenable
from dfml.sources._stream import converted, open_stream, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import dask.dataframe as dd
    import duckdb

    from dfml.sources._columns import Column
    from dfml.sources._cuts import Cuts
    from dfml.sources._lazy_frame import Sizes

__all__ = ["read_ranges"]


class Range(NamedTuple):
    """The rows of one partition: SQL literals of its ends, None for an open one."""

    low: str | None
    high: str | None
    n_rows: int


@dataclass(frozen=True)
class RangeReader:
    """Reads one range of a query as a pandas DataFrame.

    Attributes
    ----------
    database : Database
        Opened by each read.
    query : str
        One SELECT.
    params : list, tuple, dict or None
        Values in it.
    key : str
        The column of the ranges.
    order : tuple of str
        The columns that rows are sorted by, so that they come in the same order each
        time.
    has_nulls : bool
        Whether the column has nulls, which belong to the last range.
    schema : Schema
        Of the whole query, as Arrow.
    dtypes : dict
        Of the nullable and categorical columns.
    token : str
        Names the rows.
    """

    database: Database
    query: str
    params: Any
    key: str
    order: tuple[str, ...]
    has_nulls: bool
    schema: pa.Schema
    dtypes: dict[str, Any]
    token: str

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("dfml.read_sql ranges", self.token)

    def __call__(self, part: Range, columns: list[str]) -> pd.DataFrame:
        """Return the rows of the range, with these columns in this order."""
        names = list(dict.fromkeys([self.key, *columns]))
        with database_errors(self.query), self.database.open() as connection:
            relation = connection.sql(self.query, params=self.params)
            known = check_columns(relation)
            self._check(part, relation.columns, self.schema.names, "columns")
            chosen = [known[self.schema.names.index(name)] for name in names]
            rows = converted(relation, known)
            condition = self._condition(part, chosen[0])
            rows = rows.filter(condition) if condition else rows
            rows = rows.order(_ordering(self.order, known))
            rows = rows.project(", ".join(map(quoted, names)))
            table = read_table(rows, chosen, self.query)
        self._check(part, table.num_rows, part.n_rows, "rows")
        expected = pa.schema([self.schema.field(name) for name in names])
        self._check(part, named_types(table.schema), named_types(expected), "types")
        nulls = self._new_nulls(table) or "none"
        self._check(part, nulls, "none", "columns with new nulls:")
        return self.to_frame(table, columns)

    def to_frame(self, table: pa.Table, columns: list[str]) -> pd.DataFrame:
        """Return rows as a frame whose index is the column of the ranges."""
        frame = rows_to_pandas(table, self.dtypes)
        index = pd.Index(frame[self.key]).rename(None)
        return frame[columns].set_axis(index)

    def _condition(self, part: Range, key: Column) -> str:
        """Return the condition of a range; none if it is the only one."""
        name = _comparable(key)
        low = part.low and f"{name} >= {part.low}"
        high = part.high and f"{name} < {part.high}"
        if low and self.has_nulls and not high:
            # NaN is above all numbers to DuckDB; null is nowhere.
            return f"{low} OR {name} IS NULL"
        return " AND ".join(filter(None, [low, high]))

    def _new_nulls(self, table: pa.Table) -> list[str]:
        """Name the columns that have a null, and a dtype that cannot hold it."""
        return [
            field.name
            for field, column in zip(table.schema, table.columns, strict=True)
            if column.null_count
            and field.name not in self.dtypes
            and (pa.types.is_integer(field.type) or pa.types.is_boolean(field.type))
        ]

    def _check(self, part: Range, got: Any, expected: Any, what: str) -> None:
        """Refuse rows that are not those that were counted."""
        if got != expected:
            raise SourceError.expecting(
                "read_sql's frame",
                f"a query whose answer does not change, {what} {expected}",
                f"{got} in the partition from {part.low or 'the first row'} to "
                f"{part.high or 'the last row'} of:\n{self.query}\n",
                'call read_sql again, or use plan="spill", which keeps the rows',
            )


def read_ranges(
    query: str,
    connection: duckdb.DuckDBPyConnection,
    params: Any,
    partition_on: str,
    sizes: Sizes,
) -> dd.DataFrame:
    """Return a frame whose partitions are queries over ranges of a column.

    Parameters
    ----------
    query : str
        One SELECT that DuckDB has bound on the connection.
    connection : DuckDBPyConnection
        The caller's.
    params : list, tuple, dict or None
        Values in the query.
    partition_on : str
        A column of the query.
    sizes : Sizes
        How long partitions are to be.

    Returns
    -------
    frame : dask DataFrame
        Its index holds the values of the column.

    Raises
    ------
    QueryError
        If another connection would not give the same, or DuckDB refuses or fails.
    """
    database = Database.of(connection)
    is_in_database = check_reopenable(connection, query, database)
    version = database.version() if is_in_database else uuid4().hex
    with database_errors(query), database.open() as own:
        table = _Table(own.sql(query, params=params), partition_on, query)
        cuts = table.cut(sizes)
    reader = RangeReader(
        database=database,
        query=query,
        params=params,
        key=table.key.name,
        order=tuple(table.names if cuts.repeats else table.names[:1]),
        has_nulls=cuts.n_values < table.n_rows,
        schema=table.schema,
        dtypes=special_dtypes(table.columns, table.with_nulls),
        token=content_digest(query, params, database.files, version),
    )
    parts = _ranges(cuts, table)
    meta = reader.to_frame(table.schema.empty_table(), table.schema.names)
    divisions = None
    if table.n_rows and not reader.has_nulls:
        ends = pa.table(
            [cuts.values], schema=pa.schema([table.schema.field(reader.key)])
        )
        divisions = rows_to_pandas(ends, {})[reader.key].tolist()
    return make_frame(reader, parts, meta, divisions)


class _Table:
    """What is asked of the database before anything is read."""

    def __init__(
        self, relation: duckdb.DuckDBPyRelation, partition_on: str, query: str
    ) -> None:
        self._query = query
        self.columns = check_columns(relation)
        self.key = _key(self.columns, partition_on)
        others = [column.name for column in self.columns if column is not self.key]
        self.names = [self.key.name, *others]
        self._relation = converted(relation, self.columns)
        types = zip(self._relation.columns, self._relation.types, strict=True)
        self.key_type = str(dict(types)[self.key.name])
        with open_stream(self._relation.limit(0), self.columns, query) as (schema, _):
            self.schema = schema
        self.n_rows, self.with_nulls = count_values(self._relation, self.columns)

    def cut(self, sizes: Sizes) -> Cuts:
        """Cut the sorted column into ranges."""
        width = 1.0
        if not sizes.are_counts:
            ordering = _ordering(self.names, self.columns)
            head = self._relation.order(ordering).limit(HEAD_ROWS)
            width = row_width(head, self.columns, self._query)
        starts = sizes.starts(self.n_rows, width, queried=True)
        column = self._relation.project(quoted(self.key.name))
        column = column.order(_ordering(self.names[:1], self.columns))
        with open_stream(column, [self.key], self._query) as (_, batches):
            return find_cuts((batch.column(0) for batch in batches), starts)


def _ranges(cuts: Cuts, table: _Table) -> list[Range]:
    """Return the ranges between the cuts; the first and the last one are open."""
    ends: list[str | None] = [None]
    if cuts.n_values:
        ends += literals(cuts.values, table.key_type)[1:-1]
    positions = [*cuts.positions, table.n_rows]
    return [
        Range(low, high, stop - start)
        for low, high, start, stop in zip(
            ends, [*ends[1:], None], positions, positions[1:], strict=False
        )
    ]


def _key(columns: Sequence[Column], partition_on: str) -> Column:
    """Find the column of the ranges, as SQL does, whatever its case."""
    found = [c for c in columns if folded(c.name) == folded(partition_on)]
    if not found:
        names = [column.name for column in columns]
        raise QueryError.expecting(
            "read_sql",
            "partition_on to be a column of the query",
            f"{partition_on!r}, columns: {names}",
            "select the column in the query",
        )
    (key,) = found
    if key.categories is not None or not _is_ordered(key.arrow_type):
        raise QueryError.expecting(
            "read_sql",
            "partition_on to be a column of numbers, text, dates or timestamps",
            f"{key.name} ({key.sql_type})",
            f"cast it in the SQL, CAST({quoted(key.name)} AS VARCHAR)",
        )
    return key


def _is_ordered(arrow_type: pa.DataType) -> bool:
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_large_string,
        pa.types.is_timestamp,
    )
    return any(is_kind(arrow_type) for is_kind in kinds)


def _comparable(column: Column) -> str:
    """Return a column in SQL so that it compares as Python does."""
    if not pa.types.is_large_string(column.arrow_type):
        return quoted(column.name)
    # A collation of the column would make other values equal, and the order another.
    # The cast is for JSON, at whose collation DuckDB fails.
    return f'CAST({quoted(column.name)} AS VARCHAR) COLLATE "binary"'


def _ordering(names: Iterable[str], columns: Sequence[Column]) -> str:
    """Return ORDER BY items that do not depend on settings."""
    known = {column.name: column for column in columns}
    return ", ".join(f"{_comparable(known[n])} ASC NULLS LAST" for n in names)
