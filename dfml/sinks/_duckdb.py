"""A table in a DuckDB database: staged as Parquet, written in one transaction.

The same transaction notes the job in ``dfml.jobs`` of the database, where the next call
of the job finds it.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import hashlib
import json
import os
import random
import shutil
import tempfile
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import pyarrow as pa

from dfml._full_disk import FULL
from dfml.exceptions import TargetError, TargetExistsError
from dfml.sinks._column_types import check_same_columns
from dfml.sinks._duckdb_table import DuckDBTable, parse_name
from dfml.sinks._home import JobHome
from dfml.sinks._staging import StagedJob, attempt_of
from dfml.sinks._writing import Layout
from dfml.sources._columns import folded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from dfml.sinks._duckdb_table import JobNote
    from dfml.sinks._files import FileSystem
    from dfml.sinks._writing import WrittenFile

__all__ = ["DuckDBTarget"]

# How often a transaction is tried while others commit, how long to wait at most, and
# how long for a database file that another process has open.
_TRIES = 100
_MAX_SECONDS = 1.0
_OPEN_SECONDS = 10.0

_MAX_DIGITS = 38


class _Rival(Exception):
    """Another transaction has noted a job under the same number."""


class DuckDBTarget:
    """A table in a database that a job is committed to.

    Parameters
    ----------
    where : str
        The call, for messages.
    database : DuckDBPyConnection or path
        A connection, which is used for the commit, or a database file.
    table : str
        Its name, after those of its schema and database if need be, as in SQL.
    files : FileSystem
        All calls go through it.
    mode : {"error", "overwrite", "append"}, default="error"
        What to do with rows that are there.

    Raises
    ------
    TargetError
        If the name is none, or the database cannot be written to.
    """

    #: No folder is written to but the one for staging.
    folder = None

    def __init__(
        self,
        where: str,
        database: Any,
        table: str,
        files: FileSystem,
        *,
        mode: str = "error",
    ) -> None:
        self.where, self.files, self.mode = where, files, mode
        self.path = table
        self._names = parse_name(where, table)
        import duckdb

        self._library = duckdb
        is_path = isinstance(database, (str, os.PathLike))
        self._connection = None if is_path else database
        self._file = os.path.realpath(os.path.expanduser(database)) if is_path else ""
        file = self._file if is_path else self._look(database).file(where)
        self._home = JobHome(where, _home_of(file, table), files)
        # Number of the job's last commit, as it was when this call first looked.
        self._mark: int | None = None
        self._has_looked = False

    def _look(self, connection: Any) -> DuckDBTable:
        return DuckDBTable.look(connection, self._names)

    @contextlib.contextmanager
    def _seen(self) -> Iterator[DuckDBTable]:
        """Give the table; a database file is open no longer than for a look."""
        if self._connection is not None:
            yield self._look(self._connection)
            return
        is_there = os.path.exists(self._file)
        with self._open() if is_there else self._library.connect() as connection:
            yield self._look(connection)

    def _open(self) -> Any:
        last = time.monotonic() + _OPEN_SECONDS
        while True:
            try:
                connection = self._library.connect(self._file)
                break
            except self._library.Error as e:
                # By another process, or thread, for a moment maybe.
                is_held = "lock" in str(e) or "handle conflict" in str(e)
                if not is_held or time.monotonic() > last:
                    raise self._unopened(str(e), is_held=is_held) from e
                time.sleep(random.uniform(0, 0.2))
        connection.execute("SET enable_progress_bar = false")
        # DuckDB shows a file of data as views of a database in memory, where all that
        # is written would be lost.
        if self._look(connection).file(self.where) is None:
            connection.close()
            raise self._unopened("a file of another kind", is_held=False)
        return connection

    def _unopened(self, reason: str, *, is_held: bool) -> TargetExistsError:
        return TargetExistsError.expecting(
            self.where,
            f"to open the database {self._file!r}",
            reason,
            "close it in the other process, or pass a connection"
            if is_held
            else "choose another file, or pass a connection to the database",
        )

    def options(self) -> dict[str, Any]:
        """Give what makes a job of the same rows another one, as plain data."""
        return {"format": "duckdb", "partition_by": []}

    def check_early(self) -> None:
        """Refuse what no job could write, before the source is looked at."""
        if self.mode == "overwrite_partitions":
            raise TargetError.expecting(
                self.where,
                'mode="error", "overwrite" or "append" for a DuckDB table, which has '
                "no partitions",
                repr(self.mode),
                'delete the old rows with SQL, and pass mode="append"',
            )
        known = ["main", os.path.basename(self._file).partition(".")[0]]
        known = [folded(name) for name in known]
        unknown = [name for name in self._names[:-1] if folded(name) not in known]
        if self._file and unknown and not os.path.exists(self._file):
            raise TargetError.expecting(
                self.where,
                "a schema that is there",
                f"{self.path!r} for {self._file!r}, a database that is to be made",
                "leave the schema out, or create it first",
            )
        with self._seen() as table:
            self._check_writable(table)

    def _check_writable(self, table: DuckDBTable) -> None:
        problem = None
        if table.kind not in (None, "BASE TABLE"):
            problem = f"{self.path!r}, a {str(table.kind).lower()}"
        elif self.mode == "overwrite" and table.has_more_than_rows():
            problem = (
                f"{self.path!r}, with constraints, indexes, defaults, collations or "
                "comments that would be lost"
            )
        elif len(self._names) == 1 and table.is_hidden():
            problem = (
                f"{self.path!r}, which is a temporary table, view or registered frame "
                "here too"
            )
        if problem is not None:
            raise TargetError.expecting(
                self.where,
                f"a table that mode={self.mode!r} can write to",
                problem,
                "write to another table, and copy from there",
            )

    def locked(self, job: str) -> AbstractContextManager[None]:
        """Hold the staging of a job; other jobs may write to the table meanwhile."""
        return self._home.locked(job)

    def recover(self) -> None:
        """Do nothing: DuckDB undoes what was cut short."""

    def committed(self, job: str) -> dict[str, Any] | None:
        """Give the report of a job if the table has what the job has written.

        Parameters
        ----------
        job : str
            The job.

        Returns
        -------
        report : dict or None
            As it was noted.
        """
        with self._seen() as table:
            note = self._marked(table, job)
        if note is None:
            return None
        report: dict[str, Any] = json.loads(note.report)
        # A job that was appended to rows of others has not written the table.
        is_all = note.is_last and report["rows"] == note.n_rows == table.n_rows
        if self.mode != "append" and not is_all:
            return None
        self._clean_up(job)
        return report

    def _marked(self, table: DuckDBTable, job: str) -> JobNote | None:
        note = table.note_of(job)
        self._mark = None if note is None else note.number
        self._has_looked = True
        return note

    def check_free(self) -> None:
        """Refuse a table with rows if the mode is ``"error"``.

        Raises
        ------
        TargetExistsError
            Saying which table.
        """
        with self._seen() as table:
            self._check(table)

    def _check(self, table: DuckDBTable) -> None:
        self._check_writable(table)
        if self.mode == "error" and table.n_rows:
            raise TargetExistsError.expecting(
                self.where,
                "a target that is not there yet, or has no rows",
                f"{self.path!r}, with rows that this job has not written",
                'pass mode="append", mode="overwrite", or another table',
            )

    def stage(
        self, job: str, plan: dict[str, Any], schema: Any, *, resume: bool
    ) -> StagedJob:
        """Prepare the staging folder of a job.

        Parameters
        ----------
        job : str
            What the job is called.
        plan : dict
            Stored as JSON, for people.
        schema : pyarrow Schema
            What is to be written.
        resume : bool
            False removes what an earlier attempt has finished.

        Returns
        -------
        staged : StagedJob
            With the parts that are complete already.

        Raises
        ------
        TargetError
            If DuckDB has no such columns.
        """
        self._check_columns(schema)
        if not self._has_looked:
            with self._seen() as table:
                self._marked(table, job)
        folder = self._home.staging_of(job)
        if not resume:
            self.files.remove(folder)
        attempt = attempt_of(self.files, folder) or uuid.uuid4().hex
        staged = StagedJob(folder, job, attempt, Layout(self.where, schema), self.files)
        staged.prepare(plan)
        return staged

    def _check_columns(self, schema: Any) -> None:
        names = [folded(name) for name in schema.names]
        wrong = [n for n in schema.names if names.count(folded(n)) > 1]
        wrong += [
            f"{each.name}: {each.type}" for each in schema if _has_no_type(each.type)
        ]
        if wrong:
            raise TargetError.expecting(
                self.where,
                "columns that DuckDB has a type for, whose names differ by more than "
                "case",
                ", ".join(wrong),
                "leave the columns out with keep=, or change them in the source",
            )

    def commit(
        self, staged: StagedJob, written: Sequence[WrittenFile], report: dict[str, Any]
    ) -> None:
        """Make the staged rows the table's, in one transaction.

        Parameters
        ----------
        staged : StagedJob
            All parts are complete.
        written : sequence of WrittenFile
            All files.
        report : dict
            Noted in the database.

        Raises
        ------
        TargetError
            If the table has other columns, or the connection is in a transaction.
        TargetExistsError
            If others commit all the time.
        DiskFullError
            If there is no room for the rows.
        """
        for n in range(_TRIES):
            try:
                with self._room(staged):
                    self._transact(staged, written, report)
                break
            except (self._library.TransactionException, _Rival) as err:
                if n == _TRIES - 1:
                    raise TargetExistsError.expecting(
                        self.where,
                        f"a transaction on {self.path!r} to succeed in {_TRIES} tries",
                        str(err),
                        "call again: finished parts are kept",
                    ) from err
                time.sleep(random.uniform(0, min(_MAX_SECONDS, 0.01 * 2**n)))
        self._clean_up(staged.job)

    @contextlib.contextmanager
    def _room(self, staged: StagedJob) -> Iterator[None]:
        """Find the error of a full disk in what DuckDB says."""
        try:
            yield
        except self._library.Error as err:
            codes = [code for code in FULL if os.strerror(code) in str(err)]
            if not codes:
                raise
            with staged.room(self._file or None):
                raise OSError(codes[0], os.strerror(codes[0])) from err

    def _transact(
        self, staged: StagedJob, written: Sequence[WrittenFile], report: dict[str, Any]
    ) -> None:
        with contextlib.ExitStack() as stack:
            connection = self._connection or stack.enter_context(self._open())
            self._begin(connection)
            try:
                self._write(self._look(connection), staged, written, report)
                self.files.perform(partial(connection.execute, "COMMIT"))
            except BaseException:
                with contextlib.suppress(self._library.Error):
                    connection.execute("ROLLBACK")
                raise

    def _begin(self, connection: Any) -> None:
        # To try would undo the caller's transaction. Outside of one, each statement
        # has a number of its own.
        numbers = [
            connection.execute("SELECT txid_current()").fetchall() for _ in range(2)
        ]
        if numbers[0] == numbers[1]:
            raise TargetError.expecting(
                self.where,
                "a connection without an open transaction",
                "one that is in a transaction",
                "commit or roll back, and call again: finished parts are kept",
            )
        connection.execute("BEGIN TRANSACTION")

    def _write(
        self,
        table: DuckDBTable,
        staged: StagedJob,
        written: Sequence[WrittenFile],
        report: dict[str, Any],
    ) -> None:
        note = table.note_of(staged.job)
        if note is not None and note.number != self._mark:
            return  # somebody else has done the same job
        self._check(table)
        rows = f"read_parquet({_literal(staged, written)}, hive_partitioning = false)"
        change = self._change(table, rows)
        statement = {
            "create": f"CREATE TABLE {table.sql} AS FROM {rows}",
            "replace": f"CREATE OR REPLACE TABLE {table.sql} AS FROM {rows}",
            "append": f"INSERT INTO {table.sql} BY NAME FROM {rows}",
        }[change]
        run = partial(table.connection.execute, statement)
        try:
            ((n_rows,),) = self.files.perform(run).fetchall()
        except self._library.ConstraintException as err:
            raise TargetError.expecting(
                self.where,
                f"rows that keep to the constraints of {self.path!r}",
                str(err),
                "change the source, or the table and call again: parts are kept",
            ) from err
        expected = sum(file.n_rows for file in written)
        if n_rows != expected:
            raise TargetError.expecting(
                self.where,
                f"{expected} rows in {staged.data!r}",
                f"{n_rows}",
                "pass resume=False; nothing was committed",
            )
        try:
            self.files.perform(partial(table.note, staged.job, change, report))
        except self._library.ConstraintException as err:
            raise _Rival(str(err)) from err

    def _change(self, table: DuckDBTable, rows: str) -> str:
        if table.kind is None:
            return "create"
        if self.mode == "overwrite":
            return "replace"
        found = table.connection.execute(f"DESCRIBE FROM {rows}").fetchall()
        gets = {column: type_ for column, type_, *_ in found}
        check_same_columns(self.where, repr(self.path), table.columns, gets)
        return "append"

    def _clean_up(self, job: str) -> None:
        others = self.mode in ("error", "overwrite")
        self._home.clean_up(job, self.files.remove, others=others)


def _has_no_type(type_: Any) -> bool:
    is_long = pa.types.is_decimal(type_) and type_.precision > _MAX_DIGITS
    return bool(is_long or pa.types.is_duration(type_) or pa.types.is_null(type_))


def _literal(staged: StagedJob, written: Sequence[WrittenFile]) -> str:
    """Write paths as a list in SQL; DuckDB would take brackets for a pattern."""
    paths = [glob.escape(os.path.join(staged.data, file.path)) for file in written]
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"


def _home_of(file: str | None, table: str) -> str:
    """Name the folder for staging: beside the file, or where temporary files are."""
    digest = hashlib.sha256(folded(table).encode()).hexdigest()[:8]
    if file is not None:
        parent, name = os.path.split(file)
        return os.path.join(parent, f".{name}.{digest}.dfml")
    parent = dask.config.get("dfml.spill-directory", None) or tempfile.gettempdir()
    path = os.path.join(parent, f"dfml-{os.getpid()}-{digest}")
    # What is staged for a database in memory is of no use to another process.
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
