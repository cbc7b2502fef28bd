"""A model as a scalar function of DuckDB that takes a row, and as a table function.

The function itself takes one struct of exactly the types of the model and is named so
that nobody meets it. What the user calls is a macro that picks the fields by name and
casts them: so a missing field fails when DuckDB binds the query, other fields are never
read, and the order in which they come does not matter.
"""

from __future__ import annotations

import re
import textwrap
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from dfml.exceptions import (
    ColumnCollisionError,
    InputTypeError,
    QueryError,
)
from dfml.sources._columns import folded, quoted
from dfml.sources._query import hint_for
from dfml.sources._reopenable import is_in_transaction
from dfml.sql_functions._answer import SqlModel, make_sql_model, model_error
from dfml.sql_functions._fields import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

__all__ = ["RegisteredFunction", "register", "registered", "unregister"]

_PREFIX = "_dfml_"


@dataclass(frozen=True)
class RegisteredFunction:
    """One function that :func:`dfml.register` has made.

    Parameters
    ----------
    name : str
        What it is called in SQL; ``<name>_table`` is the table function.
    model : str
        Class of the scikit-learn estimator.
    method : str
        The response method.
    fields : dict
        The fields it takes from a row, and what each is cast to.
    returns : str
        The SQL type of an answer.
    """

    name: str
    model: str
    method: str
    fields: dict[str, str]
    returns: str


class _Function:
    """What DuckDB calls: a struct column to an Arrow column."""

    def __init__(
        self,
        name: str,
        model: SqlModel,
        returns: Any,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self.name = name
        self.model = model
        self.returns = returns
        self.connection = weakref.ref(connection)

    def answer(self, rows: Any) -> Any:
        """Answer for the rows of one vector."""
        try:
            rows = rows.combine_chunks() if rows.num_chunks != 1 else rows.chunk(0)
            # `flatten` is `field` with the nulls of the struct itself put in.
            answers = self.model(rows.flatten())
        except Exception as err:
            raise model_error(self.name, self.model, err) from err
        if self.model.is_single:
            return pa.chunked_array(answers)
        # All answers of a row are NULL together, where the row holds no value.
        empty = answers[0].is_null()
        for each in answers[1:]:
            empty = pc.and_(empty, each.is_null())
        fields = list(self.model.outputs)
        struct = pa.StructArray.from_arrays(answers, fields=fields, mask=empty)
        return pa.chunked_array([struct])


# By the name inside DuckDB, which holds the functions: they go when it closes.
_live: weakref.WeakValueDictionary[str, _Function] = weakref.WeakValueDictionary()


def register(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    model: Any,
    *,
    method: str = "predict",
    replace: bool = False,
) -> None:
    """Make a fitted model a SQL function that takes its columns by name.

    The function takes one row: ``SELECT id, late(f) FROM flights f``, or
    ``late({'distance': x, 'hour': y})``. ``FROM late_table('flights')`` gives all
    columns of a table and the answers.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Where the function is to be known. It goes with the connection, like a temporary
        table; a cursor is another connection.
    name : str
        Name of the function; any text, quoted in SQL as DuckDB's identifiers are.
    model : estimator
        Fitted on a table with column names, of dfml or scikit-learn.
    method : str, default="predict"
        The response method.
    replace : bool, default=False
        Whether to take the place of a function that dfml registered under this name.

    Raises
    ------
    QueryError
        If the name is taken, by a function of DuckDB, of somebody else, or, without
        `replace`, of dfml; or if the connection is closed or busy.
    ColumnMismatchError
        If the model was fitted without column names, or on ones SQL cannot tell apart.
    EstimatorTypeError
        If the model does not have the method.
    UnknownOutputError
        If what it returns cannot be known beforehand.

    See Also
    --------
    predict_sql : Answers for a whole relation, in large batches.

    Notes
    -----
    **Fields** are found by name, whatever their order; further ones are ignored and
    not read. A missing field, or anything but a struct, is an error when the query is
    bound.
    Numbers, decimals and booleans are cast to DOUBLE, text columns to VARCHAR.

    **Answers.** ``predict`` gives labels of their own type. ``predict_proba`` and other
    methods with several outputs give a STRUCT, whose fields have the names of
    dfml's output columns, ``probability_<class>``.

    **NULL** in a number is NaN to the model. If the model refuses NaN the query fails,
    and the error names the columns. A row that holds no value at all is answered by
    NULL: a NULL struct, or the row that an outer join did not find.

    DuckDB calls the model for 2,048 rows at a time, on its own threads.

    Examples
    --------
    >>> import duckdb, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> import dfml
    >>> rows = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [5.0, 1.0, 0.0]})
    >>> con = duckdb.connect()
    >>> model = LinearRegression().fit(rows, rows["a"] - rows["b"])
    >>> dfml.register(con, "gap", model)
    >>> con.sql("SELECT round(gap({'b': 1, 'a': 3, 'c': 'ignored'}))").fetchall()
    [(2.0,)]
    """
    _check_connection("register", connection)
    if not (name and is_text(name)):
        raise InputTypeError.expecting(
            "register", "name to be text that SQL takes", repr(name), "pass another one"
        )
    sql_model = make_sql_model("register", model, method)
    with _failures("register"):
        returns = _return_type(connection, sql_model)
        function = _Function(name, sql_model, returns, connection)
        _check_free(connection, name, replace)
        inner = _PREFIX + uuid4().hex
        _create(connection, inner, function)
        try:
            for statement in _macros(inner, function):
                connection.sql(statement)
        except BaseException:
            with suppress(Exception):
                connection.remove_function(inner)
            raise
        _remove_uncalled(connection)


def unregister(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove a function that :func:`register` has made, and its table function.

    Parameters
    ----------
    connection : DuckDBPyConnection
        The connection it was registered on.
    name : str
        Its name.

    Raises
    ------
    QueryError
        If dfml has not registered a function of this name on this connection, or if
        the connection is closed or busy.
    """
    _check_connection("unregister", connection)
    with _failures("unregister"):
        if folded(str(name)) not in _macros_of(connection):
            names = [each.name for each in registered(connection)]
            raise QueryError.expecting(
                "unregister",
                "the name of a function that dfml registered on this connection",
                repr(name),
                f"choose one of {names}" if names else "there is nothing to remove",
            )
        table = quoted(f"{name}_table")
        connection.sql(f"DROP MACRO temp.main.{quoted(name)}")
        connection.sql(f"DROP MACRO TABLE IF EXISTS temp.main.{table}")
        _remove_uncalled(connection)


def registered(connection: duckdb.DuckDBPyConnection) -> list[RegisteredFunction]:
    """List the functions that :func:`register` has made on a connection.

    Parameters
    ----------
    connection : DuckDBPyConnection
        The connection.

    Returns
    -------
    functions : list of RegisteredFunction
        By name. A transaction that was rolled back has left nothing.

    Raises
    ------
    QueryError
        If the connection is closed or busy.
    """
    _check_connection("registered", connection)
    with _failures("registered"):
        functions = [_live.get(inner) for inner in _macros_of(connection).values()]
    return [
        RegisteredFunction(
            name=each.name,
            model=each.model.class_name,
            method=each.model.responder.name,
            fields=dict(each.model.fields),
            returns=str(each.returns),
        )
        for each in functions
        if each is not None
    ]


@contextmanager
def _failures(where: str) -> Iterator[None]:
    """Turn DuckDB's errors into QueryError: there is no query of the caller's."""
    import duckdb

    try:
        yield
    except duckdb.Error as err:
        raise QueryError.expecting(
            where, "a connection that can work", str(err).rstrip(" ."), hint_for(err)
        ) from err


def _check_connection(where: str, connection: object) -> None:
    import duckdb

    if not isinstance(connection, duckdb.DuckDBPyConnection):
        raise InputTypeError.expecting(
            where,
            "a DuckDB connection",
            type(connection).__name__,
            "open one with duckdb.connect(path)",
        )


def _return_type(connection: duckdb.DuckDBPyConnection, model: SqlModel) -> Any:
    """Ask DuckDB what the Arrow types of the answers are in SQL."""
    names = [folded(name) for name in model.outputs.names]
    twice = [n for n in model.outputs.names if names.count(folded(n)) > 1 or not n]
    if twice:
        raise ColumnCollisionError.expecting(
            "register",
            "outputs whose names SQL can tell apart, whatever their case",
            repr(twice),
            "rename the classes or outputs and train again",
        )
    types = connection.from_arrow(model.outputs.empty_table()).types
    if model.is_single:
        return types[0]
    return connection.struct_type(dict(zip(model.outputs.names, types, strict=True)))


def _check_free(
    connection: duckdb.DuckDBPyConnection, name: str, replace: bool
) -> None:
    """Refuse a name that is taken, but for a function of dfml to be replaced."""
    is_ours = folded(name) in _macros_of(connection)
    names = {folded(each): each for each in (name, f"{name}_table")}
    rows = connection.sql(
        "SELECT DISTINCT function_name FROM duckdb_functions()"
    ).fetchall()
    taken = sorted(names.keys() & {folded(row[0]) for row in rows})
    if not taken or (is_ours and replace):
        return
    owner = "dfml" if is_ours else "DuckDB or one of yours"
    raise QueryError.expecting(
        "register",
        "the name of a function that is not there yet",
        f"{names[taken[0]]!r}, a function of {owner}",
        "pass replace=True" if is_ours else "choose another name",
    )


def _macros_of(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Find dfml's macros: their names in lower case, and what they call."""
    rows = connection.sql(
        "SELECT function_name, macro_definition FROM duckdb_functions() WHERE "
        "database_name = 'temp' AND function_type = 'macro' ORDER BY function_name"
    ).fetchall()
    pairs = ((name, re.match(_PREFIX + "[0-9a-f]{32}", text)) for name, text in rows)
    return {folded(name): found[0] for name, found in pairs if found}


def _create(
    connection: duckdb.DuckDBPyConnection, inner: str, function: _Function
) -> None:
    from duckdb.func import FunctionNullHandling, PythonUDFType

    types = function.model.fields.values()
    row = connection.struct_type({f"f{i}": kind for i, kind in enumerate(types)})
    connection.create_function(
        inner,
        function.answer,
        [row],
        function.returns,
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,
    )
    _live[inner] = function


def _remove_uncalled(connection: duckdb.DuckDBPyConnection) -> None:
    """Remove the functions of a connection that no macro calls any more.

    In a transaction they stay until the next call outside of one. If it is rolled back
    its macros are there again, and DuckDB, which has let go of a function that was
    removed, would call what is gone: the process crashes.
    """
    import duckdb

    if is_in_transaction(connection):
        return
    called = set(_macros_of(connection).values())
    for inner, function in list(_live.items()):
        is_own = function.connection() is connection
        if is_own and inner not in called:
            # One that was made in a transaction that was rolled back is not there.
            with suppress(duckdb.Error):
                connection.remove_function(inner)


def _macros(inner: str, function: _Function) -> list[str]:
    """Write the macros. Names of the model are in literals and quotes only."""
    # The names of parameters are all that DuckDB tells about a macro when it is called
    # in another way, so they say what is expected.
    names = ", ".join(function.model.fields)
    row = quoted(f"a struct with the fields {textwrap.shorten(names, 200)}")
    # `struct_extract` takes structs alone. The dot would take JSON and maps too, in
    # which a missing field is NULL.
    picked = ", ".join(
        f"f{i} := CAST(struct_extract({row}, {_literal(field)}) AS {kind})"
        for i, (field, kind) in enumerate(function.model.fields.items())
    )
    name, table = quoted(function.name), quoted(f"{function.name}_table")
    # A column of this name would be taken for the row itself.
    source = quoted(f"the table of {inner}")
    answer = f"{name}({source})"
    output = (
        f"{answer} AS {quoted(function.model.outputs.names[0])}"
        if function.model.is_single
        else f"unnest({answer})"
    )
    return [
        f"CREATE OR REPLACE TEMP MACRO {name}({row}) AS {inner}(struct_pack({picked}))",
        f'CREATE OR REPLACE TEMP MACRO {table}("the name of a table") AS TABLE '
        f'SELECT {source}.*, {output} FROM query_table("the name of a table") {source}',
    ]


def _literal(text: str) -> str:
    """Return text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
