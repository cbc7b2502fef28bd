"""Whether a query gives the same rows on another connection, and each time.

Everything a query names is looked up in the caller's catalog, through views and macros
too. What is in no file, and what is drawn anew each time, is refused by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

from dfml.exceptions import QueryError
from dfml.sources._syntax import is_select, references

if TYPE_CHECKING:
    import duckdb

    from dfml.sources._reopen import Database
    from dfml.sources._syntax import References

__all__ = ["check_drawn", "check_reopenable"]

#: Settings that change what a query gives, and that a new connection would not have.
SETTINGS = (
    "Calendar",
    "default_collation",
    "default_null_order",
    "default_order",
    "ieee_floating_point_ops",
    "integer_division",
    "order_by_non_integer_literal",
    "preserve_insertion_order",
    "scalar_subquery_error_on_multiple_rows",
)
#: They run text that nobody can look into.
OPAQUE = frozenset(["query", "query_table"])
#: DuckDB calls it volatile, but it has no answer at all.
HARMLESS = frozenset(["error"])
CATALOG = """
    SELECT 'table', database_name, schema_name, table_name, NULL
    FROM duckdb_tables() WHERE NOT internal
    UNION ALL SELECT 'table', database_name, schema_name, view_name, sql
    FROM duckdb_views() WHERE NOT internal
    UNION ALL SELECT 'type', database_name, schema_name, type_name, NULL
    FROM duckdb_types() WHERE NOT internal
    UNION ALL SELECT 'function', database_name, schema_name, function_name,
        'SELECT ' || macro_definition
    FROM duckdb_functions() WHERE NOT internal AND function_type = 'macro'
    UNION ALL SELECT 'function', database_name, schema_name, function_name,
        macro_definition
    FROM duckdb_functions() WHERE NOT internal AND function_type = 'table_macro'
"""
FUNCTIONS = """
    SELECT DISTINCT lower(function_name), coalesce(stability, '')
    FROM duckdb_functions()
    WHERE list_contains(?, lower(function_name)) AND macro_definition IS NULL
"""


class _Named(NamedTuple):
    """Something in a catalog."""

    kind: str
    database: str
    schema: str
    name: str
    definition: str | None

    def answers_to(self, kind: str, path: tuple[str, ...]) -> bool:
        """Tell whether a query may mean this by a name."""
        *place, name = (part.casefold() for part in path)
        own = {self.database.casefold(), self.schema.casefold()}
        return self.kind == kind and self.name.casefold() == name and own >= {*place}


def check_reopenable(
    connection: duckdb.DuckDBPyConnection, query: str, database: Database
) -> bool:
    """Check that a query gives the same on another connection to the same files.

    Parameters
    ----------
    connection : DuckDBPyConnection
        The caller's.
    query : str
        One SELECT that DuckDB has bound on that connection.
    database : Database
        What there will be.

    Returns
    -------
    is_in_database : bool
        Whether all rows come from tables of databases, and none from other files.

    Raises
    ------
    QueryError
        Naming what is not there, or what is drawn anew each time.
    """
    import duckdb

    if _is_in_transaction(connection):
        _refuse(query, "an open transaction, which no other connection can see")
    with duckdb.connect() as new:
        for name in database.extensions:
            new.load_extension(name)
        _check_settings(query, connection, new)
        return _Walk(query, connection, new, database).is_in_database()


class _Walk:
    """One walk over all that a query names, and that views and macros name."""

    def __init__(
        self,
        query: str,
        connection: duckdb.DuckDBPyConnection,
        new: duckdb.DuckDBPyConnection,
        database: Database,
    ) -> None:
        self._query = query
        self._connection = connection
        self._new = new
        self._names = database.names
        self._catalog = [_Named(*row) for row in connection.sql(CATALOG).fetchall()]

    def is_in_database(self) -> bool:
        """Check everything; tell whether no row comes from elsewhere."""
        pending, seen, answer = [self._query], set(), True
        while pending:
            text = pending.pop()
            if text in seen:
                continue
            seen.add(text)
            found = references(self._connection, text)
            check_drawn(self._query, self._connection, found)
            self._check_functions(found)
            meant = [self._meant(*each) for each in found.names]
            pending += [self._definition(each) for group in meant for each in group]
            answer = answer and not found.has_table_function
            answer = answer and all(
                group or kind != "table" or path[-1].casefold() in found.local_tables
                for (kind, path), group in zip(found.names, meant, strict=True)
            )
        return answer

    def _meant(self, kind: str, path: tuple[str, ...]) -> list[_Named]:
        """Return all that a name may mean, each of which must be in a file."""
        meant = [each for each in self._catalog if each.answers_to(kind, path)]
        for each in meant:
            if each.database not in self._names:
                _refuse(self._query, _describe(each))
        return meant

    def _check_functions(self, found: References) -> None:
        """Refuse functions that only this connection has."""
        called = _called(found)
        for name in sorted(OPAQUE.intersection(called)):
            _refuse(self._query, f"{name}(), whose query is known only when it runs")
        own = self._connection.sql(FUNCTIONS, params=[called]).fetchall()
        usual = self._new.sql(FUNCTIONS, params=[called]).fetchall()
        for name in sorted({name for name, _ in own} - {name for name, _ in usual}):
            _refuse(self._query, f"the function {name!r} of this connection")

    def _definition(self, named: _Named) -> str:
        """Return the query behind a view or a macro; of tables, one that is empty."""
        text = named.definition or "SELECT 1"
        # The name of a view may hold any word: its query begins after the first AS
        # after which there is one.
        at = text.find(" AS ") if text.startswith("CREATE") else -1
        while at >= 0:
            candidate = text[at + len(" AS ") :]
            if is_select(self._connection, candidate):
                return candidate
            at = text.find(" AS ", at + 1)
        return text


def check_drawn(
    query: str, connection: duckdb.DuckDBPyConnection, found: References
) -> None:
    """Refuse what gives other rows each time it runs.

    Raises
    ------
    QueryError
        Naming the sample, the limit or the function.
    """
    if found.has_sample:
        _refuse(query, "a sample, which is drawn anew for each partition")
    if found.has_loose_limit:
        _refuse(query, "LIMIT or DISTINCT ON without ORDER BY")
    drawn = {
        name
        for name, stability in connection.sql(
            FUNCTIONS, params=[_called(found)]
        ).fetchall()
        if stability in ("VOLATILE", "CONSISTENT_WITHIN_QUERY")
    }
    for name in sorted((drawn | found.clocks) - HARMLESS):
        _refuse(query, f"{name}, whose answer is another one each time")


def _called(found: References) -> list[str]:
    names = {path[-1].casefold() for kind, path in found.names if kind == "function"}
    return sorted(names)


def _is_in_transaction(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether a transaction is open: else each statement has one of its own."""
    first, second = (
        connection.sql("SELECT txid_current()").fetchall() for _ in range(2)
    )
    return bool(first == second)


def _check_settings(
    query: str, connection: duckdb.DuckDBPyConnection, new: duckdb.DuckDBPyConnection
) -> None:
    asked = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    own, usual = (
        each.sql(f"SELECT {asked}").fetchall()[0] for each in (connection, new)
    )
    for name, value, default in zip(SETTINGS, own, usual, strict=True):
        if value != default:
            _refuse(query, f"the setting {name} = {value!r} of this connection")


def _describe(named: _Named) -> str:
    if named.database == "temp":
        return f"the temporary {named.kind} {named.name!r}"
    return f"the {named.kind} {named.name!r} of {named.database!r}, which is in no file"


def _refuse(query: str, what: str) -> NoReturn:
    raise QueryError.expecting(
        "read_sql",
        "a query that other connections answer alike, for a lazy plan",
        f"{what}, in:\n{query}",
        'use plan="spill", which runs the query once, on your own connection',
    )
