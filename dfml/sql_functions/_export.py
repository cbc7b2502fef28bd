"""A model as SQL text, tried against the model before anybody gets it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfml.exceptions import (
    ColumnCollisionError,
    EstimatorTypeError,
    InputTypeError,
)
from dfml.sources._columns import folded, quoted
from dfml.sql_functions._answer import SqlModel, make_sql_model
from dfml.sql_functions._conversion import REFUSED, Limits, convert
from dfml.sql_functions._fields import free_name, is_text
from dfml.sql_functions._sample import Sample, call_quietly, make_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

__all__ = ["export_sql"]

_ROW = "dfml: row"
_FINITE = Limits(missing=False, infinite=False, above_single=True)


def export_sql(
    model: Any,
    table: str | Sequence[str] = "input",
    *,
    method: str = "predict",
    keep: Iterable[str] | None = None,
    name: str | None = None,
    prefix: str | None = None,
    dialect: str = "duckdb",
) -> str:
    """Write a fitted model as one SELECT, which needs neither Python nor dfml.

    Linear models, trees, forests and boosted trees, alone or behind scalers, imputers
    and encoders in a Pipeline and a ColumnTransformer.

    Parameters
    ----------
    model : estimator
        Fitted on a table with column names, of dfml or scikit-learn.
    table : str or sequence of str, default="input"
        The table, view or common table expression that is read. A string is one name,
        whatever is in it; ``("lake", "customers")`` is a name with its schema. Any
        relation takes the place of the name in ``relation.query("input", sql)``.
    method : str, default="predict"
        ``predict``, ``predict_proba``, ``predict_log_proba``, ``decision_function`` or
        ``transform``.
    keep : iterable of str, optional
        Columns of the table to select; all by default.
    name : str, optional
        Name of the single output column.
    prefix : str, optional
        Put before the names of all output columns.
    dialect : str, default="duckdb"
        The SQL to write. There is no other yet.

    Returns
    -------
    sql : str
        A SELECT of the columns that are kept and the answers, whose names and types are
        those of :func:`predict_sql`.

    Raises
    ------
    EstimatorTypeError
        If a part of the model has no SQL, if its trees have more than 10,000 nodes, or
        if the SQL does not answer as the model does.
    ColumnMismatchError
        If the model was fitted without column names, or on ones SQL cannot tell apart.
    ColumnCollisionError
        If an output column has the name of a column in `keep`.

    See Also
    --------
    predict_sql : Answers of any model for a whole relation.
    register : Any model as a SQL function.

    Notes
    -----
    Before it is returned the SQL is run, in a database of its own, on some thousand
    rows made of what the model has learnt: thresholds and their neighbours, a row for
    each leaf, categories, missing and infinite values. Labels have to be equal, numbers
    to nine digits, and the same rows refused.

    **NULL** is treated as in :func:`register`: it is NaN to the model. A row that the
    model refuses fails the query with the values; a row without any value has NULL for
    an answer.

    Examples
    --------
    >>> import duckdb, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> import dfml
    >>> rows = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [5.0, 1.0, 0.0]})
    >>> model = LinearRegression().fit(rows, rows["a"] - rows["b"])
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE points AS SELECT 7 AS id, 1 AS b, 3 AS a")
    >>> sql = dfml.export_sql(model, "points", name="gap")
    >>> con.sql(sql).project("id, round(gap)").fetchall()
    [(7, 2.0)]
    """
    import duckdb

    if dialect != "duckdb":
        raise InputTypeError.expecting(
            "export_sql", "dialect='duckdb'", repr(dialect), "leave it out"
        )
    source = _source(table)
    sql_model = make_sql_model("export_sql", model, method, name=name, prefix=prefix)
    _check_fields(sql_model)
    kept = _names(keep)
    _check_kept(kept, sql_model)
    with duckdb.connect() as connection:
        types = connection.from_arrow(sql_model.outputs.empty_table()).types
        # What has no SQL is found out before the model is called.
        convert(sql_model, "rows", dict.fromkeys(sql_model.fields, _FINITE), types)
        sample = make_sample(sql_model)
        _check(connection, sql_model, sample, types)
    converted = convert(sql_model, source, sample.limits, types, kept or ())
    return converted.select(kept)


def _source(table: object) -> str:
    parts = list(table) if isinstance(table, (list, tuple)) else [table]
    names = [each for each in parts if isinstance(each, str)]
    if len(names) == len(parts) > 0:
        if all(name and is_text(name) for name in names):
            return ".".join(quoted(name) for name in names)
        got = repr(table)
    else:  # the repr of a relation would run its query
        types = ", ".join(type(each).__name__ for each in parts)
        got = f"{types or 'no part'} in its place"
    raise InputTypeError.expecting(
        "export_sql",
        "the name of a table, or its parts",
        got,
        'pass "customers" or ("lake", "customers"); predict_sql takes a relation',
    )


def _check_fields(model: SqlModel) -> None:
    """Refuse columns of times, which become numbers inside the model alone."""
    times = [n for n, kind in model.fields.items() if kind.startswith("TIMESTAMP")]
    if times:
        raise EstimatorTypeError.expecting(
            "export_sql",
            "a model of numbers and text",
            f"times in {times}",
            "use register or predict_sql, or train on numbers, epoch(t) in SQL",
        )


def _names(keep: Iterable[str] | None) -> list[str] | None:
    """Return the columns to keep as a list: an iterator gives them only once."""
    if keep is None:
        return None
    is_list = isinstance(keep, Iterable) and not isinstance(keep, str)
    given = list(keep) if is_list else [keep]
    names = [each for each in given if is_text(each)]
    if is_list and len(names) == len(given):
        return names
    raise InputTypeError.expecting(
        "export_sql",
        "keep to list column names",
        repr(given if is_list else keep),
        "pass keep=['id']",
    )


def _check_kept(keep: list[str] | None, model: SqlModel) -> None:
    # Of a table that is kept whole, the columns that the model takes are known.
    kept = list(model.fields) if keep is None else keep
    names = [*kept, *model.outputs.names]
    counts = Counter(map(folded, names))
    twice = [each for each in names if counts[folded(each)] > 1]
    if twice:
        raise ColumnCollisionError.expecting(
            "export_sql",
            "kept columns and outputs whose names are different, whatever their case",
            f"{twice} twice",
            "pass name=, prefix= or a shorter keep=",
        )


def _check(
    connection: duckdb.DuckDBPyConnection,
    model: SqlModel,
    sample: Sample,
    types: Sequence[Any],
) -> None:
    """Run the SQL on a sample, and compare with what the model answers."""
    rows = pa.concat_tables([sample.answered, sample.refused])
    number = free_name(_ROW, model.fields)
    numbered = rows.append_column(number, pa.array(range(len(rows))))
    connection.register("rows", numbered)
    converted = convert(model, "rows", sample.limits, types)
    is_answered = f"{converted.is_answered(REFUSED)} AS {quoted(number + ' answered')}"
    sql = converted.query.select([quoted(number)], [is_answered, *converted.outputs])
    found = connection.sql(sql).to_arrow_table().sort_by(number)
    n_answered = len(sample.answered)
    wanted = pa.array(
        [False, *[True] * (n_answered - 1)] + [None] * len(sample.refused)
    )
    differs = ~_equal(found.column(1), wanted)
    expected = call_quietly(model, sample.answered)
    for column, values in zip(found.columns[2:], expected, strict=True):
        # The first row holds no value; nobody asks what SQL computes of it.
        head = column.slice(1, n_answered - 1)
        differs[1:n_answered] |= ~_equal(head, values.slice(1))
    if differs.any():
        (row,) = rows.slice(int(np.argmax(differs)), 1).to_pylist()
        raise EstimatorTypeError.expecting(
            "export_sql",
            "SQL that answers as the model does",
            f"other answers in {differs.sum()} of {len(rows)} rows, as {row}",
            "use register or predict_sql for this model",
        )


def _equal(found: Any, wanted: Any) -> np.ndarray:
    """Compare values: numbers to nine digits, or six of a FLOAT."""
    if pa.types.is_floating(wanted.type):
        digits = 1e-6 if wanted.type == pa.float32() else 1e-9
        left, right = (np.asarray(each, dtype="f8") for each in (found, wanted))
        close = np.isclose(left, right, rtol=digits, atol=digits, equal_nan=True)
        return np.asarray(close)
    alike = pc.fill_null(pc.equal(found, wanted), False)
    both_null = pc.and_(pc.is_null(found), pc.is_null(wanted))
    return np.asarray(pc.or_(alike, both_null), dtype=bool)
