"""The rows of a relation, read anew as often as somebody asks for them.

DuckDB does not run a query inside another one of the same connection. So the rows come
from a second connection to the same database, opened for each reading, or, where only
the caller's connection can run the query, from a file to which it was run once.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.dataset

from dfml.exceptions import QueryError
from dfml.sources._columns import quoted
from dfml.sources._reopenable import is_in_transaction
from dfml.sources._spill_folder import SET_DIRECTORY, place_errors, spill_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

__all__ = ["BATCH_ROWS", "Rows", "open_rows"]

# Half a row group of DuckDB, which leaves it without a copy. Twice as many rows of 20
# columns no longer fit in a cache, and take a third longer to become an array.
BATCH_ROWS = 61_440

_log = logging.getLogger("dfml")

# What a connection has of its own and another one would not see. dfml's own functions
# are no reason: a query that calls one cannot be bound on another connection.
_OF_ITS_OWN = """
    SELECT 'its temporary tables' WHERE EXISTS (FROM duckdb_tables() WHERE temporary)
    UNION ALL SELECT 'its temporary views or registered frames' WHERE EXISTS
        (FROM duckdb_views() WHERE temporary AND NOT internal)
    UNION ALL SELECT 'its temporary macros' WHERE EXISTS
        (FROM duckdb_functions() WHERE database_name = 'temp' AND NOT internal
            AND function_type IN ('macro', 'table_macro')
            AND NOT regexp_matches(macro_definition, '^_dfml_|"the table of _dfml_'))
    UNION ALL SELECT 'its temporary types' WHERE EXISTS
        (FROM duckdb_types() WHERE database_name = 'temp' AND NOT internal)
    UNION ALL SELECT 'its temporary sequences' WHERE EXISTS
        (FROM duckdb_sequences() WHERE temporary)
    UNION ALL SELECT 'its variables' WHERE EXISTS (FROM duckdb_variables())
"""
# Settings that change what is shown or how fast, and no row.
_HARMLESS = "name NOT SIMILAR TO '.*(profil|progress|streaming|metrics|python).*'"


class Rows(Protocol):
    """Rows with fixed columns that can be read more than once."""

    schema: Any

    def read(self, names: Sequence[str]) -> Iterator[Any]:
        """Yield these columns of all rows, in the order of the relation."""


def open_rows(query: duckdb.DuckDBPyRelation) -> Rows:
    """Find out how the rows of a query can be read again, and make that possible.

    Raises
    ------
    QueryError
        If DuckDB refuses the query, or fails while it runs to a file.
    """
    with failures(query):
        reason = _reason_to_stay(query)
        if reason is None:
            return _LiveRows(query)
    _log.info("predict_sql runs the query once, to a file: %s", reason)
    return _SpilledRows(query)


class _LiveRows:
    """The query is run at each reading, by a connection that is there for that only.

    Neither the relation nor its connection is kept: DuckDB will hold these rows, and a
    database that holds its connection is never closed.
    """

    def __init__(self, query: duckdb.DuckDBPyRelation) -> None:
        self.schema = query.limit(0).to_arrow_reader(1).schema
        self._text = query.sql_query()
        self._connection = weakref.ref(query._con)

    def read(self, names: Sequence[str]) -> Iterator[Any]:
        connection = self._connection()
        if connection is None:  # only a connection that is open reads relations
            raise QueryError("The connection of the relation is closed.")
        columns = ", ".join(quoted(name) for name in names)
        with _second(connection) as cursor:
            query = cursor.sql(f"SELECT {columns} FROM ({self._text})")
            with failures(query), query.to_arrow_reader(BATCH_ROWS) as reader:
                yield from reader


class _SpilledRows:
    """The query was run once, to a file that goes with the last reference."""

    def __init__(self, query: duckdb.DuckDBPyRelation) -> None:
        directory = _make_directory()
        try:
            path = os.path.join(directory, "rows.arrow")
            with failures(query), query.to_arrow_reader(BATCH_ROWS) as reader:
                self.schema = reader.schema
                _write(path, reader)
            self._file = pyarrow.dataset.dataset(path, schema=self.schema, format="ipc")
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)

    def read(self, names: Sequence[str]) -> Iterator[Any]:
        scanner = self._file.scanner(
            columns=list(names), batch_size=BATCH_ROWS, batch_readahead=2
        )
        yield from scanner.to_reader()


@contextmanager
def failures(query: duckdb.DuckDBPyRelation) -> Iterator[None]:
    """Give DuckDB's failures one type; in a stream they come as those of Arrow."""
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as err:
        raise QueryError.expecting(
            "predict_sql",
            "a relation that DuckDB can read to its end",
            f"{str(err).rstrip(' .')}\n\nfrom {query.sql_query()}",
            "read the relation alone, and pass it when that works",
        ) from err
    except RuntimeError as err:
        # DuckDB swallows Ctrl-C while a query runs and raises this in its place.
        if str(err) == "Query interrupted":
            raise KeyboardInterrupt from err
        raise


def _reason_to_stay(query: duckdb.DuckDBPyRelation) -> str | None:
    """Say why another connection might not answer the query alike; None if it will."""
    import duckdb

    connection = query._con
    if is_in_transaction(connection):
        return "the open transaction"
    rows = connection.sql(_OF_ITS_OWN).fetchall()
    if rows:
        return " and ".join(reason for (reason,) in rows)
    text = query.sql_query()
    # What DuckDB has taken from a Python variable lives as long as the relation.
    if "__duckdb_source_" in text:
        return "Python objects in the query"
    with _second(connection) as cursor:
        if _settings(cursor) != _settings(connection):
            return "settings of the connection"
        try:
            bound = cursor.sql(text)
        except duckdb.Error as err:
            return str(err).partition("\n")[0]
        alike = (bound.columns, bound.types) == (query.columns, query.types)
    return None if alike else "other columns elsewhere"


def _settings(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    query = f"SELECT name, value FROM duckdb_settings() WHERE {_HARMLESS} ORDER BY 1"
    settings: list[Any] = connection.sql(query).fetchall()
    return settings


@contextmanager
def _second(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open another connection to the same database, which sees no Python variables."""
    with connection.cursor() as cursor:
        cursor.execute("SET python_enable_replacements = false")
        yield cursor


def _make_directory() -> str:
    parent = spill_directory("predict_sql")
    with place_errors("predict_sql", parent, SET_DIRECTORY):
        parent.mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix="dfml-predict-", dir=parent)


def _write(path: str, reader: Any) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(path, "wb") as sink,
        pa.ipc.new_file(sink, reader.schema, options=options) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
