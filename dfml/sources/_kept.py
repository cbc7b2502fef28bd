"""Spills that are kept, and known again by a later run of the same query."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dask.tokenize import TokenizationError

from dfml._data_tokens import data_token
from dfml._digest import content_digest
from dfml.exceptions import InputTypeError, TargetExistsError
from dfml.sources._columns import Column
from dfml.sources._spill import open_spill
from dfml.sources._syntax import references

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.dataframe as dd
    import duckdb

    from dfml.sources._spill import Spill

__all__ = ["check_target", "find_kept", "label_of", "query_digest"]

#: DuckDB gives each relation a name of its own, which is in its SQL.
RELATION_NAME = re.compile(r"unnamed_relation_[0-9a-f]{16}")
#: Rows of a Python object, which cannot be told from those of another.
PYTHON_SOURCE = "__duckdb_source_"


def check_target(target: str | os.PathLike[str]) -> Path:
    """Return the path of a directory that is new, empty or a spill that was kept."""
    if not isinstance(target, str | os.PathLike) or not os.fspath(target):
        raise InputTypeError.expecting(
            "read_sql", "spill_to to be a path", repr(target), "name a directory"
        )
    path = Path(target).absolute()
    if path.exists() and not (path.is_dir() and _may_be_used(path)):
        raise TargetExistsError.expecting(
            "read_sql",
            "spill_to to be an empty directory or a new one",
            str(path),
            "give another directory, or empty this one",
        )
    return path


def _may_be_used(directory: Path) -> bool:
    """Tell whether a directory is empty or a spill."""
    return not any(directory.iterdir()) or open_spill(directory) is not None


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
        Where it runs: the path of its database, its schema and its time zone count.
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
    names: dict[str, str] = {}
    text = RELATION_NAME.sub(
        lambda match: names.setdefault(match[0], f"relation_{len(names)}"), text
    )
    if not isinstance(query, str) and _is_hidden(connection, text):
        return uuid4().hex
    (place,) = connection.sql(
        "SELECT path, current_setting('search_path'), current_setting('TimeZone') "
        "FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchall()
    try:
        tokens = {name: data_token(frame.expr) for name, frame in frames.items()}
    except TokenizationError:
        return uuid4().hex
    return content_digest(text, params, place, tokens)


def _is_hidden(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Tell whether a relation reads what its text does not name."""
    return PYTHON_SOURCE in text or references(connection, text).has_parameters


def find_kept(
    target: Path, digest: str, source: str
) -> tuple[Spill, list[Column]] | None:
    """Return the rows that an earlier run has kept.

    Parameters
    ----------
    target : Path
        Where they may be.
    digest : str
        From :func:`query_digest`.
    source : str
        The query, for messages.

    Returns
    -------
    spill, columns : tuple, or None
        None if there is nothing yet.

    Raises
    ------
    TargetExistsError
        If they are of another query.
    """
    found = open_spill(target)
    if found is None:
        return None
    spill, label = found
    if label.get("digest") != digest:
        raise TargetExistsError.expecting(
            "read_sql",
            f"spill_to={str(target)!r} to hold the rows of this query, parameters and "
            f"database:\n{source}\n",
            "rows of the same text with others of these, or with another schema, time "
            "zone or frame"
            if label.get("query") == source
            else f"rows of:\n{label.get('query')}",
            "give another directory, or remove this one",
        )
    columns = [
        Column(field.name, kind, field.type, None if values is None else (*values,))
        for field, (kind, values) in zip(spill.schema(), label["columns"], strict=True)
    ]
    return spill, columns


def label_of(
    digest: str | None, source: str, columns: Sequence[Column]
) -> dict[str, Any]:
    """Return what to note beside rows that are kept."""
    return {
        "digest": digest,
        "query": source,
        "columns": [(column.sql_type, column.categories) for column in columns],
    }
