"""What models fitted in memory have learnt about columns of text, on lazy tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

import dfml
from dfml.exceptions import ColumnMismatchError

TREE = DecisionTreeClassifier(random_state=0)
ONE_HOT = OneHotEncoder(handle_unknown="ignore")
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
FILL = SimpleImputer(missing_values=None, strategy="constant", fill_value="none")


def encoded(*steps):
    columns = make_column_transformer(
        (make_pipeline(*steps), ["city"]), remainder="passthrough"
    )
    return make_pipeline(columns, TREE)


MODELS = {
    "one-hot": encoded(ONE_HOT),
    "ordinal": encoded(ORDINAL),
    "imputer": encoded(FILL, ONE_HOT),
    "union": encoded(make_union(ONE_HOT, ORDINAL)),
    "search": GridSearchCV(encoded(ONE_HOT), {}, cv=2),
    "identity": make_pipeline(FunctionTransformer(), encoded(ONE_HOT)),
    "threshold": FixedThresholdClassifier(encoded(ONE_HOT), pos_label="a"),
    "one against the rest": OneVsRestClassifier(encoded(ONE_HOT)),
    "voting": VotingClassifier([("a", encoded(ONE_HOT)), ("b", encoded(ORDINAL))]),
}


@pytest.fixture(scope="module")
def rows():
    """Text with None, as objects: only what is missing tells the label."""
    city = pd.Series(["x", None, "y", None] * 6, dtype=object)
    n = np.arange(24.0) % 3
    return pd.DataFrame(
        {"city": city, "n": n, "label": np.where(city.isna(), "a", "b")}
    )


@pytest.fixture(scope="module", params=list(MODELS))
def model(request, rows):
    return clone(MODELS[request.param]).fit(rows[["city", "n"]], rows["label"])


@pytest.mark.parametrize("dtype", ["str", "string", "category", object])
def test_missing_text_of_a_lazy_table_is_none_to_such_models(model, rows, dtype):
    frame = dd.from_pandas(rows.astype({"city": dtype}), npartitions=3)

    owner = dfml.ParallelPostFit(model)
    assert_array_equal(owner.predict(frame).compute(), rows["label"])
    assert owner.score(frame, y="label") == 1


def test_missing_text_of_a_lake_is_none_to_such_models(model, rows, tmp_path):
    rows.to_parquet(tmp_path / "rows.parquet")
    target = tmp_path / "scored"

    dfml.predict_table(model, tmp_path / "rows.parquet", target, name="p")
    scored = pd.read_parquet(target)
    assert_array_equal(scored["p"], scored["label"])


def test_missing_text_in_sql_is_none_to_such_models(model, rows):
    with duckdb.connect() as con:
        con.register("seen", rows.astype({"city": "str"}))
        con.execute("CREATE TABLE t AS FROM seen")
        dfml.register(con, "p", model)
        wrong = "SELECT count(*) FROM t WHERE p(t) <> label"
        assert con.sql(wrong).fetchall() == [(0,)]
        answered = dfml.predict_sql(model, con.table("t"))
        assert answered.filter("prediction <> label").fetchall() == []


@pytest.mark.parametrize("encoder", [ONE_HOT, ORDINAL])
def test_exported_encoders_know_none(encoder, rows):
    model = encoded(encoder).fit(rows[["city", "n"]], rows["label"])
    with duckdb.connect() as con:
        con.register("seen", rows.astype({"city": "str"}))
        con.execute("CREATE TABLE t AS FROM seen")
        answered = con.sql(dfml.export_sql(model, "t"))
        assert answered.filter("prediction <> label").fetchall() == []


def test_numbers_among_objects(rows):
    X = pd.DataFrame({"k": pd.Series([1.0, None, 2.0, None], dtype=object)})
    model = make_pipeline(ONE_HOT, TREE).fit(X, list("bcba"[:2] * 2))
    frame = dd.from_pandas(X.astype("float64"), npartitions=2)

    answers = dfml.ParallelPostFit(model).predict(frame).compute()
    assert answers.tolist() == model.predict(X).tolist() == list("bcbc")
    with duckdb.connect() as con:
        query = con.sql("SELECT * FROM (VALUES (1.0), (NULL), (2.0)) t(k)")
        found = dfml.predict_sql(model, query).fetchall()
    assert [label for _, label in found][::2] == ["b", "b"]


def test_kinds_are_those_of_the_categories(rows):
    X = rows[["city", "n"]].fillna({"city": "z"})
    model = make_pipeline(ONE_HOT, TREE).fit(X, rows["label"])
    lazy = dfml.ParallelPostFit(model)
    lazy.predict(dd.from_pandas(X.astype({"n": "category"}), npartitions=2))
    lazy.predict(dd.from_pandas(X.astype({"n": "Int8"}), npartitions=2))
    for wrong, message in [
        (X.assign(city=1), "'city' is int64, was text"),
        (X.astype({"n": "str"}), "'n' is str.*, was a number"),
    ]:
        with pytest.raises(ColumnMismatchError, match=message):
            lazy.predict(dd.from_pandas(wrong, npartitions=2))


@pytest.mark.parametrize("outer", [MultiOutputClassifier, OneVsRestClassifier])
def test_models_of_several_pipelines_in_sql(rows, outer):
    X, y = rows[["city", "n"]], rows["label"]
    model = outer(encoded(ONE_HOT))
    model.fit(X, y.to_frame() if outer is MultiOutputClassifier else y)
    with duckdb.connect() as con:
        con.register("t", rows.astype({"city": "str"}))
        found = dfml.predict_sql(model, con.table("t"), prefix="my_").df()
    assert_array_equal(found.iloc[:, -1], y)


def test_columns_that_a_model_drops_are_of_any_kind_in_sql(rows):
    X = rows.assign(note="text")
    chosen = make_column_transformer((ONE_HOT, ["city"]), ("drop", ["note"]))
    model = make_pipeline(chosen, TREE).fit(X.drop(columns="label"), X["label"])
    with duckdb.connect() as con:
        con.register("t", X.astype({"city": "str"}))
        found = dfml.predict_sql(model, con.table("t")).df()
    assert_array_equal(found["prediction"], X["label"])


def test_nan_stays_nan_where_the_model_knows_both():
    city = pd.Series(["x", None, np.nan, "y"], dtype=object)
    X, y = pd.DataFrame({"city": city}), [0, 1, 2, 3]
    model = make_pipeline(ORDINAL, TREE).fit(X, y)
    frame = dd.from_pandas(X, npartitions=2)

    answers = dfml.ParallelPostFit(model).predict(frame)
    assert answers.compute()[2] == model.predict(X)[2] == 2


@pytest.mark.parametrize("learnt", [None, 1, {"a": [None]}, [None, None], [1]])
@pytest.mark.parametrize(
    "attribute", ["categories_", "transformers_", "named_estimators_", "estimators_"]
)
def test_what_others_mean_by_these_names(rows, attribute, learnt):
    class Other(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            setattr(self, attribute, learnt)
            return self

        def predict(self, X):
            return np.where(X["n"] > 1, *self.classes_)

    X = rows[["n"]]
    model = dfml.ParallelPostFit(Other().fit(X, rows["label"]))
    answers = model.predict(dd.from_pandas(X, npartitions=2)).compute()
    assert_array_equal(answers, np.where(X["n"] > 1, "a", "b"))


def test_the_rows_of_the_caller_stay_as_they_are(rows):
    X = rows[["city", "n"]].astype({"city": "str"})
    before = X.copy()
    model = encoded(ONE_HOT).fit(rows[["city", "n"]], rows["label"])
    frame = dd.from_pandas(X, npartitions=1, sort=False)
    dfml.ParallelPostFit(model).predict(frame).compute(scheduler="synchronous")
    pd.testing.assert_frame_equal(X, before)


def test_answers_of_text_and_numbers_keep_their_types(rows, tmp_path):
    X = rows[["city", "n"]].fillna({"city": "z"})
    filled = SimpleImputer(strategy="most_frequent")
    mixed = make_column_transformer((filled, ["city"]), remainder="passthrough")
    frame = dd.from_pandas(X, npartitions=2)

    lazy = dfml.ParallelPostFit(mixed.fit(X)).transform(frame)
    assert lazy.dtypes.map(str).tolist() == ["str", "float64"]
    answer = lazy.compute()
    assert answer.dtypes.map(str).tolist() == ["str", "float64"]
    assert_array_equal(answer.to_numpy(), mixed.transform(X))
    X.to_parquet(tmp_path / "rows.parquet")
    target = tmp_path / "filled"
    dfml.predict_table(
        mixed, tmp_path / "rows.parquet", target, method="transform", keep=[]
    )
    assert_array_equal(pd.read_parquet(target).to_numpy(), mixed.transform(X))


def test_codes_of_an_encoder_of_integers_are_integers(rows):
    X = rows[["city"]].fillna("z")
    model = OrdinalEncoder(dtype="int32").fit(X)
    lazy = dfml.ParallelPostFit(model).transform(dd.from_pandas(X, npartitions=2))
    assert lazy.dtypes.tolist() == lazy.compute().dtypes.tolist() == ["int32"]


@pytest.mark.parametrize(
    "values", [[Decimal("1.5"), Decimal(2)], [date(2020, 1, 1), date(2021, 1, 1)]]
)
def test_encoders_of_objects_that_tables_have_no_type_for(values, tmp_path):
    X = pd.DataFrame({"c": pd.Series(values * 2, dtype=object)})
    model = make_pipeline(ONE_HOT, TREE).fit(X, list("abab"))
    lazy = dfml.ParallelPostFit(model)
    with dask.config.set({"dataframe.convert-string": False}):
        same = dd.from_pandas(X, npartitions=2)
        assert_array_equal(lazy.predict(same).compute(), list("abab"))
    with pytest.raises(ColumnMismatchError, match="'c' is string, was of another kind"):
        lazy.predict(dd.from_pandas(X, npartitions=2))

    with duckdb.connect() as con:
        con.register("t", X)
        (tmp_path / "x").mkdir()
        con.sql("FROM t").write_parquet(str(tmp_path / "x" / "t.parquet"))
        with pytest.raises(
            ColumnMismatchError, match=r"'c' is .+, was of another kind"
        ):
            dfml.predict_table(model, tmp_path / "x", tmp_path / "scored")
        with pytest.raises(ColumnMismatchError, match="'c' is of another kind"):
            dfml.predict_sql(model, con.table("t"))
    assert not (tmp_path / "scored").exists()


@pytest.mark.parametrize(
    "first",
    [
        FunctionTransformer(lambda X: X.rename(columns=str.upper)),
        ColumnTransformer([("all", "passthrough", ["city"])]),
        ColumnTransformer(
            [("all", "passthrough", ["city"])], verbose_feature_names_out=False
        ).set_output(transform="pandas"),
    ],
    ids=["renamed", "passed on", "passed on as frame"],
)
def test_none_is_known_behind_other_steps(first, rows):
    X = rows[["city"]].astype(object).where(rows[["city"]].notna(), None)
    model = make_pipeline(clone(first), ONE_HOT, TREE).fit(X, rows["city"].isna())
    expected = rows["city"].isna().to_numpy()
    assert_array_equal(model.predict(X), expected)

    frame = dd.from_pandas(rows[["city"]], npartitions=2)
    assert_array_equal(dfml.ParallelPostFit(model).predict(frame).compute(), expected)
