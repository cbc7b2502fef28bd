"""From SQL text to a DuckDB relation whose names and types DuckDB has checked."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from dfml.exceptions import InputTypeError, QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import duckdb

__all__ = [
    "bind_query",
    "check_one_select",
    "check_query",
    "connection_of",
    "database_errors",
    "hint_for",
    "no_python_variables",
    "raise_query_error",
]

HINTS = {
    "CatalogException": "create it in DuckDB, or register a Python object under that "
    "name, connection.register(name, frame); variables are not looked up by name",
    "TransactionException": "end the aborted transaction with connection.rollback()",
    "OutOfMemoryException": "raise memory_limit or set temp_directory on the "
    "connection, so that DuckDB can use the disk",
    "ResourceInUseException": "fetch or close the open result of the connection "
    "first, and use connection.cursor() in each thread",
    "ConnectionException": "pass an open connection",
    "ParserException": "correct the text; a whole table is FROM name, and a file FROM "
    "'path'",
    "IOException": "check that the file exists and that no other process locks it",
}
# Looked for in the text: an error in a stream comes as one of Arrow, and files are
# refused in several ways.
HINTS_BY_TEXT = {
    # Of its own temporary files; spills are written by others.
    "No space left on device": "free some space, or set temp_directory on the "
    "connection to a larger disk",
    "Out of Memory Error": HINTS["OutOfMemoryException"],
    "busy with another call": "use connection.cursor() in each thread",
    "Unable to transform python value": "pass plain values of Python, as value.item() "
    "of a number of NumPy",
    **dict.fromkeys(
        [
            "Could not set lock on file",
            "different configuration",
            "file handle conflict",
        ],
        "close the connection that has the file open for writing, wherever it is, or "
        "open it with duckdb.connect(path, read_only=True)",
    ),
}
#: The only column of the relation of a statement, such as DROP and INSERT.
STATEMENT_ANSWERS = ([("Success", "boolean")], [("Count", "bigint")])
DEFAULT_HINT = "run the query in DuckDB alone, and read it when it passes there"


def check_query(query: object, connection: object, params: object) -> None:
    """Check the kinds of the query, its connection and its parameters."""
    import duckdb

    if isinstance(query, duckdb.DuckDBPyRelation):
        _check_relation_alone(connection, params)
        with database_errors("a DuckDB relation"):
            _check_has_rows(query)
    elif not isinstance(query, str):
        raise InputTypeError.expecting(
            "read_sql",
            "query to be SQL text or a DuckDB relation",
            type(query).__name__,
            "pass the text of one SELECT",
        )
    if connection is not None and not isinstance(connection, duckdb.DuckDBPyConnection):
        raise InputTypeError.expecting(
            "read_sql",
            "connection to be a DuckDB connection",
            type(connection).__name__,
            "open one with duckdb.connect(path)",
        )
    if params is not None and not isinstance(params, list | tuple | dict):
        raise InputTypeError.expecting(
            "read_sql",
            "params to be a list or a dict",
            type(params).__name__,
            "pass [value, ...] for ? and {'name': value, ...} for $name",
        )


def _check_relation_alone(connection: object, params: object) -> None:
    """Refuse a connection or parameters next to a relation, which has its own."""
    given = {"connection": connection, "params": params}
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise InputTypeError.expecting(
            "read_sql",
            "a DuckDB relation on its own",
            f"a relation with {' and '.join(extra)}",
            "leave them out, or pass SQL text",
        )


def _check_has_rows(relation: duckdb.DuckDBPyRelation) -> None:
    """Refuse what DuckDB answers to a statement that gives no rows, and has run."""
    answer = [
        (name, kind.id)
        for name, kind in zip(relation.columns, relation.types, strict=True)
    ]
    if relation.type == "MATERIALIZED_RELATION" and answer in STATEMENT_ANSWERS:
        raise QueryError.expecting(
            "read_sql",
            "the relation of a SELECT",
            f"that of a statement, which has run and answers {relation.columns}",
            "read its result with a SELECT",
        )


def connection_of(
    query: str | duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection | None,
    frames: object = None,
) -> duckdb.DuckDBPyConnection:
    """Return the connection on which a query runs."""
    import duckdb

    if not isinstance(query, str):
        # A relation does not tell its connection in public.
        return query._con
    if connection is not None:
        return connection
    return duckdb.connect() if frames else duckdb.default_connection()


def bind_query(
    query: str | duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection | None,
    params: Sequence[Any] | Mapping[str, Any] | None,
) -> duckdb.DuckDBPyRelation:
    """Return the relation of a query whose names and types DuckDB has checked."""
    import duckdb

    if not isinstance(query, str):
        return query
    connection = duckdb.default_connection() if connection is None else connection
    check_one_select(query, connection)
    # Names are resolved here and the rows run later: once all names are found in the
    # catalog, the run has no reason to look for Python variables again.
    with no_python_variables(connection):
        return connection.sql(query, params=params)


def check_one_select(query: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Check that the text is one statement that reads."""
    import duckdb

    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise QueryError.expecting(
            "read_sql",
            "exactly one SQL statement",
            f"{len(statements)} in:\n{query}" if statements else f"none in {query!r}",
            "run the others with connection.execute, and read the last one"
            if statements
            else "pass the text of one SELECT",
        )
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        hint = (
            "name the values in the statement, PIVOT ... ON column IN (...)"
            if kind == duckdb.StatementType.MULTI
            else "run it with connection.execute, and read its result with a SELECT"
        )
        raise QueryError.expecting(
            "read_sql", "a SELECT", f"{kind.name}:\n{query}", hint
        )


@contextmanager
def no_python_variables(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Keep DuckDB from taking Python variables, ours included, for tables."""
    name = "python_enable_replacements"
    # Through sql, not execute: that would throw away an open result of the caller's.
    ((before,),) = connection.sql(f"SELECT current_setting('{name}')").fetchall()
    if not before:
        yield
        return
    connection.sql(f"SET {name} = false")
    try:
        yield
    except BaseException as err:
        _restore_after(err, connection, f"SET {name} = true")
        raise
    connection.sql(f"SET {name} = true")


def _restore_after(
    error: BaseException, connection: duckdb.DuckDBPyConnection, statement: str
) -> None:
    """Put a setting back, or say in the error that an aborted transaction forbids it.

    Binding does not abort a transaction. A query that writes does: DuckDB runs it while
    binding.
    """
    import duckdb

    try:
        connection.sql(statement)
    except duckdb.TransactionException:
        error.add_note(
            "The transaction is aborted, so a setting could not be put back. After "
            f"connection.rollback(), run: {statement}"
        )


@contextmanager
def database_errors(source: str, where: str = "read_sql") -> Iterator[None]:
    """Turn DuckDB's errors into QueryError with the query and what to do."""
    import duckdb

    try:
        yield
    except duckdb.Error as err:
        raise_query_error(err, source, where)
    except RuntimeError as err:
        # DuckDB swallows Ctrl-C while a query runs and raises this in its place.
        if str(err) == "Query interrupted":
            raise KeyboardInterrupt from err
        raise


def hint_for(err: Exception) -> str:
    """Say what to do about an error of DuckDB."""
    for text, hint in HINTS_BY_TEXT.items():
        if text in str(err):
            return hint
    return HINTS.get(type(err).__name__, DEFAULT_HINT)


def raise_query_error(err: Exception, source: str, where: str = "read_sql") -> NoReturn:
    """Raise QueryError from an error of the database."""
    text = str(err).partition("\n\nStack Trace:")[0].rstrip(" .")
    error = QueryError.expecting(
        where,
        "a query that DuckDB can run",
        f"{text}\n\nfrom {source}",
        hint_for(err),
    )
    for note in getattr(err, "__notes__", ()):
        error.add_note(note)
    raise error from err
