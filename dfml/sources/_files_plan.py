"""The plan "files": partitions are row groups of Parquet files, through a query."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dfml._digest import content_digest
from dfml.exceptions import SourceError
from dfml.sources._columns import (
    check_columns,
    named_types,
    quoted,
    rows_to_pandas,
    special_dtypes,
)
from dfml.sources._file_scan import ROW_NUMBER, FileScan, Piece, find_scan
from dfml.sources._lazy_frame import (
    HEAD_ROWS,
    count_values,
    make_frame,
    row_width,
)
from dfml.sources._query import database_errors
from dfml.sources._stream import converted, open_stream, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.dataframe as dd
    import duckdb

    from dfml.sources._lazy_frame import Sizes

__all__ = ["read_files"]

ROW_GROUPS = """
    SELECT file_name, row_group_id, any_value(row_group_num_rows)
    FROM parquet_metadata(?) GROUP BY ALL ORDER BY row_group_id
"""
State = tuple[int, int]


@dataclass(frozen=True)
class FileReader:
    """Reads some row groups through a query as a pandas DataFrame.

    Attributes
    ----------
    scan : FileScan
        The query.
    schema : Schema
        Of the query and the number of the row, as Arrow.
    dtypes : dict
        Of the nullable and categorical columns.
    token : str
        Names the rows.
    """

    scan: FileScan
    schema: pa.Schema
    dtypes: dict[str, Any]
    token: str

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("dfml.read_sql files", self.token)

    def __call__(
        self, pieces: tuple[tuple[Piece, State | None], ...], columns: list[str]
    ) -> pd.DataFrame:
        """Return the rows of the pieces, with these columns in this order."""
        names = list(dict.fromkeys([*columns, ROW_NUMBER]))
        empty = pa.schema([self.schema.field(name) for name in names]).empty_table()
        with self.scan.open() as connection:
            tables = [self._read(connection, *each, empty.schema) for each in pieces]
        return self.to_frame(pa.concat_tables([empty, *tables]), columns)

    def to_frame(self, table: pa.Table, columns: list[str]) -> pd.DataFrame:
        """Return rows as a frame whose index is the number of the row."""
        frame = rows_to_pandas(table, self.dtypes)
        return frame[columns].set_axis(pd.Index(frame[ROW_NUMBER]).rename(None))

    def _read(
        self,
        connection: duckdb.DuckDBPyConnection,
        piece: Piece,
        state: State | None,
        schema: pa.Schema,
    ) -> pa.Table:
        """Read the rows of one file, numbered over the whole table."""
        self._check(piece, _state(piece.path), state, "size and time")
        source = f"{self.scan.query}\n\nin {piece.path!r}, from row {piece.start}"
        with database_errors(source):
            table = self._table(connection, piece, schema, source)
        self._check(piece, named_types(table.schema), named_types(schema), "types")
        at = schema.get_field_index(ROW_NUMBER)
        numbers = pc.add(table.column(at), piece.offset)
        return table.set_column(at, ROW_NUMBER, numbers)

    def _table(
        self,
        connection: duckdb.DuckDBPyConnection,
        piece: Piece,
        schema: pa.Schema,
        source: str,
    ) -> pa.Table:
        """Run the query over a piece."""
        relation = connection.sql(self.scan.sql(piece), params=self.scan.params)
        known = {column.name: column for column in check_columns(relation)}
        self._check(piece, [*known], self.schema.names, "columns")
        rows = converted(relation, [*known.values()])
        rows = rows.project(", ".join(map(quoted, schema.names)))
        return read_table(rows, [known[name] for name in schema.names], source)

    def _check(self, piece: Piece, got: Any, expected: Any, what: str) -> None:
        """Refuse a file that is not what it was, or not like the others."""
        if got != expected:
            raise SourceError.expecting(
                "read_sql's frame",
                f"files that do not change, and are alike, with {what} {expected}",
                f"{got} of {piece.path!r}, in:\n{self.scan.query}\n",
                'call read_sql again, or use plan="spill"',
            )


def read_files(
    query: str,
    connection: duckdb.DuckDBPyConnection,
    params: Any,
    sizes: Sizes,
) -> dd.DataFrame:
    """Return a frame whose partitions are row groups, read through a query.

    Parameters
    ----------
    query : str
        One SELECT that DuckDB has bound on the connection.
    connection : DuckDBPyConnection
        The caller's.
    params : list, tuple, dict or None
        Values in the query.
    sizes : Sizes
        How long partitions are to be.

    Returns
    -------
    frame : dask DataFrame
        Its index is the number of the row in all files.

    Raises
    ------
    QueryError
        If the query is more than a plain scan.
    """
    with database_errors(query):
        scan, whole, paths = find_scan(connection, query, params)
        states = {path: _state(path) for path in paths}
        with scan.open() as own:
            groups = _row_groups(own, paths)
            relation = own.sql(whole, params=params)
            columns = check_columns(relation)
            relation = converted(relation, columns)
            with open_stream(relation.limit(0), columns, query) as (schema, _):
                pass
            _, with_nulls = count_values(relation, columns)
            width = 1.0
            if not sizes.are_counts:
                width = row_width(relation.limit(HEAD_ROWS), columns, query)
    n_rows = sum(piece.stop - piece.start for piece in groups)
    starts = sizes.starts(n_rows, width, queried=True)
    parts = _join(groups, starts)
    reader = FileReader(
        scan,
        schema,
        special_dtypes(columns, with_nulls),
        content_digest(query, params, list(states.items())),
    )
    names = [name for name in schema.names if name != ROW_NUMBER]
    firsts = [pieces[0].start + pieces[0].offset for pieces in parts if pieces]
    return make_frame(
        reader,
        [tuple((piece, states[piece.path]) for piece in pieces) for pieces in parts],
        reader.to_frame(schema.empty_table(), names),
        (*(firsts or [0]), max(0, n_rows - 1)),
    )


def _state(path: str) -> State | None:
    """Return what changes with a file; None if it is gone."""
    if not os.path.exists(path):
        return None
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


def _row_groups(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str]
) -> list[Piece]:
    """List the row groups of all files, in order."""
    found: dict[str, list[int]] = {path: [] for path in paths}
    for path, _, n_rows in connection.sql(
        ROW_GROUPS, params=[[*map(glob.escape, found)]]
    ).fetchall():
        found[path].append(n_rows)
    pieces = []
    before = 0
    for path in paths:
        start = 0
        for n_rows in found[path]:
            pieces.append(Piece(path, start, start + n_rows, before))
            start += n_rows
        before += start
    return pieces


def _join(groups: Sequence[Piece], starts: Sequence[int]) -> list[tuple[Piece, ...]]:
    """Join row groups into partitions that begin as near to the starts as they can."""
    if not groups:
        return [()]
    begins = np.asarray([group.start + group.offset for group in groups])
    cuts = sorted({int(np.abs(begins - start).argmin()) for start in starts})
    parts = []
    for first, stop in zip(cuts, [*cuts[1:], len(groups)], strict=True):
        joined = [groups[first]]
        for group in groups[first + 1 : stop]:
            last = joined[-1]
            if (group.path, group.offset) == (last.path, last.offset):
                joined[-1] = last._replace(stop=group.stop)
            else:
                joined.append(group)
        parts.append(tuple(joined))
    return parts
