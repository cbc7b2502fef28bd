"""Whether a query gives the same rows on another connection, and each time.

Everything a query names is looked up in the caller's catalog, through views and macros
too. What is in no file, and what is drawn anew each time, is refused by its name.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from dfml.exceptions import QueryError
from dfml.sources._columns import folded, quoted
from dfml.sources._syntax import PYTHON_SOURCE, is_select, references

if TYPE_CHECKING:
    import duckdb

    from dfml.sources._reopen import Database
    from dfml.sources._syntax import References

__all__ = [
    "ROW_SETTINGS",
    "check_drawn",
    "check_relation",
    "check_reopenable",
    "check_settings",
    "is_in_transaction",
    "settings_of",
]

#: Settings that change what becomes of one row; a new connection does not have them.
ROW_SETTINGS = (
    "Calendar",
    "binary_as_string",
    "default_collation",
    "dialect_compatibility_mode",
    "error_on_division_by_zero",
    "file_search_path",
    "ieee_floating_point_ops",
    "integer_division",
    "legacy_disable_null_type",
    "preserve_identifier_case",
    "regex_match_operator_semantics",
)
#: And those that change which rows there are, and their order.
SETTINGS = (
    *ROW_SETTINGS,
    "default_null_order",
    "default_order",
    "order_by_non_integer_literal",
    "preserve_insertion_order",
    "scalar_subquery_error_on_multiple_rows",
)
#: They run text that nobody can look into.
OPAQUE = frozenset(["query", "query_table"])
#: Clocks of which DuckDB does not say so.
CLOCKS = frozenset(
    [
        "ago",
        "current_localtime",
        "current_localtimestamp",
        "pg_conf_load_time",
        "pg_postmaster_start_time",
    ]
)
#: DuckDB calls it volatile, but it has no answer at all.
HARMLESS = frozenset(["error"])
CATALOG = """
    SELECT 'table', database_name, schema_name, table_name, NULL
    FROM duckdb_tables() WHERE NOT internal
    UNION ALL SELECT 'table', database_name, schema_name, view_name, sql
    FROM duckdb_views() WHERE NOT internal
    UNION ALL SELECT 'type', database_name, schema_name, type_name, NULL
    FROM duckdb_types() WHERE NOT internal
"""
MACROS = """
    SELECT 'function', database_name, schema_name, function_name,
        CASE function_type WHEN 'macro' THEN 'SELECT ' ELSE '' END || macro_definition
    FROM duckdb_functions()
    WHERE NOT internal AND function_type IN ('macro', 'table_macro')
"""
FUNCTIONS = """
    SELECT function_name, max(coalesce(stability, '')) FROM duckdb_functions()
    WHERE macro_definition IS NULL OR internal GROUP BY ALL
"""
#: How DuckDB calls functions whose answer does not follow from their arguments.
DRAWN = frozenset(["VOLATILE", "CONSISTENT_WITHIN_QUERY"])


class _Named(NamedTuple):
    """Something in a catalog."""

    kind: str
    database: str
    schema: str
    name: str
    definition: str | None

    def answers_to(self, kind: str, path: tuple[str, ...]) -> bool:
        """Tell whether a query may mean this by a name."""
        *place, name = map(folded, path)
        own = {folded(self.database), folded(self.schema)}
        return self.kind == kind and folded(self.name) == name and own >= {*place}


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
    if is_in_transaction(connection):
        _refuse(query, "an open transaction, which no other connection can see")
    check_settings(connection, query, SETTINGS, database.extensions)
    return _Walk(query, connection, database).is_in_database()


def check_relation(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Check that the SQL of a relation says all that there is to it.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Of the relation.
    query : str
        Its SQL.

    Raises
    ------
    QueryError
        If it reads a Python object, or has values that are not in the SQL.
    """
    if PYTHON_SOURCE in query:
        _refuse(query, "rows of a Python object or a result in this process")
    if references(connection, query).has_parameters:
        raise QueryError.expecting(
            "read_sql",
            "a relation without bound parameters, for a lazy plan",
            f"some in:\n{query}",
            'pass the SQL text with params=, or use plan="spill"',
        )


def check_settings(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    names: tuple[str, ...],
    extensions: tuple[str, ...] = (),
) -> None:
    """Refuse settings that a new connection would not have.

    Parameters
    ----------
    connection : DuckDBPyConnection
        The caller's.
    query : str
        For messages.
    names : tuple of str
        The settings that matter to the query.
    extensions : tuple of str
        Those that a new connection will have.

    Raises
    ------
    QueryError
        Naming the first setting that is not the usual one.
    """
    usual = _usual(extensions).settings
    for name, value in settings_of(connection).items():
        if name in names and value != usual[name]:
            _refuse(query, f"the setting {name} = {value!r} of this connection")


class _Usual(NamedTuple):
    """What every new connection has: settings, and functions with their stability."""

    settings: dict[str, object]
    functions: dict[str, str]


@cache
def _usual(extensions: tuple[str, ...]) -> _Usual:
    """Return what a new connection has with some extensions; that does not change."""
    import duckdb

    with duckdb.connect() as new:
        for name in extensions:
            new.load_extension(name)
        return _Usual(settings_of(new), _functions_of(new))


def _functions_of(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the functions of a connection, with their stability."""
    rows = connection.sql(FUNCTIONS).fetchall()
    return {folded(name): stability for name, stability in rows}


def settings_of(connection: duckdb.DuckDBPyConnection) -> dict[str, object]:
    """Return the settings of a connection that change rows, or their order."""
    asked = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    (values,) = connection.sql(f"SELECT {asked}").fetchall()
    return dict(zip(SETTINGS, values, strict=True))


class _Walk:
    """One walk over all that a query names, and that views and macros name."""

    def __init__(
        self,
        query: str,
        connection: duckdb.DuckDBPyConnection,
        database: Database,
    ) -> None:
        self._query = query
        self._connection = connection
        self._database = database
        self._catalog = self._named(CATALOG)
        self._has_macros = False

    def _named(self, catalog: str) -> list[_Named]:
        return [_Named(*row) for row in self._connection.sql(catalog).fetchall()]

    def is_in_database(self) -> bool:
        """Check everything; tell whether no row comes from elsewhere."""
        pending, seen, answer = [self._query], set(), True
        while pending:
            text = pending.pop()
            if text in seen:
                continue
            seen.add(text)
            found = references(self._connection, text)
            check_drawn(self._query, found, self._database.extensions)
            self._check_functions(found)
            meant = [self._meant(*each) for each in found.names]
            pending += [self._definition(each) for group in meant for each in group]
            answer = answer and not found.has_table_function
            answer = answer and all(
                group or kind != "table" or folded(path[-1]) in found.local_tables
                for (kind, path), group in zip(found.names, meant, strict=True)
            )
        return answer

    def _meant(self, kind: str, path: tuple[str, ...]) -> list[_Named]:
        """Return all that a name may mean, each of which must be in a file."""
        meant = [each for each in self._catalog if each.answers_to(kind, path)]
        for each in meant:
            if each.database not in self._database.names:
                _refuse(self._query, _describe(each))
        return meant

    def _check_functions(self, found: References) -> None:
        """Refuse functions that only this connection has."""
        called = _called(found)
        for name in sorted(OPAQUE.intersection(called)):
            _refuse(self._query, f"{name}(), whose query is known only when it runs")
        is_named = any(map(str.isalnum, "".join(called)))
        if is_named and not self._has_macros:
            # To list the functions takes DuckDB longer than all the rest.
            self._catalog += self._named(MACROS)
            self._has_macros = True
        macros = {folded(e.name) for e in self._catalog if e.kind == "function"}
        usual = _usual(self._database.extensions).functions
        rare = [name for name in called if name not in usual and name not in macros]
        # Some that DuckDB lists nowhere are its own all the same.
        own = _functions_of(self._connection) if rare else {}
        for name in rare:
            if name in own:
                _refuse(self._query, f"the function {name!r} of this connection")

    def _definition(self, named: _Named) -> str:
        """Return the query behind a view or a macro; of tables, one that is empty."""
        text = named.definition or "SELECT 1"
        if named.kind != "table" or named.definition is None:
            return text
        # Its query begins after the first AS behind its name after which there is one;
        # columns may be named between them.
        shown = quoted(named.name) if quoted(named.name) in text else named.name
        at = text.find(" AS ", text.find(shown) + len(shown))
        while at >= 0:
            candidate = text[at + len(" AS ") :]
            if is_select(self._connection, candidate):
                return candidate
            at = text.find(" AS ", at + 1)
        return text


def check_drawn(
    query: str, found: References, extensions: tuple[str, ...] = ()
) -> None:
    """Refuse what gives other rows each time it runs.

    Parameters
    ----------
    query : str
        For messages.
    found : References
        What it names.
    extensions : tuple of str
        Whose functions it may call.

    Raises
    ------
    QueryError
        Naming the sample, the limit or the function.
    """
    if found.has_sample:
        _refuse(query, "a sample, which is drawn anew for each partition")
    if found.has_loose_limit:
        _refuse(query, "LIMIT or DISTINCT ON without ORDER BY")
    functions = _usual(extensions).functions
    called = _called(found)
    drawn = {name for name in called if functions.get(name) in DRAWN}
    clocks = found.clocks.union(CLOCKS.intersection(called))
    for name in sorted((drawn | clocks) - HARMLESS):
        _refuse(query, f"{name}, whose answer is another one each time")


def _called(found: References) -> list[str]:
    names = {folded(path[-1]) for kind, path in found.names if kind == "function"}
    return sorted(names)


def is_in_transaction(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether a transaction is open: else each statement has one of its own."""
    first, second = (
        connection.sql("SELECT txid_current()").fetchall() for _ in range(2)
    )
    return bool(first == second)


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
