"""A model over a whole relation: large batches, all cores, a relation to go on with."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    InputTypeError,
)
from dfml.sources._columns import folded, quoted
from dfml.sources._query import database_errors
from dfml.sql_functions._answer import SqlModel, make_sql_model
from dfml.sql_functions._answered import AnsweredRows
from dfml.sql_functions._fields import free_name
from dfml.sql_functions._rows import open_rows

if TYPE_CHECKING:
    import duckdb

__all__ = ["predict_sql"]

# What Arrow cannot hold as DuckDB does travels as text, and is cast back.
_AS_TEXT = {
    "bit",
    "bignum",
    "hugeint",
    "time with time zone",
    "uhugeint",
    "uuid",
    "varint",
}


def predict_sql(
    model: Any,
    relation: duckdb.DuckDBPyRelation,
    *,
    method: str = "predict",
    name: str | None = None,
    prefix: str | None = None,
) -> duckdb.DuckDBPyRelation:
    """Answer a whole relation with a model, and return a relation to go on with.

    The result is as lazy as any relation: each time it is read the query runs, and its
    rows are streamed in large batches, answered on all cores and handed to DuckDB in
    the order in which they came. Memory does not grow with their number.

    Parameters
    ----------
    model : estimator
        Fitted on a table with column names, of dfml or scikit-learn.
    relation : DuckDBPyRelation
        The rows. Columns are taken by name; there may be more of them.
    method : str, default="predict"
        The response method.
    name : str, optional
        Name of the single output column.
    prefix : str, optional
        Put before the names of all output columns.

    Returns
    -------
    relation : DuckDBPyRelation
        All columns of the input with their types, then the answers:
        ``prediction``, or ``probability_<class>`` and so on.

    Raises
    ------
    ColumnMismatchError
        If the relation lacks columns, or the model was fitted without column names.
    ColumnCollisionError
        If an output column has the name of a column that is already there.
    QueryError
        If DuckDB refuses the query, or fails while it runs to a file.

    See Also
    --------
    register : The model as a SQL function.
    export_sql : The model as SQL alone.

    Notes
    -----
    Only columns that are needed are read, simple filters are applied before the model
    is called, and it is not called where no answer is asked for. Errors of the query
    and of the model are those of the statement that reads. Types and NULL are treated
    as in :func:`register`.

    DuckDB does not run a query inside another one of the same connection, so a second
    connection to the same database reads the rows, and sees what is committed. What
    only the caller's own connection sees is read at the call, once, to a temporary
    file, and what follows reads the file. That is so with an open transaction,
    temporary tables, views or macros, frames of Python, parameters, variables and
    settings of the connection, each as it is at the call: a transaction that begins
    later is not seen before it is committed. The logger ``dfml`` tells at level INFO.
    The file lies in the directory set as ``dfml.spill-directory`` in dask's
    configuration, or in the system's temporary directory, and goes with the last
    relation that reads it.

    Examples
    --------
    >>> import duckdb, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> import dfml
    >>> rows = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [5.0, 1.0, 0.0]})
    >>> model = LinearRegression().fit(rows, rows["a"] - rows["b"])
    >>> con = duckdb.connect()
    >>> answered = dfml.predict_sql(
    ...     model, con.sql("SELECT 7 AS id, 1 AS b, 3 AS a"), name="gap"
    ... )
    >>> answered.project("id, round(gap)").fetchall()
    [(7, 2.0)]
    """
    _check_relation(relation)
    sql_model = make_sql_model("predict_sql", model, method, name=name, prefix=prefix)
    with database_errors("a DuckDB relation", "predict_sql"):
        plan = _Plan(relation, sql_model)
    rows = open_rows(plan.query)
    answered = AnsweredRows(rows, relation.columns, plan.features, sql_model)
    # A relation does not tell its connection in public, and only it can go on with it.
    return relation._con.from_arrow(answered).project(plan.projection)


class _Plan:
    """What is asked of DuckDB, and how what comes back is put into its types again.

    Attributes
    ----------
    query : DuckDBPyRelation
        The columns of the relation as Arrow can hold them, and after them those
        features that DuckDB has to cast for the model.
    features : list of str
        The columns of `query` that the model takes, in its order.
    projection : str
        The select list that gives the columns their types back.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation, model: SqlModel) -> None:
        found = _check_columns(relation.columns, model)
        types = dict(zip(relation.columns, relation.types, strict=True))
        columns = [
            f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}"
            if kind.id in _AS_TEXT
            else quoted(name)
            for name, kind in types.items()
        ]
        self.features: list[str] = []
        for field, sql_type in model.fields.items():
            name = found[folded(field)]
            if str(types[name]) != sql_type:
                source, name = name, free_name(f"dfml: {field}", types)
                cast = f"CAST({quoted(source)} AS {sql_type})"
                columns.append(f"{cast} AS {quoted(name)}")
            self.features.append(name)
        self.query = relation.project(", ".join(columns))
        self.projection = ", ".join(
            [f"CAST({quoted(n)} AS {kind}) AS {quoted(n)}" for n, kind in types.items()]
            + [quoted(n) for n in model.outputs.names]
        )


def _check_columns(names: list[str], model: SqlModel) -> dict[str, str]:
    """Find the columns of the relation as SQL does, whatever their case."""
    outputs = list(model.outputs.names)
    counts = Counter(map(folded, [*names, *outputs]))
    twice = [each for each in [*names, *outputs] if counts[folded(each)] > 1]
    if twice:
        is_alike = len(set(twice)) == len(twice)
        how = ", which SQL does not tell apart" if is_alike else " twice"
        raise ColumnCollisionError.expecting(
            "predict_sql",
            "columns and outputs whose names are different, whatever their case",
            f"{sorted(set(twice))}{how}",
            _way_out(set(twice), names, outputs),
        )
    found = {folded(each): each for each in names}
    missing = [each for each in model.fields if folded(each) not in found]
    if missing:
        raise ColumnMismatchError.expecting(
            "predict_sql",
            "the columns seen in fit",
            f"missing: {missing}, there are: {names}",
            "select or rename them in the SQL",
        )
    return found


def _way_out(twice: set[str], names: list[str], outputs: list[str]) -> str:
    """Say which of the names that collide can be changed, and where."""
    if twice.isdisjoint(outputs):
        return "rename the columns in the SQL"
    if twice.isdisjoint(names):
        return "rename the classes before fit"
    return "pass name= or prefix=, or rename the columns in the SQL"


def _check_relation(relation: object) -> None:
    import duckdb

    if not isinstance(relation, duckdb.DuckDBPyRelation):
        raise InputTypeError.expecting(
            "predict_sql",
            "a DuckDB relation",
            type(relation).__name__,
            "make one with connection.sql(...)",
        )
