"""One table of a DuckDB database, as SQL finds it, and the jobs noted for it.

Names come from callers: each is quoted, and means nothing but itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from string import ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple, Self

from dfml.exceptions import TargetError
from dfml.sources._columns import folded, quoted

__all__ = ["DuckDBTable", "JobNote", "parse_name"]

_NAME = re.compile(r'("(?:[^"]|"")+"|[^".]+)(?:\.|$)')


def _is(*columns: str) -> str:
    """Write that columns hold names, folded ones, as DuckDB compares names."""
    letters = f"'{ascii_uppercase}', '{ascii_lowercase}'"
    return " AND ".join(f"translate({each}, {letters}) = ?" for each in columns)


_IS_IT = _is("database_name", "schema_name", "table_name")
_JOBS = {
    "id": "BIGINT PRIMARY KEY",
    "job": "VARCHAR",
    "schema": "VARCHAR",
    "table": "VARCHAR",
    "change": "VARCHAR",
    "n_rows": "BIGINT",
    "report": "VARCHAR",
    "committed_at": "TIMESTAMP",
}
# No catalog lists collations: they are in the statement that would make the table.
_IS_COLLATED = (
    """regexp_matches(regexp_replace(sql, '"[^"]*"|''[^'']*''', '', 'g'), """
    r"'\bCOLLATE\b')"
)


class JobNote(NamedTuple):
    """What is noted of a job's last commit.

    Parameters
    ----------
    number : int
        Of the commit, among all of the database.
    is_last : bool
        Whether no other job was committed to the table since.
    n_rows : int
        Rows of the table then.
    report : str
        JSON.
    """

    number: int
    is_last: bool
    n_rows: int
    report: str


def parse_name(where: str, table: str) -> list[str]:
    """Take a name apart as SQL does; parts in double quotes may hold anything.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : str
        Such as ``scored``, ``marts.scored`` or ``"a.b"``.

    Returns
    -------
    names : list of str
        Database, schema and table; or less of them.

    Raises
    ------
    TargetError
        If it is no such name.

    Examples
    --------
    >>> parse_name("predict_table", 'marts."scored.v2"')
    ['marts', 'scored.v2']
    """
    names = _NAME.findall(table)
    if _NAME.sub("", table) or not 0 < len(names) <= 3 or table.endswith("."):
        raise TargetError.expecting(
            where,
            "table= to be a name, after those of its schema and database at most",
            repr(table),
            "put a name with dots or quotes into double quotes, as in SQL",
        )
    return [n[1:-1].replace('""', '"') if n[0] == '"' else n for n in names]


@dataclass(frozen=True)
class DuckDBTable:
    """A table as it is at one moment, there or not.

    Parameters
    ----------
    connection : DuckDBPyConnection
        What is asked.
    database, schema, name : str
        Its full name.
    kind : str or None, default=None
        ``BASE TABLE``, or ``VIEW`` and the like; None if it is not there.
    columns : dict
        Names and types.
    n_rows : int, default=0
        How many it has.
    """

    connection: Any
    database: str
    schema: str
    name: str
    kind: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    n_rows: int = 0

    @classmethod
    def look(cls, connection: Any, names: list[str]) -> Self:
        """Find a table by the parts of its name, from the connection's point of view.

        Parameters
        ----------
        connection : DuckDBPyConnection
            What is asked.
        names : list of str
            From :func:`parse_name`.

        Returns
        -------
        table : DuckDBTable
            As it is now.
        """
        *before, name = names
        ((database, schema),) = _rows(
            connection, "SELECT current_database(), current_schema()"
        )
        if len(before) == 2:
            database, schema = before
        elif before:
            is_schema = _rows(
                connection,
                "SELECT 1 FROM duckdb_schemas() WHERE "
                + _is("database_name", "schema_name"),
                *map(folded, (database, before[0])),
            )
            database = database if is_schema else before[0]
            schema = before[0] if is_schema else "main"
        return cls._described(connection, database, schema, name)

    @classmethod
    def _described(cls, connection: Any, database: str, schema: str, name: str) -> Self:
        kinds = _rows(
            connection,
            "SELECT table_type FROM information_schema.tables WHERE "
            + _is("table_catalog", "table_schema", "table_name"),
            *map(folded, (database, schema, name)),
        )
        table = cls(connection, database, schema, name)
        if not kinds:
            return table
        columns = _rows(connection, f"DESCRIBE {table.sql}")
        ((n_rows,),) = _rows(connection, f"SELECT count(*) FROM {table.sql}")
        types = {column: type_ for column, type_, *_ in columns}
        return replace(table, kind=kinds[0][0], columns=types, n_rows=n_rows)

    @property
    def sql(self) -> str:
        """The name in SQL."""
        return ".".join(map(quoted, (self.database, self.schema, self.name)))

    @property
    def jobs(self) -> str:
        """The table in which jobs are noted."""
        return f"{self._schema}.jobs"

    @property
    def _schema(self) -> str:
        return f"{quoted(self.database)}.dfml"

    def file(self, where: str) -> str | None:
        """Find the file of the database; None if it is in memory.

        Raises
        ------
        TargetError
            If there is no such database, or it cannot be written to.
        """
        found = _rows(
            self.connection,
            "SELECT path FROM duckdb_databases() WHERE type = 'duckdb' "
            f"AND NOT readonly AND NOT internal AND {_is('database_name')}",
            folded(self.database),
        )
        if not found:
            raise TargetError.expecting(
                where,
                "a schema that is there, or a DuckDB database that can be written to",
                f"{self.database!r}, which is neither: it is read-only, temporary or "
                "not attached",
                "create the schema, or attach the database without READ_ONLY",
            )
        path: str | None = found[0][0]
        return path

    def has_more_than_rows(self) -> bool:
        """Tell whether constraints, indexes, collations and the like would be lost."""
        name = tuple(map(folded, (self.database, self.schema, self.name)))
        places = {
            "duckdb_constraints()": "true",
            "duckdb_indexes()": "true",
            "duckdb_tables()": f"comment IS NOT NULL OR {_IS_COLLATED}",
            "duckdb_columns()": "comment IS NOT NULL OR column_default IS NOT NULL",
        }
        return any(
            _rows(
                self.connection,
                f"SELECT 1 FROM {found} WHERE {_IS_IT} AND ({condition})",
                *name,
            )
            for found, condition in places.items()
        )

    def is_hidden(self) -> bool:
        """Tell whether something temporary has the name, if it is written alone."""
        places = {"duckdb_tables()": "table_name", "duckdb_views()": "view_name"}
        return any(
            _rows(
                self.connection,
                f"SELECT 1 FROM {found} WHERE temporary AND {_is(column)}",
                folded(self.name),
            )
            for found, column in places.items()
        )

    def note_of(self, job: str) -> JobNote | None:
        """Find the last commit of a job since the table was made.

        Parameters
        ----------
        job : str
            The job.

        Returns
        -------
        note : JobNote or None
            None if the table has nothing of the job.
        """
        if self.kind is None or not self._has_jobs():
            return None
        ((made, last),) = _rows(
            self.connection,
            f"SELECT max(id) FILTER (change = 'create'), max(id) FROM {self.jobs} "
            'WHERE "schema" = ? AND "table" = ?',
            *self._key(),
        )
        found = _rows(
            self.connection,
            f'SELECT id, id = ?, n_rows, report FROM {self.jobs} WHERE "schema" = ? '
            'AND "table" = ? AND job = ? AND id >= ? ORDER BY id DESC LIMIT 1',
            last,
            *self._key(),
            job,
            made or 0,
        )
        return JobNote(*found[0]) if found else None

    def _key(self) -> list[str]:
        return [folded(self.schema), folded(self.name)]

    def _has_jobs(self) -> bool:
        jobs = self._described(self.connection, self.database, "dfml", "jobs")
        if jobs.kind is not None and list(jobs.columns) != list(_JOBS):
            raise TargetError.expecting(
                "predict_table",
                f"{self.jobs} to be the table of jobs that dfml makes",
                f"one with the columns {list(jobs.columns)}",
                "rename that schema, or write to another database",
            )
        return jobs.kind is not None

    def note(self, job: str, change: str, report: dict[str, Any]) -> None:
        """Note a job, in the transaction that writes its rows.

        Parameters
        ----------
        job : str
            The job.
        change : {"create", "replace", "append"}
            What it has done to the table.
        report : dict
            Plain data.

        Raises
        ------
        TargetError
            If the database has another table in the place of ``dfml.jobs``.
        """
        if not self._has_jobs():
            _rows(self.connection, f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
            columns = ", ".join(f"{quoted(n)} {type_}" for n, type_ in _JOBS.items())
            _rows(self.connection, f"CREATE TABLE {self.jobs} ({columns})")
        # Two transactions that note at once take the same number, and one fails.
        _rows(
            self.connection,
            f"INSERT INTO {self.jobs} SELECT coalesce(max(id), 0) + 1, ?, ?, ?, ?, "
            f"(SELECT count(*) FROM {self.sql}), ?, ? FROM {self.jobs}",
            job,
            *self._key(),
            change,
            json.dumps(report),
            datetime.now(UTC).replace(tzinfo=None),
        )


def _rows(connection: Any, sql: str, *values: Any) -> list[Any]:
    """Run a statement to its end: one that is not fetched keeps a connection busy."""
    found: list[Any] = connection.execute(sql, list(values)).fetchall()
    return found
