"""What a query names, from DuckDB's own reading of its text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dfml.exceptions import QueryError
from dfml.sources._columns import folded

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

__all__ = ["PYTHON_SOURCE", "References", "is_select", "parse", "references", "unparse"]

#: In the SQL of a relation: rows of a Python object, or of a result in memory.
PYTHON_SOURCE = "__duckdb_source_"
KINDS = {
    "BASE_TABLE": "table",
    "FUNCTION": "function",
    "TYPE": "type",
    "WINDOW": "function",
}
#: Written without parentheses, these are functions.
CLOCKS = frozenset(
    ["current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"]
)


def parse(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """Return the syntax tree of one SELECT.

    Raises
    ------
    QueryError
        If DuckDB has no such tree for the query.
    """
    ((text,),) = connection.sql(
        "SELECT json_serialize_sql(?)", params=[query]
    ).fetchall()
    tree: dict[str, Any] = json.loads(text)
    if tree["error"]:
        raise QueryError.expecting(
            "read_sql",
            "a query that DuckDB can write as JSON",
            f"{tree['error_message']}\n\nfrom {query}",
            'use plan="spill"',
        )
    return tree


def is_select(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Tell whether a text is a SELECT."""
    ((answer,),) = connection.sql(
        "SELECT NOT json_extract(json_serialize_sql(?), '$.error')::BOOLEAN",
        params=[text],
    ).fetchall()
    return bool(answer)


def unparse(connection: duckdb.DuckDBPyConnection, tree: dict[str, Any]) -> str:
    """Return the SQL of a syntax tree."""
    ((text,),) = connection.sql(
        "SELECT json_deserialize_sql(?)", params=[json.dumps(tree)]
    ).fetchall()
    return str(text)


@dataclass(frozen=True)
class References:
    """What a query names.

    Attributes
    ----------
    names : list of (str, tuple of str)
        Tables, functions and types, with their catalogs and schemas as far as the
        query has them, and the kind of each before it.
    clocks : set of str
        Functions of the time that no name and no stability tells: those that are
        written as columns, and ``age`` of one moment, which is its age today.
    local_tables : set of str
        What WITH defines, in lower case.
    has_parameters : bool
        Whether values are bound to it.
    has_sample : bool
        Whether a part of it is a sample.
    has_loose_limit : bool
        Whether rows are chosen by their position, in no order.
    has_table_function : bool
        Whether a function gives rows, such as those of a file.
    """

    names: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    clocks: set[str] = field(default_factory=set)
    local_tables: set[str] = field(default_factory=set)
    has_parameters: bool = False
    has_sample: bool = False
    has_loose_limit: bool = False
    has_table_function: bool = False


def references(connection: duckdb.DuckDBPyConnection, query: str) -> References:
    """Return what the text of a query names."""
    nodes = list(_nodes(parse(connection, query)))
    found = References(
        has_parameters=any(node.get("class") == "PARAMETER" for node in nodes),
        has_sample=any(node.get("sample") is not None for node in nodes),
        has_loose_limit=any(_is_loose(node.get("modifiers")) for node in nodes),
        has_table_function=any(node.get("type") == "TABLE_FUNCTION" for node in nodes),
    )
    for node in nodes:
        kind = KINDS.get(str(node.get("type"))) or KINDS.get(str(node.get("class")))
        if kind is not None:
            path = tuple(node["qualified_name"]["path"])
            found.names.append((kind, path))
            # The first argument may stand before the dot, as a schema does.
            if folded(path[-1]) == "age" and len(node.get("arguments", "..")) < 2:
                found.clocks.add("age() of one moment")
        elif node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
            found.clocks.update({folded(node["column_names"][0])} & CLOCKS)
        for each in (node.get("cte_map") or {}).get("map", ()):
            found.local_tables.add(folded(each["key"]))
    return found


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects of a tree, without recursion: queries may be deep."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _is_loose(modifiers: Any) -> bool:
    """Tell whether modifiers take the first rows of some order or other."""
    kinds = {
        each["type"]
        for each in modifiers or ()
        if each["type"] != "DISTINCT_MODIFIER" or each.get("distinct_on_targets")
    }
    return bool(kinds - {"ORDER_MODIFIER"}) and "ORDER_MODIFIER" not in kinds
