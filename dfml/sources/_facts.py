"""What a database tells of a relation before its rows are read.

Each question is one query on the relation's own connection, where its temporary tables,
registered frames and open transaction are. DuckDB reads only the columns that a
question is about.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dfml.sources._columns import (
    check_columns,
    folded,
    quoted,
    rows_to_pandas,
    special_dtypes,
)
from dfml.sources._query import database_errors
from dfml.sources._stream import open_stream

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

__all__ = [
    "changes_order",
    "describe_query",
    "distinct_values",
    "fetch_rows",
]

#: Characters of a query that messages show.
QUERY_LENGTH = 2_000

#: Operators of DuckDB that sort: what is below them has no say. Rows with equal keys
#: come in any order, which no plan tells.
SORTING = frozenset({"ORDER_BY", "TOP_N"})
#: Operators that hand on rows in the order in which they get them, with any number of
#: threads. Joins by hash, groups and windows do not.
KEEPING = frozenset(
    {
        "CROSS_PRODUCT",
        "CTE",
        "FILTER",
        "LIMIT",
        "PROJECTION",
        "RESERVOIR_SAMPLE",
        "STREAMING_LIMIT",
        "STREAMING_SAMPLE",
        "STREAMING_WINDOW",
        "UNION",
        "UNNEST",
    }
)


def describe_query(relation: duckdb.DuckDBPyRelation) -> str:
    """Return the SQL of a relation, cut if it is very long, for messages."""
    import duckdb

    try:
        text = str(relation.sql_query()).strip()
    except duckdb.Error:  # closed or busy: whatever runs the relation will say so
        return "a DuckDB relation"
    return text if len(text) <= QUERY_LENGTH else f"{text[:QUERY_LENGTH]} ..."


def fetch_rows(where: str, relation: duckdb.DuckDBPyRelation) -> pd.DataFrame:
    """Read all rows of a small result, with the dtypes that read_sql gives them.

    Parameters
    ----------
    where : str
        The call, for messages.
    relation : DuckDBPyRelation
        It has to fit in memory.

    Returns
    -------
    rows : pandas DataFrame
        With an index from 0.

    Raises
    ------
    QueryError
        If DuckDB refuses or fails.
    """
    source = describe_query(relation)
    with database_errors(source, where):
        columns = check_columns(relation, where)
        with open_stream(relation, columns, source, where) as (schema, batches):
            table = pa.Table.from_batches(batches, schema=schema)
    with_nulls = [n for n in table.column_names if table[n].null_count]
    return rows_to_pandas(table, special_dtypes(columns, with_nulls))


def distinct_values(
    where: str, relation: duckdb.DuckDBPyRelation, name: str
) -> tuple[pd.Series[Any], int]:
    """Find the different values of a column.

    Parameters
    ----------
    where : str
        The call, for messages.
    relation : DuckDBPyRelation
        The rows.
    name : str
        A column.

    Returns
    -------
    values : pandas Series
        In any order, without missing values, with the dtype that the column has in
        read_sql's frame if it has no null.
    n_missing : int
        Rows in which the value is null or NaN.
    """
    column = quoted(name)
    count = "n_rows" if folded(name) != "n_rows" else "n"
    with database_errors(describe_query(relation), where):
        is_text = relation.types[relation.columns.index(name)].id == "varchar"
        # A collation that ignores case would take two labels for one.
        item = f"{column} COLLATE c AS {column}" if is_text else column
        counted = relation.project(item).aggregate(
            f"{column}, count(*) AS {quoted(count)}", column
        )
    rows = fetch_rows(where, counted)
    missing = rows[name].isna()
    values = rows.loc[~missing, name]
    if hasattr(values.dtype, "numpy_dtype"):  # Int64 for the null that is gone
        values = values.astype(values.dtype.numpy_dtype)
    return values.reset_index(drop=True), int(rows.loc[missing, count].sum())


def changes_order(relation: duckdb.DuckDBPyRelation) -> str | None:
    """Tell what may give the rows of a relation in another order on another run.

    Parameters
    ----------
    relation : DuckDBPyRelation
        It is planned, not run.

    Returns
    -------
    reason : str or None
        Such as ``"HASH_JOIN"``, an operator of DuckDB's plan. None if the order is that
        of the tables that are read, or of an ORDER BY; whether its keys tell all rows
        apart is not looked at.
    """
    settings = relation.query(
        "dfml_rows",
        "SELECT current_setting('threads'), "
        "current_setting('preserve_insertion_order')",
    )
    ((threads, keeps_order),) = settings.fetchall()
    if int(threads) == 1:
        return None
    (plan,) = json.loads(relation.explain(format="json"))
    return _first_that_mixes(
        plan, None if keeps_order else "preserve_insertion_order = false"
    )


def _first_that_mixes(node: dict[str, Any], reads: str | None) -> str | None:
    """Return the uppermost operator that is not known to keep the order.

    ``reads`` is what is said of a table that is read.
    """
    name, children = str(node["name"]), node["children"]
    if name in SORTING:
        return None
    if not children:
        return reads
    if name not in KEEPING:
        return name
    found = (_first_that_mixes(child, reads) for child in children)
    return next((each for each in found if each is not None), None)
