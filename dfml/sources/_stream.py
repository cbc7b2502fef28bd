"""A DuckDB relation as a stream of Arrow batches, encoded as a spill keeps them.

The batches come as DuckDB cuts them, which changes with filters and threads: whoever
needs rows in lengths that can be relied on cuts them anew (``rechunk``). Reading blocks
the connection of the relation until the stream is read out or closed.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfml.exceptions import QueryError
from dfml.sources._columns import CONVERTED_IN_SQL, INFINITY, Column, quoted
from dfml.sources._query import connection_of, raise_query_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import duckdb

T = TypeVar("T")

__all__ = ["converted", "interruptible", "open_stream", "read_table"]

# What DuckDB hands over at a time. Text is wide: its width is known only afterwards.
STREAM_BYTES = 16 * 2**20
TEXT_BYTES = 128
VECTOR_ROWS = 2_048
#: Just below the largest piece of memory that teaches glibc anything when it is freed.
LARGE_PIECE = 2**25 - 2**16


@contextmanager
def open_stream(
    relation: duckdb.DuckDBPyRelation,
    columns: Sequence[Column],
    source: str,
    where: str = "read_sql",
    batch_bytes: int = STREAM_BYTES,
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Run a relation once and hand out its rows as they come.

    Parameters
    ----------
    relation : DuckDBPyRelation
        It runs on its own connection.
    columns : sequence of Column
        From :func:`dfml.sources._columns.check_columns`.
    source : str
        The query, for messages.
    where : str
        The call, for messages.
    batch_bytes : int
        About so many are in a batch.

    Yields
    ------
    schema, batches : tuple
        All batches have the schema. An error of DuckDB in the middle of the stream is
        a QueryError: rows that came before it are no complete result.
    """
    _keep_freed_memory()
    n_rows = _stream_rows(columns, batch_bytes)
    run = partial(converted(relation, columns).to_arrow_reader, n_rows)
    reader = interruptible(relation, run)
    try:
        schema = _stored_schema(reader.schema, columns)
        _check_zones(schema, where)
        read = partial(interruptible, relation, reader.read_next_batch)
        yield schema, _iter_batches(read, columns, schema, source, where)
    finally:
        # An open result would block the connection.
        reader.close()


def _keep_freed_memory() -> None:
    """Make glibc keep the memory of one batch for the next.

    It gives back what is free at the end of a heap, 128 KiB of it or more, until some
    larger piece has been freed, and then twice as much as that: so each batch gets new
    pages, which the system clears one by one, half the time of a stream. Programs that
    had a table in memory have freed a large piece before. Where the user has set
    MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_, and without glibc, all stays.
    """
    np.empty(LARGE_PIECE, np.uint8)  # freed at once, and none of its pages touched


def read_table(
    relation: duckdb.DuckDBPyRelation, columns: Sequence[Column], source: str
) -> pa.Table:
    """Run a relation and return all its rows, as :func:`open_stream` does."""
    with open_stream(relation, columns, source) as (schema, batches):
        return pa.Table.from_batches(batches, schema=schema)


def converted(
    relation: duckdb.DuckDBPyRelation, columns: Sequence[Column]
) -> duckdb.DuckDBPyRelation:
    """Return the relation with the types cast that DuckDB is to convert."""
    if not any(column.sql_type in CONVERTED_IN_SQL for column in columns):
        return relation
    items = []
    for column in columns:
        name, cast = quoted(column.name), CONVERTED_IN_SQL.get(column.sql_type)
        items.append(f"CAST({name} AS {cast}) AS {name}" if cast else name)
    return relation.project(", ".join(items))


def _stream_rows(columns: Sequence[Column], batch_bytes: int) -> int:
    """Return how many rows to ask DuckDB for at a time, in whole vectors."""
    width = sum(
        TEXT_BYTES if pa.types.is_large_string(column.arrow_type) else 8
        for column in columns
    )
    vectors = batch_bytes // max(1, width) // VECTOR_ROWS
    return VECTOR_ROWS * min(64, max(1, vectors))


def _stored_schema(stream: pa.Schema, columns: Sequence[Column]) -> pa.Schema:
    """Return the schema of the batches, with the time zones of the stream."""
    return pa.schema(
        [
            (column.name, field.type if column.is_zoned else column.arrow_type)
            for field, column in zip(stream, columns, strict=True)
        ]
    )


def _check_zones(schema: pa.Schema, where: str) -> None:
    """Refuse time zones that DuckDB knows and Python does not."""
    for field in schema:
        if getattr(field.type, "tz", None) is None:
            continue
        try:
            pa.scalar(0, field.type).as_py()
        except (pa.ArrowInvalid, KeyError) as err:
            raise QueryError.expecting(
                where,
                "a time zone that Python knows too",
                f"{field.type.tz!r} in column {field.name!r}",
                "SET TimeZone = 'UTC', or another zone of the IANA, on the connection, "
                "or cast the column in the SQL, t::TIMESTAMP",
            ) from err


def interruptible(relation: duckdb.DuckDBPyRelation, function: Callable[[], T]) -> T:
    """Call DuckDB so that Ctrl-C ends the call.

    On the main thread DuckDB looks for signals in some calls and not in others: a query
    that is streamed and gives few rows, or counts them, would not be stopped for as
    long as it runs. So it works on another thread, and the main thread waits.

    Parameters
    ----------
    relation : DuckDBPyRelation
        Whose query it is.
    function : callable
        The call.

    Returns
    -------
    result : object
        What the function returns.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    with ThreadPoolExecutor(1, "dfml-query") as thread:
        running = thread.submit(function)
        try:
            return running.result()
        except BaseException:
            if not running.done():
                # This query alone: the connection runs no other beside it.
                connection_of(relation, None).interrupt()
            raise
        finally:
            # An error knows this frame, and the frame the future that has the error.
            del running


def _iter_batches(
    read: Callable[[], pa.RecordBatch],
    columns: Sequence[Column],
    schema: pa.Schema,
    source: str,
    where: str,
) -> Iterator[pa.RecordBatch]:
    """Yield the stream's batches in their final types."""
    while True:
        try:
            batch = read()
        except StopIteration:
            return
        except (OSError, pa.ArrowException) as err:
            # DuckDB's errors reach us through Arrow, which keeps only their text.
            raise_query_error(err, source, where)
        arrays = [
            _stored(array, column, arrow_type, where)
            for array, column, arrow_type in zip(
                batch.columns, columns, schema.types, strict=True
            )
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _stored(
    array: pa.Array, column: Column, arrow_type: pa.DataType, where: str
) -> pa.Array:
    """Return one array of the stream as it is kept."""
    if array.type == arrow_type and column.sql_type not in INFINITY:
        return array
    # DuckDB's Arrow settings of the connection choose among such encodings.
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if column.categories is not None:
        array = array.indices
    if column.sql_type in INFINITY:
        _check_finite(array, column, where)
    if pa.types.is_time(array.type):
        array = array.cast(pa.int64())
    try:
        return array.cast(arrow_type)
    except pa.ArrowInvalid as err:
        if column.sql_type != "date":
            raise
        raise QueryError.expecting(
            where,
            f"dates that {arrow_type} can hold",
            f"one outside the years -290307 to 294246 in column {column.name!r}",
            "make it null in the SQL, CASE WHEN abs(year(t)) < 290000 THEN t END",
        ) from err


def _check_finite(array: pa.Array, column: Column, where: str) -> None:
    """Refuse 'infinity', which pandas would show as some day far away."""
    limit = INFINITY[column.sql_type]
    storage = pa.int32() if column.sql_type == "date" else pa.int64()
    bounds = pc.min_max(array.cast(storage)).as_py()
    if bounds["max"] == limit or bounds["min"] == -limit:
        raise QueryError.expecting(
            where,
            "finite dates and times",
            f"infinity in column {column.name!r}",
            "make it null in the SQL, CASE WHEN isfinite(t) THEN t END",
        )
