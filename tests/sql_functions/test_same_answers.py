"""Odd columns, names and models: all ways into SQL answer as the model does."""

from __future__ import annotations

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import dfml
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    DfmlError,
    EstimatorTypeError,
    UnknownOutputError,
)
from dfml.sql_functions import _steps


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def answers(con, model, table):
    """Ask all ways that take the model for their answers to the rows of a table."""
    dfml.register(con, "answer", model, replace=True)
    return {
        "register": con.sql(f"SELECT answer(r) FROM {table} r").fetchall(),
        "predict_sql": dfml.predict_sql(model, con.table(table))
        .project("prediction")
        .fetchall(),
        "export_sql": con.sql(dfml.export_sql(model, table, keep=[])).fetchall(),
    }


def encoded(encoder, model, columns=("s",)):
    return make_pipeline(
        make_column_transformer((encoder, list(columns)), remainder="passthrough"),
        model,
    )


@pytest.mark.parametrize("missing", [-999.0, np.float64(-999), float("inf"), -999])
def test_imputers_of_other_values_than_nan_are_refused(missing):
    X = pd.DataFrame({"a": [1.0, 2, 3, -999, 5, 6], "b": [0.0, 1, 2, 3, 4, 5]})
    imputer = SimpleImputer(missing_values=missing)
    with np.errstate(all="ignore"):
        model = make_pipeline(imputer, DecisionTreeRegressor(max_depth=2))
        model.fit(X, [1, 2, 3, 40, 5, 6])

    with pytest.raises(EstimatorTypeError, match="imputers of NaN"):
        dfml.export_sql(model, "t")


@pytest.mark.parametrize("setting", ["NOCASE", ""])
def test_categories_differ_by_case_whatever_the_collation(con, setting):
    con.execute(f"SET default_collation='{setting}'")
    con.execute("CREATE TABLE c(s VARCHAR COLLATE nocase)")
    con.execute("INSERT INTO c VALUES ('A')")
    X = pd.DataFrame({"s": ["a", "A"]})
    model = make_pipeline(OneHotEncoder(), DecisionTreeClassifier())
    model.fit(X, ["low", "high"])

    assert answers(con, model, "c") == {
        "register": [("high",)],
        "predict_sql": [("high",)],
        "export_sql": [("high",)],
    }


def test_only_the_case_of_ascii_letters_is_ignored(con):
    X = pd.DataFrame({"maß": [1.0, 2, 3], "x": [1.0, 0, 1]})
    model = LinearRegression().fit(X, [10.0, 20, 30])

    con.execute("CREATE TABLE mass AS SELECT 100.0 AS mass, 1.0 AS X")
    with pytest.raises(ColumnMismatchError, match=r"missing: .'maß'"):
        dfml.predict_sql(model, con.table("mass"))
    con.execute('CREATE TABLE both_ AS SELECT 2.0 AS "maß", 100.0 AS mass, 1.0 AS X')
    expected = [(pytest.approx(20.0),)]
    assert answers(con, model, "both_") == {
        "register": expected,
        "predict_sql": expected,
        "export_sql": expected,
    }
    dfml.register(con, "f", model.fit(X.rename(columns={"x": "mass"}), [1.0, 2, 3]))


def test_a_table_does_not_stand_for_a_column_of_its_name(con):
    X = pd.DataFrame({"city": ["x", "y", "x"], "n": [1.0, 2, 3]})
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = encoded(encoder, LinearRegression(), ["city"]).fit(X, [0.0, 10, 1])
    con.execute("CREATE TABLE city AS SELECT 1.0 AS n")

    with pytest.raises(duckdb.BinderException, match="city"):
        con.sql(dfml.export_sql(model, "city"))


def test_classes_that_sql_cannot_tell_apart_are_refused(con):
    model = DecisionTreeClassifier().fit(pd.DataFrame({"x": [0.0, 1, 2]}), list("aAa"))

    with pytest.raises(ColumnCollisionError, match="probability_A"):
        dfml.export_sql(model, "u", method="predict_proba")
    con.execute("CREATE TABLE u AS SELECT 1.0 AS x")
    assert set(map(tuple, answers(con, model, "u").values())) == {(("A",),)}


@pytest.mark.parametrize("unknown", ["error", "ignore"])
def test_null_is_none_where_the_model_knows_none(con, unknown):
    values = pd.Series(["x", "y", None, "x", "y", None], dtype=object)
    X = pd.DataFrame({"s": values, "n": [1.0, 2, 3, 4, 5, 6]})
    encoder = OneHotEncoder(handle_unknown=unknown)
    model = encoded(encoder, LinearRegression()).fit(X, [0.0, 0, 10, 0, 0, 10])
    con.execute("CREATE TABLE t AS SELECT NULL::VARCHAR AS s, 3.0 AS n")

    expected = [(pytest.approx(10.0),)]
    assert answers(con, model, "t") == {
        "register": expected,
        "predict_sql": expected,
        "export_sql": expected,
    }


@pytest.mark.parametrize("known", ["x y None", "x y nan", "x y None nan"])
@pytest.mark.parametrize(
    "encoder",
    [
        OrdinalEncoder(encoded_missing_value=-5),
        OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=-7,
        ),
        OneHotEncoder(drop="first"),
        OneHotEncoder(handle_unknown="ignore"),
    ],
)
def test_codes_of_what_is_missing(con, encoder, known):
    values = {"None": None, "nan": np.nan}
    s = pd.Series([values.get(each, each) for each in known.split()] * 9, dtype=object)
    X = pd.DataFrame({"s": s, "n": np.arange(len(s)) % 2.0})
    model = encoded(encoder, LinearRegression()).fit(X, np.arange(len(s)) % 4)
    con.execute("CREATE TABLE t AS FROM (VALUES ('x', 1), (NULL, 1), ('y', 0)) t(s, n)")

    missing = np.nan if "nan" in known else None
    s = pd.Series(["x", missing, "y"], dtype=object)
    expected = model.predict(pd.DataFrame({"s": s, "n": [1.0, 1, 0]}))
    for found in answers(con, model, "t").values():
        np.testing.assert_allclose([answer for (answer,) in found], expected)


@pytest.mark.parametrize(
    "encoder", [OneHotEncoder(), OrdinalEncoder(encoded_missing_value=-5)]
)
def test_numbers_that_are_missing_are_a_category(con, encoder):
    X = pd.DataFrame({"s": [1.0, np.nan, 2.0] * 9, "n": np.arange(27) % 2.0})
    model = encoded(encoder, LinearRegression()).fit(X, np.arange(27) % 4)
    con.register("t", X)

    expected = model.predict(X)
    for found in answers(con, model, "t").values():
        np.testing.assert_allclose([answer for (answer,) in found], expected)


def test_an_encoder_that_forgets_what_is_missing_is_noticed(monkeypatch):
    def forget(column, known):
        return ["FALSE" if pd.isna(v) else f"{column} = '{v}'" for v in known]

    s = pd.Series(["x", None, "y"] * 3, dtype=object)
    X = pd.DataFrame({"s": s, "n": np.arange(9.0)})
    model = encoded(OrdinalEncoder(), LogisticRegression()).fit(X, [0, 0, 1] * 3)
    monkeypatch.setattr(_steps, "_conditions", forget)
    with pytest.raises(EstimatorTypeError, match="SQL that answers as the model does"):
        dfml.export_sql(model, "t")


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
)
def test_flags_are_categories(con, encoder):
    model = make_pipeline(encoder, LogisticRegression())
    model.fit(pd.DataFrame({"s": [True, False, True, False]}), [1, 0, 1, 1])
    con.execute("CREATE TABLE t AS FROM (VALUES (true), (false)) t(s)")

    found = answers(con, model, "t")
    assert found["export_sql"] == found["predict_sql"] == found["register"]


class Odd(RegressorMixin, BaseEstimator):
    """Answers more or fewer rows than it gets, but for the two of a probe."""

    def __init__(self, more=1):
        self.more = more

    def fit(self, X, y=None):
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        answers = np.asarray(X)[:, 0]
        return answers if len(X) == 2 else np.resize(answers, len(X) + self.more)


@pytest.mark.parametrize("more", [1, -1])
def test_each_row_has_an_answer(con, more, tmp_path):
    model = Odd(more).fit(pd.DataFrame({"a": [1.0], "b": [1.0]}))
    con.execute("CREATE TABLE t AS SELECT i::DOUBLE AS a, 1.0 AS b FROM range(5) r(i)")
    con.execute("INSERT INTO t VALUES (NULL, NULL)")
    dfml.register(con, "f", model)

    message = rf"an answer for each of 5 rows.*{5 + more} answers"
    with pytest.raises(duckdb.Error, match=r"(?s)" + message):
        con.sql("SELECT f(t) FROM t").fetchall()
    with pytest.raises((duckdb.Error, DfmlError), match=r"(?s)" + message):
        dfml.predict_sql(model, con.table("t")).fetchall()
    rows = pd.DataFrame({"a": range(5), "b": 1.0})
    with pytest.raises(UnknownOutputError, match=r"(?s)Odd.predict.*" + message):
        dfml.ParallelPostFit(model).predict(dd.from_pandas(rows)).compute()
    rows.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UnknownOutputError, match=r"(?s)" + message):
        dfml.predict_table(model, tmp_path / "rows.parquet", tmp_path / "scored")
