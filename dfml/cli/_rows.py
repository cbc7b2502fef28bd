"""The rows that a command works on: SQL text, a ``.sql`` file, or a table."""

from __future__ import annotations

import glob
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import dfml
from dfml._digest import content_digest
from dfml.exceptions import ColumnMismatchError, SourceError
from dfml.sources._open import open_frame
from dfml.sources._query import bind_query, database_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dask.dataframe as dd
    import duckdb

__all__ = [
    "Rows",
    "choose_columns",
    "database_option",
    "is_sql",
    "open_places",
    "source_options",
]

#: Statements that give no rows are known too, so that DuckDB's error is shown.
SQL_START = re.compile(
    r"[\s(]*(--|/\*|(alter|attach|call|copy|create|delete|describe|drop|explain|from"
    r"|insert|merge|pivot|pragma|select|set|show|summarize|table|unpivot|update|values"
    r"|with)\b)",
    re.IGNORECASE,
)

#: In the header of a DuckDB file, behind a checksum of 8 bytes.
_DUCKDB_MAGIC = b"DUCK"


database_option = click.option(
    "--database",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="DuckDB file that the SQL runs in, read-only unless also written to.",
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add SOURCE and the options that say how to read it."""
    options = [
        click.argument("source", required=False),
        click.option("--sql", metavar="TEXT", help="SQL text, in place of SOURCE."),
        database_option,
        click.option(
            "--rows-per-partition",
            type=click.IntRange(min=1),
            metavar="N",
            help="Cut the result of SQL into partitions of N rows.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class Rows:
    """Reads the sources of a command.

    Parameters
    ----------
    where : str
        The command, for messages.
    database : Path, optional
        File that SQL runs in.
    rows_per_partition : int, optional
        Of the result of SQL.
    kept_in : Path, optional
        Folder that has the rows of SQL until they are removed: the same SQL finds them
        there, in a later process too.
    kept : list of Path, optional
        What there is of these rows.
    """

    where: str
    database: Path | None = None
    rows_per_partition: int | None = None
    kept_in: Path | None = None
    kept: list[Path] = field(default_factory=list)

    def read(self, source: str | None, sql: str | None = None) -> dd.DataFrame:
        """Return the rows as a dask DataFrame; SQL runs now.

        Raises
        ------
        click.UsageError
            If there is not exactly one source, or an option does not go with it.
        """
        if (source is None) == (sql is None):
            raise click.UsageError("Give one SOURCE, or --sql TEXT.")
        if not (source or sql or "").strip():
            raise click.UsageError("SOURCE is empty.")
        query = sql if source is None else _query_in(source)
        if query is not None:
            return self._run(query)
        if self.database is not None or self.rows_per_partition is not None:
            _refuse_option("--database and --rows-per-partition go", str(source))
        return _read_table(self.where, str(source))

    def _run(self, query: str) -> dd.DataFrame:
        place = None
        if self.kept_in is not None:
            self.kept_in.mkdir(parents=True, exist_ok=True)
            job = content_digest(query, str(self.database), self.rows_per_partition)
            place = self.kept_in / f"rows-{job[:32]}"
            self.kept.append(place)
        with _open_database(self.where, self.database) as connection:
            return dfml.read_sql(
                query,
                connection,
                rows_per_partition=self.rows_per_partition,
                spill_to=place,
            )

    def remove(self) -> None:
        """Remove the rows that were kept."""
        for place in self.kept:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def open_places(
    where: str, source: str, target: str, database: Path | None
) -> Iterator[tuple[Any, Any]]:
    """Open a source and a target for :func:`dfml.predict_table`.

    Parameters
    ----------
    where : str
        The command, for messages.
    source : str
        SQL text, a .sql file, or a path.
    target : str
        A path.
    database : Path, optional
        File that SQL runs in. As the target too it is open for writing.

    Yields
    ------
    source, target : tuple
        A relation that has not run in place of SQL, and its connection in place of the
        path of its own database; other paths as they are.

    Raises
    ------
    click.UsageError
        If the database goes with no SQL, or there is no such .sql file.
    SourceError
        If there is nothing to read, or the database cannot be opened.
    QueryError
        If DuckDB refuses the SQL.
    """
    query = _query_in(source)
    if query is None:
        if database is not None:
            _refuse_option("--database goes", source)
        _check_is_table(where, source)
        yield source, target
        return
    both = database is not None and database.resolve() == Path(target).resolve()
    with _open_database(where, database, read_only=not both) as connection:
        with database_errors(query, where):
            relation = bind_query(query, connection, None)
        yield relation, connection if both else target


def _refuse_option(goes: str, source: str) -> NoReturn:
    raise click.UsageError(
        f"{goes} with SQL. {source!r} is neither SQL text nor a .sql file; a whole"
        " table is 'FROM name'."
    )


def _query_in(source: str) -> str | None:
    """Return the SQL that SOURCE is or holds, None for a table."""
    path = Path(source)
    if source.lower().endswith(".sql") and not path.is_dir():
        if not path.is_file():
            raise click.UsageError(f"There is no file {source!r}.")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as err:
            raise click.UsageError(f"{source!r} is no text in UTF-8: {err}.") from err
    return source if _is_text(source) else None


def is_sql(source: str) -> bool:
    """Tell whether SOURCE is SQL text or the path of a file with it."""
    is_file = source.lower().endswith(".sql") and not Path(source).is_dir()
    return is_file or _is_text(source)


def _is_text(source: str) -> bool:
    return bool(SQL_START.match(source)) and any(map(str.isspace, source))


def _open_database(
    where: str, database: Path | None, *, read_only: bool = True
) -> duckdb.DuckDBPyConnection:
    import duckdb

    if database is None:
        return duckdb.connect()
    try:
        return duckdb.connect(str(database), read_only=read_only)
    except duckdb.Error as err:
        raise SourceError.expecting(
            where,
            f"--database to be a DuckDB file that can be "
            f"{'read' if read_only else 'written to'}",
            f"{str(database)!r}: {str(err).rstrip(' .')}",
            f"end the program that has it open{' for writing' if read_only else ''}"
            if "Could not set lock" in str(err)
            else "name a file that DuckDB has made; SQL reads other files by itself, "
            "FROM 'rows.parquet'",
        ) from err


def _read_table(where: str, source: str) -> dd.DataFrame:
    _check_is_table(where, source)
    return open_frame(where, source)


def _check_is_table(where: str, source: str) -> None:
    """Refuse a path where nothing is, and a database, which holds many tables."""
    if not Path(source).exists() and not glob.glob(source, recursive=True):
        raise SourceError.expecting(
            where,
            "SQL text, a .sql file, a Parquet file, glob or folder, or a Delta table",
            f"{source!r}, where there is nothing",
            "check the path; SQL that starts with another word goes into a .sql file",
        )
    if _is_database(source):
        raise SourceError.expecting(
            where,
            "SQL text, a .sql file, a Parquet file, glob or folder, or a Delta table",
            f"{source!r}, a DuckDB file",
            f'name one of its tables: "FROM name" --database {source}',
        )


def _is_database(source: str) -> bool:
    if not Path(source).is_file():
        return False
    with Path(source).open("rb") as file:
        return file.read(12).endswith(_DUCKDB_MAGIC)


def choose_columns(
    where: str,
    frame: dd.DataFrame,
    features: Sequence[str] | None,
    drop: Sequence[str],
    labels: Sequence[str],
) -> dd.DataFrame:
    """Keep the features and labels, in the order of the frame or of `features`.

    Raises
    ------
    click.UsageError
        If a label is named as something else too.
    ColumnMismatchError
        If a name is not a column.
    """
    for option, names in (("--features", features or ()), ("--drop", drop)):
        both = [name for name in labels if name in names]
        if both:
            raise click.UsageError(
                f"{option} names {', '.join(both)}, which is the target or the weight."
            )
    missing = [n for n in (*(features or ()), *drop, *labels) if n not in frame.columns]
    if missing:
        raise ColumnMismatchError.expecting(
            where,
            f"columns among {frame.columns.tolist()}",
            f"{missing}",
            "look at the names, upper and lower case too",
        )
    if features is None:
        features = [n for n in frame.columns if n not in labels]
    chosen = [n for n in features if n not in drop and n not in labels]
    return frame[[*chosen, *labels]]
