from __future__ import annotations

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import dfml
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    EstimatorTypeError,
    InputTypeError,
    QueryError,
)
from tests.conftest import FEATURES
from tests.sql_functions.conftest import column, fitted

# The same answers as in Python

LABELS = {
    "text": ("VARCHAR", lambda late: late),
    "integer": ("BIGINT", lambda late: np.where(late == "yes", 7, -3)),
    "boolean": ("BOOLEAN", lambda late: (late == "yes").to_numpy()),
    "double": ("DOUBLE", lambda late: np.where(late == "yes", 1.0, 2.0)),
    "object": ("VARCHAR", lambda late: late.astype(object).to_numpy()),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_keep_their_type(con, table, kind):
    sql_type, make = LABELS[kind]
    model = SGDClassifier(random_state=0).fit(table[FEATURES], make(table["late"]))

    dfml.register(con, "late", model)

    assert column(con, "late(t)") == model.predict(table[FEATURES]).tolist()
    assert [str(t) for t in con.sql("SELECT late(t) FROM t").types] == [sql_type]
    answered = dfml.predict_sql(model, con.table("t"))
    assert [str(answered.types[-1])] == [sql_type]
    assert column(con, "prediction", answered) == column(con, "late(t)")


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        RandomForestClassifier(5, random_state=0),
        HistGradientBoostingRegressor(max_iter=5),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=lambda e: type(e).__name__,
)
def test_predictions(con, table, estimator):
    target = "late" if hasattr(estimator, "predict_proba") else "amount"
    model = fitted(table, estimator, target)
    expected = model.predict(table[FEATURES])

    dfml.register(con, "f", model)
    answered = dfml.predict_sql(model, con.sql("FROM t"))

    compare = np.testing.assert_array_equal
    if target == "amount":  # BLAS rounds by the number of rows
        compare = np.testing.assert_allclose
    compare(column(con, "f(t)"), expected)
    compare(column(con, "prediction", answered), expected)


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba"])
def test_probabilities_are_a_struct_with_a_field_a_class(con, table, method):
    model = fitted(table)
    prefix = method.removeprefix("predict_").replace("proba", "probability")
    names = [f"{prefix}_no", f"{prefix}_yes"]

    dfml.register(con, "p", model, method=method)
    answered = dfml.predict_sql(model, con.table("t"), method=method)

    expected = pd.DataFrame(getattr(model, method)(table[FEATURES]), columns=names)
    got = pd.DataFrame(column(con, "p(t)"))
    pd.testing.assert_frame_equal(got, expected)
    assert answered.columns == [*con.table("t").columns, *names]
    pd.testing.assert_frame_equal(answered.order("id").df()[names], expected)


def test_other_methods(con, table):
    model = fitted(table)
    dfml.register(con, "d", model, method="decision_function")
    np.testing.assert_allclose(
        column(con, "d(t)"), model.decision_function(table[FEATURES])
    )

    pca = PCA(2).fit(table[FEATURES])
    dfml.register(con, "pca", pca, method="transform")
    got = pd.DataFrame(column(con, "pca(t)"))
    assert list(got.columns) == ["pca0", "pca1"]
    np.testing.assert_allclose(got, pca.transform(table[FEATURES]))


def test_several_targets(con, table):
    model = LinearRegression().fit(table[FEATURES], table[["amount", "weight"]])
    dfml.register(con, "f", model)

    got = pd.DataFrame(column(con, "f(t)"))

    np.testing.assert_allclose(got, model.predict(table[FEATURES]))


def test_probabilities_of_several_targets_in_one_array(con, table):
    targets = table[["a", "b"]] > table[["a", "b"]].median()
    model = ClassifierChain(LogisticRegression()).fit(table[FEATURES], targets)
    names = ["probability_0", "probability_1"]

    dfml.register(con, "p", model, method="predict_proba")
    answered = dfml.predict_sql(model, con.table("t"), method="predict_proba")

    expected = pd.DataFrame(model.predict_proba(table[FEATURES]), columns=names)
    pd.testing.assert_frame_equal(pd.DataFrame(column(con, "p(t)")), expected)
    pd.testing.assert_frame_equal(answered.order("id").df()[names], expected)


def test_model_trained_lazily(con, table):
    frame = dd.from_pandas(table[[*FEATURES, "late"]], npartitions=3)
    model = dfml.Incremental(SGDClassifier(random_state=0)).fit(frame, y="late")

    dfml.register(con, "late", model)

    assert column(con, "late(t)") == model.predict(table[FEATURES]).tolist()


def text_pipeline():
    steps = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), ("passthrough", ["a", "b"])
    )
    return make_pipeline(steps, LogisticRegression())


@pytest.mark.parametrize("wrap", [lambda m: m, dfml.ParallelPostFit])
def test_text_columns_of_a_model_fitted_elsewhere(con, table, wrap):
    rows = con.sql("SELECT b, city, a FROM t ORDER BY id").df()
    model = text_pipeline().fit(rows, table["late"])

    dfml.register(con, "late", wrap(model))

    (function,) = dfml.registered(con)
    assert function.fields == {"b": "DOUBLE", "city": "VARCHAR", "a": "DOUBLE"}
    expected = model.predict(rows).tolist()
    assert column(con, "late(t)") == expected
    assert column(con, "late({'city': city::ENUM('York', 'Bath'), 'a': a, 'b': b})")
    answered = dfml.predict_sql(model, con.table("t"))
    assert column(con, "prediction", answered) == expected


def test_text_columns_of_a_model_trained_lazily(con, table):
    query = con.sql("SELECT a, city, b, a > b AS late FROM t")
    frame = dfml.read_sql(query, npartitions=2)
    model = dfml.IID(text_pipeline()).fit(frame, y="late")

    dfml.register(con, "late", model)

    rows = con.sql("SELECT a, city, b FROM t ORDER BY id").df()
    assert column(con, "late(t)") == model.predict(rows).tolist()


def test_text_is_found_in_vectorizers_and_imputers(con):
    rows = pd.DataFrame({"s": ["x y", "z w", "x"], "u": ["p", "q", "p"], "n": 1.0})
    steps = make_column_transformer(
        (CountVectorizer(token_pattern="."), "s"),
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent"),
                OneHotEncoder(),
            ),
            [1],
        ),
        ("passthrough", slice("n", "n")),
    )
    model = make_pipeline(steps, LogisticRegression()).fit(
        rows.astype(object), [0, 1, 0]
    )

    dfml.register(con, "f", model)

    fields = dfml.registered(con)[0].fields
    assert fields == {"s": "VARCHAR", "u": "VARCHAR", "n": "DOUBLE"}


def test_categories_of_boosted_histograms_fitted_in_memory(con, table):
    rows = con.sql("SELECT id, a, city FROM t ORDER BY id").df()
    features = rows[["a", "city"]].astype({"city": "category"})
    model = HistGradientBoostingClassifier(max_iter=3).fit(features, table["late"])
    dfml.register(con, "f", model)

    assert dfml.registered(con)[0].fields == {"a": "DOUBLE", "city": "VARCHAR"}
    expected = model.predict(features).tolist()
    assert column(con, "f(t)") == expected
    answered = dfml.predict_sql(model, con.table("t"))
    assert column(con, "prediction", answered) == expected


@pytest.mark.parametrize(
    ("zone", "kind"),
    [(None, "TIMESTAMP"), ("UTC", "TIMESTAMP WITH TIME ZONE")],
)
def test_times_that_an_encoder_has_learnt_in_memory(con, zone, kind):
    days = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-01"])
    rows = pd.DataFrame({"day": days.tz_localize(zone), "n": [1.0, 2.0, 4.0]})
    encoder = make_column_transformer(
        (OneHotEncoder(), ["day"]), remainder="passthrough"
    )
    model = make_pipeline(encoder, LinearRegression()).fit(rows, [1, 2, 3])
    con.from_arrow(pa.Table.from_pandas(rows.assign(id=rows.index))).create("days")
    dfml.register(con, "f", model)

    assert dfml.registered(con)[0].fields == {"day": kind, "n": "DOUBLE"}
    np.testing.assert_allclose(column(con, "f(t)", "days"), model.predict(rows))


def test_times(con):
    frame = dfml.read_sql(
        "SELECT TIMESTAMP '2020-01-01' + INTERVAL (i) HOUR AS at, i % 2 = 0 AS late "
        "FROM range(100) r(i)",
        con,
    )
    model = dfml.IID(make_pipeline(HourOfDay(), LogisticRegression()))
    model.fit(frame, y="late")

    dfml.register(con, "f", model)

    got = con.execute("SELECT f({'at': DATE '2020-01-03'})").fetchone()
    assert got == (
        bool(model.predict(pd.DataFrame({"at": [pd.Timestamp(2020, 1, 3)]}))),
    )


class HourOfDay(StandardScaler):
    """A step that takes times."""

    def fit(self, X, y=None):
        return super().fit(self._hours(X))

    def transform(self, X):
        return super().transform(self._hours(X))

    def _hours(self, X):
        return X["at"].dt.hour.to_numpy(dtype="float64").reshape(-1, 1)


# Fields by name


@pytest.mark.parametrize(
    "row",
    [
        "t",
        "{'a': a, 'b': b, 'c': c}",
        "{'c': c, 'a': a, 'b': b}",
        "{'C': c, 'z': 'ignored', 'A': a, 'b': b}",
        "struct_pack(b := b, c := c, a := a)",
        "row(a, b, c)::STRUCT(a DOUBLE, b DOUBLE, c DOUBLE)",
    ],
)
def test_order_and_further_fields_do_not_matter(con, table, row):
    model = fitted(table)
    dfml.register(con, "late", model)

    assert column(con, f"late({row})") == model.predict(table[FEATURES]).tolist()


def test_numbers_of_any_type(con, table):
    dfml.register(con, "f", LinearRegression().fit(table[FEATURES], table["a"]))
    for one in ["1", "1::DECIMAL(9, 3)", "true", "1::UTINYINT", "1::HUGEINT", "'1'"]:
        got = con.execute(f"SELECT round(f({{'a': {one}, 'b': {one}, 'c': 0::FLOAT}}))")
        assert got.fetchone() == (1,)


@pytest.mark.parametrize("row", ["{'a': a, 'c': c}", "t"])
def test_a_missing_field_fails_when_bound(con, table, row):
    dfml.register(con, "late", fitted(table))

    with pytest.raises(duckdb.BinderException, match='key "b"'):
        con.sql(
            f"SELECT late({row}), error('a row was read') FROM (SELECT a, c FROM t) t"
        )


@pytest.mark.parametrize(
    "argument", ["a", "3", "row(a, b, c)", "[a]", "'{}'::JSON", "MAP {'a': 1}"]
)
def test_what_is_no_struct_of_names_fails_when_bound(con, table, argument):
    dfml.register(con, "late", fitted(table))

    with pytest.raises(duckdb.BinderException, match="struct"):
        con.sql(f"SELECT late({argument}), error('a row was read') FROM t")


@pytest.mark.parametrize("arguments", ["a, b, c", "a := a, b := b, c := c", ""])
def test_positional_arguments_fail_when_bound(con, table, arguments):
    dfml.register(con, "late", fitted(table))

    with pytest.raises(duckdb.BinderException, match=r"with the fields a, b, c\)"):
        con.sql(f"SELECT late({arguments}), error('a row was read') FROM t")


def test_many_fields_are_not_all_listed_when_arguments_are_wrong(con):
    names = [f"a long name {i}" for i in range(40)]
    rows = pd.DataFrame(np.eye(2, 40), columns=names)
    dfml.register(con, "f", LinearRegression().fit(rows, [0, 1]))

    with pytest.raises(duckdb.BinderException, match="a long name 7") as failure:
        con.sql("SELECT f(1, 2)")
    assert "a long name 39" not in str(failure.value)


def test_only_needed_columns_are_read(con, table, tmp_path):
    con.sql("FROM t").write_parquet(str(tmp_path / "t.parquet"))
    dfml.register(con, "late", LogisticRegression().fit(table[["b"]], table["late"]))

    ((_, plan),) = con.sql(
        f"EXPLAIN SELECT late(t) FROM '{tmp_path}/t.parquet' t"
    ).fetchall()

    assert "Projections: b " in plan


def test_table_function(con, table):
    model = fitted(table)
    dfml.register(con, "late", model)
    dfml.register(con, "p", model, method="predict_proba")
    names = con.table("t").columns

    assert con.sql("FROM late_table('t')").columns == [*names, "prediction"]
    assert con.sql("FROM p_table('t')").columns == [
        *names,
        "probability_no",
        "probability_yes",
    ]
    got = con.sql("SELECT prediction FROM late_table('t') ORDER BY id").fetchall()
    assert [value for (value,) in got] == model.predict(table[FEATURES]).tolist()


# NULL


def test_null_is_nan_to_the_model(con, table):
    model = fitted(table, HistGradientBoostingClassifier(max_iter=5))
    dfml.register(con, "late", model)
    holes = table[FEATURES].mask(table[FEATURES] > 0.5).assign(id=table["id"])
    holes = holes[holes[FEATURES].notna().any(axis=1)]
    con.register("holes", holes)
    con.execute("CREATE TABLE h AS FROM holes")

    expected = model.predict(holes[FEATURES]).tolist()

    assert column(con, "late(t)", "h") == expected
    assert column(con, "prediction", "late_table('h')") == expected
    answered = dfml.predict_sql(model, con.table("h"))
    assert column(con, "prediction", answered) == expected


def test_model_that_refuses_nan_fails_with_the_columns(con, table):
    model = fitted(table)
    dfml.register(con, "late", model)

    with pytest.raises(
        duckdb.Error,
        match=r"late of LogisticRegression failed.*NULL or NaN: \['b'\].*contains NaN",
    ):
        con.sql("SELECT late({'a': 1, 'b': NULL, 'c': 2})").fetchall()
    answered = dfml.predict_sql(model, con.sql("SELECT a, NULL AS b, c FROM t"))
    with pytest.raises(
        duckdb.Error,
        match=r"predict_sql of LogisticRegression failed.*NaN: \['b'\].*contains NaN",
    ):
        answered.fetchall()
    assert con.sql("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_a_row_without_a_value_has_no_answer(con, table, method):
    model = fitted(table)
    dfml.register(con, "late", model, method=method)

    assert con.sql("SELECT late(NULL)").fetchall() == [(None,)]
    nothing = "SELECT late({'a': NULL, 'b': NULL, 'c': NULL})"
    assert con.sql(nothing).fetchall() == [(None,)]
    joined = con.sql(
        "SELECT r.i AS id, t.a, t.b, t.c, late(t) AS answer FROM range(995, 1005) r(i) "
        "LEFT JOIN t ON t.id = r.i ORDER BY r.i"
    )
    answers = [row[-1] for row in joined.fetchall()]
    assert answers[:5] == [None] * 5
    assert None not in answers[5:]
    batched = dfml.predict_sql(model, joined, method=method, prefix="batched_")
    found = batched.order("id").df().filter(like="batched_")
    assert found.isna().all(axis=1).tolist() == [True] * 5 + [False] * 5


# Names on a connection

INNER = (
    "SELECT count(*) FROM duckdb_functions() "
    "WHERE function_name LIKE '$_dfml%' ESCAPE '$'"
)


def test_a_name_that_is_taken(con, table):
    dfml.register(con, "late", fitted(table))

    with pytest.raises(QueryError, match="replace=True"):
        dfml.register(con, "LATE", fitted(table))
    for name in ["sum", "struct_extract", "range"]:
        with pytest.raises(QueryError, match="choose another name"):
            dfml.register(con, name, fitted(table), replace=True)
    con.execute("CREATE MACRO mine_table(x) AS TABLE SELECT x")
    with pytest.raises(QueryError, match="mine_table"):
        dfml.register(con, "mine", fitted(table), replace=True)
    assert [each.name for each in dfml.registered(con)] == ["late"]


def test_replace_and_unregister(con, table):
    dfml.register(con, "late", fitted(table), replace=True)
    dfml.register(
        con, "late", fitted(table, LinearRegression(), "amount"), replace=True
    )

    assert con.table("t").project("late(t)").types == ["DOUBLE"]
    assert con.sql(INNER).fetchall() == [(1,)]
    (function,) = dfml.registered(con)
    assert (function.name, function.model) == ("late", "LinearRegression")
    assert (function.method, function.returns) == ("predict", "DOUBLE")

    dfml.unregister(con, "Late")

    assert dfml.registered(con) == []
    assert con.sql(INNER).fetchall() == [(0,)]
    for query in ["SELECT late(t) FROM t", "FROM late_table('t')"]:
        with pytest.raises(duckdb.CatalogException):
            con.sql(query)
    with pytest.raises(QueryError, match="nothing to remove"):
        dfml.unregister(con, "late")


def test_functions_belong_to_their_connection(con, table):
    dfml.register(con, "late", fitted(table))
    cursor = con.cursor()

    assert dfml.registered(cursor) == []
    dfml.register(cursor, "late", fitted(table, GaussianNB()))

    assert [each.model for each in dfml.registered(cursor)] == ["GaussianNB"]
    assert [each.model for each in dfml.registered(con)] == ["LogisticRegression"]
    assert column(cursor, "late(t)") == (
        fitted(table, GaussianNB()).predict(table[FEATURES]).tolist()
    )


def test_nothing_is_left_in_a_database_file(table, tmp_path):
    path = str(tmp_path / "warehouse.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a, 2 AS b, 3 AS c")
        dfml.register(connection, "late", fitted(table))
    with duckdb.connect(path, read_only=True) as connection:
        assert dfml.registered(connection) == []
        dfml.register(connection, "late", fitted(table))
        assert connection.execute("SELECT late(t) IN ('yes', 'no') FROM t").fetchone()[
            0
        ]


def test_a_rolled_back_transaction_leaves_nothing(con, table):
    con.begin()
    dfml.register(con, "late", fitted(table))
    con.rollback()

    assert dfml.registered(con) == []
    dfml.register(con, "late", fitted(table))


@pytest.mark.parametrize("call", ["replace", "unregister", "both"])
def test_a_rolled_back_transaction_brings_a_function_back(con, table, call):
    model = fitted(table)
    dfml.register(con, "late", model)
    other = fitted(table, LinearRegression(), "amount")

    con.begin()
    if call != "replace":
        dfml.unregister(con, "late")
    if call != "unregister":
        dfml.register(con, "late", other, replace=True)
    con.rollback()

    # DuckDB has it again: a function that was let go of would crash the process.
    assert [each.model for each in dfml.registered(con)] == ["LogisticRegression"]
    assert column(con, "late(t)") == model.predict(table[FEATURES]).tolist()
    dfml.register(con, "late", other, replace=True)
    assert con.table("t").project("late(t)").types == ["DOUBLE"]
    assert con.sql(INNER).fetchall() == [(1,)]


def test_what_a_transaction_has_replaced_goes_after_it(con, table):
    dfml.register(con, "late", fitted(table))
    con.begin()
    dfml.register(con, "late", fitted(table), replace=True)
    con.commit()
    dfml.unregister(con, "late")

    assert con.sql(INNER).fetchall() == [(0,)]


def test_connections_that_cannot_work(con, table):
    model = fitted(table)
    dfml.register(con, "late", model)
    calls = {
        "register": lambda c: dfml.register(c, "other", model),
        "registered": dfml.registered,
        "unregister": lambda c: dfml.unregister(c, "late"),
    }

    con.begin()
    with pytest.raises(duckdb.Error):
        con.execute("SELECT error('x')")
    for name, call in calls.items():
        with pytest.raises(QueryError, match=rf"^{name} expects[\s\S]*rollback"):
            call(con)
    con.rollback()
    con.execute("FROM t").fetchone()
    for name, call in calls.items():
        with pytest.raises(QueryError, match=rf"^{name} expects[\s\S]*open result"):
            call(con)
    con.close()
    for name, call in calls.items():
        with pytest.raises(QueryError, match=rf"^{name} expects[\s\S]*open connection"):
            call(con)


def test_wrong_arguments(con, table):
    model = fitted(table)
    with pytest.raises(InputTypeError, match="connection"):
        dfml.register("here", "late", model)
    with pytest.raises(InputTypeError, match="name"):
        dfml.register(con, "", model)
    message = r"that LogisticRegression has\. Got (?s:.*) choose among \['predict', "
    with pytest.raises(EstimatorTypeError, match=message):
        dfml.register(con, "late", model, method="transform")
    scaler = StandardScaler().fit(table[FEATURES])
    with pytest.raises(EstimatorTypeError, match="inverse_transform"):
        dfml.register(con, "late", scaler, method="inverse_transform")
    bare = LinearRegression().fit(table[FEATURES].to_numpy(), table["amount"])
    with pytest.raises(ColumnMismatchError, match="column names"):
        dfml.register(con, "late", bare)
    rows = table.rename(columns={"b": "A"})[["a", "A"]]
    alike = LinearRegression().fit(rows, table["amount"])
    with pytest.raises(ColumnMismatchError, match="tell apart"):
        dfml.register(con, "late", alike)
    labels = np.where(table["late"] == "yes", "yes", "YES")
    two = LogisticRegression().fit(table[FEATURES], labels)
    with pytest.raises(ColumnCollisionError, match="probability_YES"):
        dfml.register(con, "late", two, method="predict_proba")
    with pytest.raises(NotFittedError, match="LogisticRegression"):
        dfml.register(con, "late", LogisticRegression())
    for no_model in [LogisticRegression, len]:
        with pytest.raises(EstimatorTypeError, match="a fitted estimator"):
            dfml.register(con, "late", no_model)
    with pytest.raises(InputTypeError, match="relation"):
        dfml.predict_sql(model, table)
    assert dfml.registered(con) == []


@pytest.mark.parametrize(
    "estimator",
    [
        VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]),
        BaggingClassifier(LogisticRegression(), 3, random_state=0),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2),
        make_pipeline(make_pipeline(StandardScaler()), LogisticRegression()),
    ],
    ids=lambda e: type(e).__name__,
)
def test_estimators_inside_estimators_keep_their_names(con, table, estimator):
    model = fitted(table, estimator)
    dfml.register(con, "late", model)

    assert column(con, "late(t)") == model.predict(table[FEATURES]).tolist()
    assert list(model.feature_names_in_) == FEATURES
