"""Databases that a task opens for itself, wherever it runs, to read only.

A connection does not pickle, and a cursor of it sees neither temporary tables nor the
open transaction. So a lazy query carries the path of its database. Whether another
connection gives the same answer is the business of ``_reopenable``.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakValueDictionary

from dfml.sources._columns import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

__all__ = ["Database", "private_cursor"]

# The callers' connections, as long as they live: in their process the file may be open
# for writing, and then it cannot be opened again for reading only.
_held: WeakValueDictionary[str, duckdb.DuckDBPyConnection] = WeakValueDictionary()


def private_cursor() -> duckdb.DuckDBPyConnection:
    """Return a connection to an empty database of this process, which sees files."""
    return _private_database(os.getpid()).cursor()


@cache
def _private_database(_: int) -> duckdb.DuckDBPyConnection:
    """Open the empty database of a process: to open one takes longer than a query.

    A fork of the process does not get it, as its threads are not forked.
    """
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET python_enable_replacements = false")
    # What was read of files would stay in memory, up to DuckDB's own limit.
    connection.execute("SET enable_external_file_cache = false")
    return connection


@dataclass(frozen=True)
class Database:
    """How to open what a connection has open.

    Attributes
    ----------
    name : str
        Of the database.
    path : str or None
        Its file; None for one in memory, which is opened empty.
    attached : tuple of (str, str)
        Names and files of the attached databases.
    extensions : tuple of str
        Those that were loaded by hand.
    search_path, time_zone : str
        Settings of the connection.
    key : str
        Finds the caller's own connection, in its process.
    """

    name: str
    path: str | None
    attached: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    search_path: str
    time_zone: str
    key: str

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection) -> Database:
        """Describe what a connection has open, but for databases of other kinds."""
        ((search_path, time_zone),) = connection.sql(
            "SELECT current_setting('search_path'), current_setting('TimeZone')"
        ).fetchall()
        # A connection has its own database first; the rest was attached.
        files = connection.sql(
            "SELECT database_name, CASE WHEN type = 'duckdb' AND NOT encrypted "
            "THEN path END FROM duckdb_databases() WHERE NOT internal "
            "ORDER BY database_oid"
        ).fetchall()
        (name, path), *attached = files
        key = uuid4().hex
        _held[key] = connection
        return cls(
            name,
            path and os.path.abspath(path),
            tuple((n, os.path.abspath(p)) for n, p in attached if p),
            _loaded(connection),
            search_path,
            time_zone,
            key,
        )

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("dfml.Database", self.path, self.attached, self.search_path)

    @property
    def names(self) -> set[str]:
        """The names of the databases that are in files."""
        own = set() if self.path is None else {self.name}
        return own | {name for name, _ in self.attached}

    @property
    def files(self) -> list[str]:
        """The files of all databases."""
        own = [] if self.path is None else [self.path]
        return own + [path for _, path in self.attached]

    def version(self) -> list[tuple[int, int] | None]:
        """Return what changes with the files, whether written to them or beside."""
        states: list[tuple[int, int] | None] = []
        for path in self.files:
            for each in (path, f"{path}.wal"):
                found = os.path.exists(each) and os.stat(each)
                states.append((found.st_size, found.st_mtime_ns) if found else None)
        return states

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection of its own for a task, to read only."""
        connection = self._cursor() or self._connect()
        try:
            connection.execute(f"SET TimeZone = {literal(self.time_zone)}")
            if self.search_path:
                connection.execute(f"SET search_path = {literal(self.search_path)}")
            yield connection
        finally:
            connection.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection | None:
        """Return a cursor of the caller's connection, if it is open in this process."""
        import duckdb

        held = _held.get(self.key)
        try:
            return None if held is None else held.cursor()
        except duckdb.ConnectionException:
            return None

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """Open the files again."""
        import duckdb

        if self.path is None:
            # Databases and extensions are those of all connections to a database.
            is_empty = not (self.attached or self.extensions)
            connection = private_cursor() if is_empty else duckdb.connect()
        else:
            try:
                connection = duckdb.connect(self.path, read_only=True)
            except duckdb.ConnectionException:
                # This process has the file open for writing, and may share that.
                connection = duckdb.connect(self.path)
        for name in self.extensions:
            connection.load_extension(name)
        for name, path in self.attached:
            connection.execute(
                f"ATTACH IF NOT EXISTS {literal(path)} AS {quoted(name)} (READ_ONLY)"
            )
        return connection


def _loaded(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Name the extensions that a new connection does not have by itself."""
    rows = connection.sql(
        "SELECT extension_name FROM duckdb_extensions() WHERE loaded "
        "AND install_mode IS DISTINCT FROM 'STATICALLY_LINKED' ORDER BY 1"
    ).fetchall()
    return tuple(name for (name,) in rows)
