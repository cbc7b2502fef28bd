"""Queries that are plain scans of Parquet files, and the same over some of their rows.

A query is a plain scan if each row that it gives depends on one row of the files alone:
``SELECT expressions FROM files WHERE condition``. DuckDB's own tree of the query is
given other files and one more condition, so that all else means what it meant in the
whole query.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from uuid import uuid4

from dfml.exceptions import QueryError
from dfml.sources._columns import file_literal, folded, literal, quoted
from dfml.sources._reopen import private_cursor
from dfml.sources._reopenable import ROW_SETTINGS, check_drawn, check_settings
from dfml.sources._syntax import parse, references, unparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

__all__ = ["ROW_NUMBER", "FileScan", "Piece", "find_scan"]

#: The number of the row in its file, beside the columns of the query.
ROW_NUMBER = "dfml: row"
READERS = frozenset(["read_parquet", "parquet_scan"])
EXTENSIONS = (".parquet", ".parq")
#: What DuckDB may do in a scan that gives each row by itself.
ROW_BY_ROW = frozenset(
    ["EMPTY_RESULT", "FILTER", "PARQUET_SCAN", "PROJECTION", "READ_PARQUET"]
)
#: Columns that DuckDB has for each file, unless the file has one of that name.
VIRTUAL = frozenset(["filename", "file_row_number"])
FILE_INDEX = "file_index"
#: Clauses that a plain scan does not have, with their values when they are not there.
ABSENT: dict[str, Any] = {
    "group_expressions": [],
    "group_sets": [],
    "having": None,
    "sample": None,
    "qualify": None,
}
TABLES = """
    SELECT table_name FROM duckdb_tables()
    UNION ALL SELECT view_name FROM duckdb_views()
"""


class Piece(NamedTuple):
    """Consecutive rows of one file, and the number of its first row in the table."""

    path: str
    start: int
    stop: int
    offset: int


@dataclass(frozen=True)
class FileScan:
    """A plain scan; it pickles, and holds no open file.

    Attributes
    ----------
    query : str
        As the caller wrote it.
    params : list, tuple, dict or None
        Values in it.
    text : str
        The query over one piece, with literals that begin with the mark in the place
        of its files, file, start and stop.
    mark : str
        What is in no query.
    first : str
        The first of its files, whose columns and types are those of the table.
    time_zone : str
        Of the caller's connection.
    """

    query: str
    params: Any
    text: str
    mark: str
    first: str
    time_zone: str

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection that sees nothing but files."""
        with _private_connection(self.time_zone) as connection:
            yield connection

    def sql(self, piece: Piece) -> str:
        """Return the query over a piece, with the number of each row in its file."""
        files = ", ".join(map(file_literal, dict.fromkeys([self.first, piece.path])))
        text = self.text.replace(literal(f"{self.mark} files"), files)
        text = text.replace(literal(f"{self.mark} file"), literal(piece.path))
        text = text.replace(literal(f"{self.mark} start"), literal(str(piece.start)))
        return text.replace(literal(f"{self.mark} stop"), literal(str(piece.stop)))


@contextmanager
def _private_connection(time_zone: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with private_cursor() as connection:
        connection.execute(f"SET TimeZone = {literal(time_zone)}")
        yield connection


def _over(
    connection: duckdb.DuckDBPyConnection,
    tree: dict[str, Any],
    files: str,
    condition: str = "",
) -> str:
    """Return the SQL of a scan over other files, with the number of each row."""
    ours = parse(
        connection,
        f"SELECT file_row_number AS {quoted(ROW_NUMBER)} "
        f"FROM read_parquet([{files}]) {condition}",
    )["statements"][0]["node"]
    tree = deepcopy(tree)
    node = tree["statements"][0]["node"]
    node["select_list"] += ours["select_list"]
    node["where_clause"] = _both(ours["where_clause"], node["where_clause"])
    arguments = node["from_table"]["function"]["arguments"]
    arguments[0] = ours["from_table"]["function"]["arguments"][0]
    return unparse(connection, tree)


def _both(ours: Any, theirs: Any) -> Any:
    """Return the conjunction of two conditions, either of which may not be there."""
    if ours is None or theirs is None:
        return ours or theirs
    return {
        "class": "CONJUNCTION",
        "type": "CONJUNCTION_AND",
        "alias": "",
        "children": [ours, theirs],
    }


def find_scan(
    connection: duckdb.DuckDBPyConnection, query: str, params: Any
) -> tuple[FileScan, str, list[str]]:
    """Take a query for a plain scan.

    Parameters
    ----------
    connection : DuckDBPyConnection
        The caller's.
    query : str
        One SELECT that DuckDB has bound on that connection.
    params : list, tuple, dict or None
        Values in the query.

    Returns
    -------
    scan : FileScan
        The query.
    whole : str
        The query over all its files, with the number of each row in its file.
    paths : list of str
        Its files, in order.

    Raises
    ------
    QueryError
        If it is anything else.
    """
    import duckdb

    ((time_zone,),) = connection.sql("SELECT current_setting('TimeZone')").fetchall()
    tables = {folded(name) for (name,) in connection.sql(TABLES).fetchall()}
    with _private_connection(time_zone) as private:
        tree = parse(private, query)
        found = references(private, query)
        check_drawn(query, found)
        check_settings(connection, query, ROW_SETTINGS)
        node = tree["statements"][0]["node"]
        _check_clauses(query, node)
        node["from_table"] = _as_function(private, query, node["from_table"], tables)
        written = json.dumps(node).casefold()
        keeps_names = "filename" in written
        paths = _files(private, query, node, keep=keeps_names)
        files = ", ".join(map(file_literal, dict.fromkeys(paths)))
        whole = _over(private, tree, files)
        mark = f"dfml {uuid4().hex}"
        piece = (
            f"WHERE filename = {literal(f'{mark} file')} "
            f"AND file_row_number >= CAST({literal(f'{mark} start')} AS BIGINT) "
            f"AND file_row_number < CAST({literal(f'{mark} stop')} AS BIGINT)"
        )
        text = _over(private, tree, literal(f"{mark} files"), piece)
        try:
            _check_columns(private, query, files, written)
            _check_plan(private, query, whole, params)
        except (duckdb.CatalogException, duckdb.BinderException) as err:
            # The caller's connection has bound it, for all rows together.
            _refuse(query, f"what DuckDB cannot do for single rows of files: {err}")
    return FileScan(query, params, text, mark, paths[0], time_zone), whole, paths


def _check_clauses(query: str, node: dict[str, Any]) -> None:
    """Refuse what is more than one SELECT, FROM and WHERE."""
    if node["type"] != "SELECT_NODE" or node["cte_map"]["map"]:
        _refuse(query, "a query of several parts")
    for modifier in node["modifiers"]:
        _refuse(query, modifier["type"].removesuffix("_MODIFIER"))
    for clause, absent in ABSENT.items():
        if node[clause] != absent:
            _refuse(query, clause.replace("_", " "))


def _as_function(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    table: dict[str, Any],
    tables: set[str],
) -> dict[str, Any]:
    """Return the FROM of a scan with its files as the argument of a function."""
    name = table["function"]["function_name"] if "function" in table else ""
    if folded(name) in READERS:
        return table
    path = table["qualified_name"]["path"] if table["type"] == "BASE_TABLE" else []
    is_file = len(path) == 1 and folded(path[0]).endswith(EXTENSIONS)
    if not is_file or folded(path[0]) in tables:
        _refuse(query, "another table than Parquet files")
    text = f"FROM read_parquet([{literal(path[0])}])"
    function = parse(connection, text)["statements"][0]["node"]["from_table"]
    # Such a table has the name of its file, without the extension.
    stem = os.path.splitext(os.path.basename(path[0]))[0]
    names = table["column_name_alias"]
    return {**function, "alias": table["alias"] or stem, "column_name_alias": names}


def _files(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    node: dict[str, Any],
    *,
    keep: bool,
) -> list[str]:
    """List the files of a scan, in order."""
    first, *options = node["from_table"]["function"]["arguments"]
    for option in options:
        text = json.dumps(option).casefold()
        if "union_by_name" in text and '"true"' in text:
            _refuse(query, "union_by_name, for which every task would read all footers")
    tree = parse(connection, "SELECT 1")
    tree["statements"][0]["node"]["select_list"] = [first["expression"]]
    found = references(connection, unparse(connection, tree))
    if found.has_parameters or {path for _, path in found.names} > {("list_value",)}:
        _refuse(query, "names of files that are computed")
    ((patterns,),) = connection.sql(unparse(connection, tree)).fetchall()
    patterns = [patterns] if isinstance(patterns, str) else patterns
    paths = [
        path
        for pattern in patterns
        for (path,) in connection.sql(
            "SELECT file FROM glob(?)", params=[pattern]
        ).fetchall()
    ]
    for path in paths:
        if not os.path.isfile(path):
            _refuse(query, f"{path!r}, which is on no file system")
    # Workers may run in another directory; but a column may hold the name of the file.
    return paths if keep else [os.path.abspath(path) for path in paths]


def _check_columns(
    connection: duckdb.DuckDBPyConnection, query: str, files: str, written: str
) -> None:
    """Refuse what DuckDB has for each file, if it is hidden, or another for a part."""
    columns = connection.sql(f"FROM read_parquet([{files}])").columns
    names = set(map(folded, columns))
    for name in VIRTUAL & names:
        _refuse(query, f"a column {name!r} in the files")
    if FILE_INDEX in written and FILE_INDEX not in names:
        _refuse(query, f"{FILE_INDEX}, which counts all files of a query")


def _check_plan(
    connection: duckdb.DuckDBPyConnection, query: str, whole: str, params: Any
) -> None:
    """Refuse a query of which DuckDB plans more than to read, choose and compute."""
    ((_, plan),) = connection.sql(
        f"EXPLAIN (FORMAT json) {whole}", params=params
    ).fetchall()
    pending = json.loads(plan)
    while pending:
        step = pending.pop()
        if step["name"].strip() not in ROW_BY_ROW:
            _refuse(query, step["name"].strip().lower().replace("_", " "))
        pending += step["children"]


def _refuse(query: str, what: str) -> NoReturn:
    raise QueryError.expecting(
        "read_sql",
        'SELECT ... FROM Parquet files WHERE ..., row by row, for plan="files"',
        f"{what}, in:\n{query}",
        'use plan="spill", or plan="ranges" with partition_on=',
    )
