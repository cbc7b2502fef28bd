"""What users read when a model cannot answer in SQL."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import OneHotEncoder

import dfml
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    EstimatorTypeError,
    InputTypeError,
    QueryError,
    UnknownOutputError,
)
from tests.conftest import FEATURES
from tests.sql_functions.conftest import column, fitted


def run_each_way(con, model, message, **how):
    """Expect one message of a registered function and of predict_sql."""
    dfml.register(con, "f", model, **how)
    with pytest.raises(duckdb.Error, match=message) as registered:
        con.sql("SELECT f(t) FROM t").fetchall()
    with pytest.raises(duckdb.Error, match=message) as streamed:
        dfml.predict_sql(model, con.table("t"), prefix="new_", **how).fetchall()
    return str(registered.value), str(streamed.value)


class Failing(RegressorMixin, BaseEstimator):
    """Answers two rows, and fails for more of them in a way of its own."""

    def __init__(self, error=None):
        self.error = error

    def fit(self, X, y=None):
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        return self

    def predict(self, X):
        if len(X) > 2:
            raise self.error
        return np.zeros(len(X))


class Growing(Failing):
    """Answers with as many columns as there are rows."""

    def transform(self, X):
        return np.zeros((len(X), len(X)))


class Silent(Failing):
    """Does not answer two rows, and knows no names of its columns."""

    def transform(self, X):
        raise self.error


def test_the_class_of_the_model_is_named(con, table):
    model = fitted(table, Failing(ValueError("too many rows")))
    registered, streamed = run_each_way(con, model, "ValueError: too many rows")
    assert "f of Failing failed. " in registered
    assert "predict_sql of Failing failed. " in streamed


@pytest.mark.parametrize("value", ["NULL", "'nan'::DOUBLE"])
def test_the_columns_that_hold_no_value_are_named(value):
    rows = pd.DataFrame({"a": [0.0, 1.0], "n": [1.0, 0.0]})
    model = LogisticRegression().fit(rows, [0, 1])
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t AS SELECT 1.0 AS a, {value} AS n")
    run_each_way(con, model, r"These columns hold NULL or NaN: \['n'\]")


@pytest.mark.parametrize("model", ["model.skops", LinearRegression, None])
def test_what_is_no_model(con, model):
    for call in (
        lambda: dfml.register(con, "f", model),
        lambda: dfml.predict_sql(model, con.table("t")),
        lambda: dfml.export_sql(model),
    ):
        with pytest.raises(EstimatorTypeError, match="expects a fitted estimator"):
            call()


def test_relation_of_a_closed_connection(table):
    model = fitted(table)
    con = duckdb.connect()
    relation = con.sql("SELECT 1 AS a, 2 AS b, 3 AS c")
    con.close()
    lazy = dfml.ParallelPostFit(model)
    for call in (dfml.read_sql, lazy.predict, lambda r: dfml.predict_sql(model, r)):
        with pytest.raises(QueryError, match="pass an open connection"):
            call(relation)


def test_outputs_of_one_name_cannot_be_named_by_register(con):
    rows = pd.DataFrame({"c": pd.Series(["nan", np.nan], dtype=object)})
    encoder = OneHotEncoder().fit(rows)
    with pytest.raises(ColumnCollisionError, match="rename the columns or classes"):
        dfml.register(con, "encode", encoder, method="transform")
    with pytest.raises(ColumnCollisionError, match="pass name=, prefix="):
        dfml.predict_sql(encoder, con.sql("SELECT 'nan' AS c"), method="transform")


def test_half_a_character_in_a_message(con, table):
    model = fitted(table, Failing(ValueError("half \ud83d of it")))
    run_each_way(con, model, r"Failing failed. ValueError: half \\ud83d of it")


def test_text_and_numbers_in_one_answer(con):
    rows = con.sql("SELECT city, a FROM t").df()
    mixed = make_column_transformer(
        (SimpleImputer(strategy="most_frequent"), ["city"]), remainder="passthrough"
    )
    table = con.table("t").project("city, a")
    for output in ("default", "pandas"):
        mixed.set_output(transform=output).fit(rows)
        options = {"method": "transform", "prefix": "new_"}
        found = dfml.predict_sql(mixed, table, **options).df().iloc[:, 2:]
        pd.testing.assert_frame_equal(found.set_axis(rows.columns, axis=1), rows)
        dfml.register(con, "filled", mixed, method="transform", replace=True)
        found = con.sql("SELECT unnest(filled(t)) FROM t").df()
        pd.testing.assert_frame_equal(found.set_axis(rows.columns, axis=1), rows)


def test_what_is_no_option_in_sql_is_no_hint(con, table):
    growing = fitted(table, Growing())
    for text in run_each_way(con, growing, "UnknownOutputError", method="transform"):
        assert "meta=" not in text.partition("Traceback")[0]
    silent = fitted(table, Silent(ValueError("no")))
    with pytest.raises(
        UnknownOutputError, match=r"Silent, which does not say them\.\n\nHint: fit it"
    ):
        dfml.register(con, "g", silent, method="transform")
    assert list(silent.feature_names_in_) == FEATURES


@pytest.mark.parametrize(
    ("labels", "query", "names", "hint"),
    [
        (
            ["A", "a"],
            "FROM t",
            ["probability_A", "probability_a"],
            "rename the classes before fit",
        ),
        (
            ["x", "y"],
            'FROM (SELECT a, b, c FROM t), (SELECT 1 AS "B")',
            ["B", "b"],
            "rename the columns in the SQL",
        ),
        (
            ["x", "y"],
            "SELECT a, b, c, 1 AS Probability_x FROM t",
            ["Probability_x", "probability_x"],
            "pass name= or prefix=, or rename the columns in the SQL",
        ),
    ],
    ids=["outputs", "inputs", "both"],
)
def test_names_that_sql_does_not_tell_apart(con, table, labels, query, names, hint):
    model = LogisticRegression().fit(
        table[FEATURES], np.where(table["late"] == "yes", *labels)
    )
    message = re.escape(f"Got {names}, which SQL does not tell apart.\n\nHint: {hint}.")
    with pytest.raises(ColumnCollisionError, match=f"{message}$"):
        dfml.predict_sql(model, con.sql(query), method="predict_proba")


def test_names_that_sql_does_not_take(con, table):
    model = LogisticRegression().fit(
        table[FEATURES], np.where(table["late"] == "yes", "y\0y", "n")
    )
    for call in (
        lambda: dfml.register(con, "f", model, method="predict_proba"),
        lambda: dfml.predict_sql(model, con.table("t"), method="predict_proba"),
        lambda: dfml.export_sql(model, "t", method="predict_proba"),
    ):
        with pytest.raises(ColumnMismatchError, match=r"y.x00y[\s\S]* the classes"):
            call()
    model = fitted(table)
    for call in (
        lambda: dfml.register(con, "\ud800", model),
        lambda: dfml.predict_sql(model, con.table("t"), name="\ud800"),
        lambda: dfml.export_sql(model, "t", prefix="\ud800"),
    ):
        with pytest.raises(InputTypeError, match=r"text that SQL takes. Got '.ud800'"):
            call()
    for how in ({"table": "\ud800"}, {"table": "t", "keep": ["\ud800"]}):
        with pytest.raises(InputTypeError, match="ud800"):
            dfml.export_sql(model, **how)


def test_labels_in_half_precision(con, table):
    labels = np.where(table["late"] == "yes", 3, 2).astype("float16")
    model = LogisticRegression().fit(table[FEATURES], labels)
    expected = model.predict(table[FEATURES]).tolist()

    dfml.register(con, "f", model)
    exported = con.sql(dfml.export_sql(model, "t"))

    assert dfml.registered(con)[0].returns == "FLOAT"
    assert column(con, "f(t)") == expected
    answered = dfml.predict_sql(model, con.table("t"))
    for relation in (answered, exported):
        assert column(con, "prediction", relation) == expected


def test_names_that_export_sql_uses_itself(con):
    names = ["dfml: row", "dfml: row answered", "dfml: 0"]
    rows = con.sql("SELECT id, a, b, c FROM t").df().set_axis(["id", *names], axis=1)
    con.from_arrow(pa.Table.from_pandas(rows)).create("odd")
    model = LinearRegression().fit(rows[names], rows["id"])

    exported = con.sql(dfml.export_sql(model, "odd"))

    expected = model.predict(rows[names])
    np.testing.assert_allclose(column(con, "prediction", exported), expected)
