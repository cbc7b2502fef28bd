"""What a query is, so that the rows that it gave are known again in another process.

Its text does not say it all: the connection decides what names mean. What that takes
is looked up here; data are not.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dask.tokenize import TokenizationError

from dfml._data_tokens import data_token
from dfml._digest import content_digest
from dfml.sources._dask_tables import dask_tables
from dfml.sources._query import check_one_select, no_python_variables
from dfml.sources._reopenable import settings_of
from dfml.sources._syntax import PYTHON_SOURCE, references

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dask.dataframe as dd
    import duckdb

__all__ = ["query_digest", "result_types"]

#: DuckDB gives each relation a name of its own, which is in its SQL.
RELATION_NAME = re.compile(r"unnamed_relation_[0-9a-f]{16}")
SOURCE_NAME = re.compile(rf"{PYTHON_SOURCE}[0-9a-f]+_[0-9]+")
#: Text that looks like a file of the working directory, or a pattern of some.
RELATIVE_FILE = re.compile(r"""(['"])(?!/|\w+://)[^'"]*(?:\*|\.[A-Za-z]\w*)\1""")
PLACE = """
    SELECT current_database(), current_setting('search_path'),
        current_setting('TimeZone')
"""
DATABASES = """
    SELECT database_name, path, type FROM duckdb_databases() WHERE NOT internal
    ORDER BY database_name
"""
DEFINITIONS = """
    SELECT database_name, schema_name, view_name AS name, '' AS parameters, sql
    FROM duckdb_views() WHERE NOT internal
    UNION ALL SELECT database_name, schema_name, function_name, parameters::VARCHAR,
        macro_definition
    FROM duckdb_functions()
    WHERE NOT internal AND function_type IN ('macro', 'table_macro')
    UNION ALL SELECT database_name, schema_name, table_name, 'table', sql
    FROM duckdb_tables() WHERE temporary
    ORDER BY ALL
"""
VARIABLES = "SELECT name, value::VARCHAR, type FROM duckdb_variables() ORDER BY name"


def query_digest(
    query: str | duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection,
    params: Any,
    frames: Mapping[str, dd.DataFrame],
) -> str:
    """Name a query, the same in every process.

    Parameters
    ----------
    query : str or DuckDBPyRelation
        What runs.
    connection : DuckDBPyConnection
        Where it runs. The paths of its databases, its schema, settings and time zone
        count, and so do the views, macros, temporary tables and variables that the
        query may mean.
    params : list, tuple, dict or None
        Values in the text.
    frames : mapping
        dask frames that it sees.

    Returns
    -------
    digest : str
        A new one each time for a relation whose values the SQL does not tell, and for
        dask frames without a fixed token.
    """
    text = query if isinstance(query, str) else query.sql_query()
    if not isinstance(query, str) and _is_hidden(connection, text):
        return uuid4().hex
    try:
        tokens = {name: data_token(frame.expr) for name, frame in frames.items()}
    except TokenizationError:
        return uuid4().hex
    text = _numbered(text)
    if isinstance(params, dict):
        params = dict(sorted(params.items()))
    return content_digest(text, params, tokens, _surroundings(connection, text))


def _is_hidden(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Tell whether a relation reads what its text does not name."""
    return PYTHON_SOURCE in text or references(connection, text).has_parameters


def _numbered(text: str) -> str:
    """Return SQL with names in it that are the same in each process."""
    names: dict[str, str] = {}
    return RELATION_NAME.sub(
        lambda match: names.setdefault(match[0], f"relation_{len(names)}"), text
    )


def _surroundings(connection: duckdb.DuckDBPyConnection, text: str) -> list[Any]:
    """Return what a connection adds to the meaning of a text."""
    definitions = _definitions(connection, text)
    everything = "\n".join([text, *(each[-1] for each in definitions)])
    place = connection.sql(PLACE).fetchall()
    databases = [
        (name, path and os.path.abspath(path), kind)
        for name, path, kind in connection.sql(DATABASES).fetchall()
        if _names(f"{place} {everything}", name)
    ]
    reads_variables = "getvariable" in everything.casefold()
    return [
        place,
        databases,
        settings_of(connection),
        definitions,
        connection.sql(VARIABLES).fetchall() if reads_variables else [],
        os.getcwd() if RELATIVE_FILE.search(everything) else "",
    ]


def _definitions(
    connection: duckdb.DuckDBPyConnection, text: str
) -> list[tuple[str, ...]]:
    """Return the views, macros and temporary tables that a text may mean.

    Those behind them count too. A temporary table hides one of the database.
    """
    known = [tuple(map(str, row)) for row in connection.sql(DEFINITIONS).fetchall()]
    pending, found = [text], []
    while pending and known:
        text = pending.pop()
        named = [each for each in known if _names(text, each[2])]
        known = [each for each in known if each not in named]
        pending += [each[-1] for each in named]
        found += named
    # Frames that are registered are views too, with a new name in each process.
    return sorted(
        (*place, SOURCE_NAME.sub("python", _numbered(sql))) for *place, sql in found
    )


def _names(text: str, name: str) -> bool:
    """Tell whether a name is in a text, whatever it is there."""
    pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
    return re.search(pattern, text, re.IGNORECASE) is not None


def result_types(
    query: str | duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection,
    params: Any,
    frames: Mapping[str, dd.DataFrame],
) -> list[list[str]] | None:
    """Return the names and types of the columns that a query would give now.

    Returns
    -------
    columns : list of [name, type], or None
        None if a table or file is gone: rows that were kept may outlive it.
    """
    import duckdb

    if not isinstance(query, str):
        pairs = zip(query.columns, query.types, strict=True)
        return [[name, str(kind)] for name, kind in pairs]
    check_one_select(query, connection)
    try:
        with dask_tables(connection, frames), no_python_variables(connection):
            # The query itself would run where it writes.
            rows = connection.sql(f"DESCRIBE {query}", params=params).fetchall()
    except (duckdb.CatalogException, duckdb.IOException):
        return None
    return [[name, kind] for name, kind, *_ in rows]
