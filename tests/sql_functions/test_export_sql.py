from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import dfml
import dfml.iid.preprocessing
import dfml.iid.tree
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    EstimatorTypeError,
    InputTypeError,
)
from dfml.sql_functions import _linear, _trees
from tests.conftest import FEATURES
from tests.sql_functions.conftest import column, fitted

# Of scikit-learn, where a probability is zero, a number large, a category unknown.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in ("divide by zero", "invalid value", "overflow", "Found unknown")
]

LABELS = {
    "text": ("VARCHAR", lambda late: np.where(late == "yes", "it's", 'a "no"')),
    "integer": ("BIGINT", lambda late: np.where(late == "yes", 7, -3)),
    "small": ("TINYINT", lambda late: np.where(late == "yes", 7, -3).astype("int8")),
    "large": (
        "UBIGINT",
        lambda late: np.where(late == "yes", np.uint64(2**63 + 1), np.uint64(0)),
    ),
    "boolean": ("BOOLEAN", lambda late: (late == "yes").to_numpy()),
    "double": ("DOUBLE", lambda late: np.where(late == "yes", 2.0, -1.0)),
    "three": (
        "VARCHAR",
        lambda late: np.where(np.arange(len(late)) % 3 == 0, "maybe", late),
    ),
}
CLASSIFIERS = [
    LogisticRegression(),
    SGDClassifier(loss="log_loss", random_state=0),
    SGDClassifier(loss="modified_huber", random_state=0),
    DecisionTreeClassifier(max_depth=5),
    RandomForestClassifier(7, max_depth=4, random_state=0),
    ExtraTreesClassifier(5, max_depth=4, random_state=0),
    GradientBoostingClassifier(n_estimators=6),
    HistGradientBoostingClassifier(max_iter=6),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
# Those that have no probabilities.
DECIDERS = [Perceptron(random_state=0), RidgeClassifier(), LinearSVC(random_state=0)]
REGRESSORS = [
    LinearRegression(),
    Ridge(),
    Lasso(0.5),
    ElasticNet(),
    SGDRegressor(random_state=0),
    DecisionTreeRegressor(max_depth=5),
    RandomForestRegressor(5, max_depth=4, random_state=0),
    GradientBoostingRegressor(n_estimators=6, init="zero"),
    GradientBoostingRegressor(loss="huber", n_estimators=6),
    HistGradientBoostingRegressor(max_iter=6),
    make_pipeline(StandardScaler(), MinMaxScaler(clip=True), Ridge()),
]
by_name = {"ids": lambda e: type(e).__name__}


def exported(con, model, source="t", **how):
    """Run the SQL of a model; return its outputs in the order of the rows."""
    relation = con.sql(dfml.export_sql(model, source, **how))
    return relation.order("id").project(", ".join(f'"{n}"' for n in relation.columns))


def outputs(relation, before):
    frame = relation.order("id").df()
    return frame[[name for name in frame.columns if name not in before]]


# The same answers


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("estimator", CLASSIFIERS + DECIDERS, **by_name)
def test_labels_are_equal_and_keep_their_type(con, table, estimator, kind):
    sql_type, make = LABELS[kind]
    model = estimator.fit(table[FEATURES], make(table["late"]))

    relation = con.sql(dfml.export_sql(model, "t", name="p"))

    assert relation.columns == [*con.table("t").columns, "p"]
    assert str(relation.types[-1]) == sql_type
    assert column(con, "p", relation) == model.predict(table[FEATURES]).tolist()


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("kind", ["integer", "three"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, **by_name)
def test_probabilities(con, table, estimator, kind, method):
    model = estimator.fit(table[FEATURES], LABELS[kind][1](table["late"]))
    if not hasattr(model, method):
        pytest.skip("scikit-learn does not have it")

    answered = dfml.predict_sql(model, con.table("t"), method=method)
    relation = con.sql(dfml.export_sql(model, "t", method=method))

    assert (relation.columns, relation.types) == (answered.columns, answered.types)
    names = con.table("t").columns
    np.testing.assert_allclose(
        outputs(relation, names),
        getattr(model, method)(table[FEATURES]),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("kind", ["boolean", "three"])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        GradientBoostingClassifier(n_estimators=6),
        HistGradientBoostingClassifier(max_iter=6),
        *DECIDERS,
    ],
    **by_name,
)
def test_decisions(con, table, estimator, kind):
    model = estimator.fit(table[FEATURES], LABELS[kind][1](table["late"]))

    relation = con.sql(dfml.export_sql(model, "t", method="decision_function"))

    got = outputs(relation, con.table("t").columns)
    expected = model.decision_function(table[FEATURES]).reshape(len(table), -1)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("estimator", REGRESSORS, **by_name)
def test_numbers(con, table, estimator):
    model = fitted(table, estimator, "amount")

    relation = con.sql(dfml.export_sql(model, "t", keep=["id"]))

    assert relation.columns == ["id", "prediction"]
    np.testing.assert_allclose(
        column(con, "prediction", relation), model.predict(table[FEATURES]), rtol=1e-9
    )


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeRegressor(max_depth=5),
        RandomForestRegressor(300, max_depth=2, random_state=0),
        GradientBoostingRegressor(n_estimators=300, max_depth=1),
        HistGradientBoostingRegressor(max_iter=6),
    ],
    **by_name,
)
def test_trees_give_the_same_bits(con, table, estimator):
    model = fitted(table, estimator, "amount")

    relation = con.sql(dfml.export_sql(model, "t"))

    got = column(con, "prediction", relation)
    assert got == model.predict(table[FEATURES]).tolist()


@pytest.mark.parametrize(
    "estimator",
    [
        PoissonRegressor(),
        GammaRegressor(),
        TweedieRegressor(power=1.5),
        TweedieRegressor(power=0),
        TweedieRegressor(power=1.5, link="identity"),
        make_pipeline(StandardScaler(), PoissonRegressor()),
        HistGradientBoostingRegressor(loss="poisson", max_iter=6),
        HistGradientBoostingRegressor(loss="gamma", max_iter=6),
        HistGradientBoostingRegressor(loss="absolute_error", max_iter=6),
        GradientBoostingRegressor(loss="quantile", n_estimators=6),
    ],
    **by_name,
)
def test_losses_with_a_link(con, table, estimator):
    model = estimator.fit(table[FEATURES], np.exp(table["amount"]) + 20)

    relation = con.sql(dfml.export_sql(model, "t"))

    np.testing.assert_allclose(
        column(con, "prediction", relation), model.predict(table[FEATURES]), rtol=1e-12
    )


def test_a_loss_without_probabilities_in_sql_is_named(table):
    model = fitted(table, GradientBoostingClassifier(loss="exponential"))
    dfml.export_sql(model, "t")
    with pytest.raises(EstimatorTypeError, match="loss='exponential'"):
        dfml.export_sql(model, "t", method="predict_proba")


def test_several_targets(con, table):
    model = LinearRegression().fit(table[FEATURES], table[["amount", "weight"]])

    relation = con.sql(dfml.export_sql(model, "t", prefix="my_"))

    assert relation.columns[-2:] == ["my_prediction_0", "my_prediction_1"]
    got = outputs(relation, con.table("t").columns)
    np.testing.assert_allclose(got, model.predict(table[FEATURES]))


def test_of_dfml(con, frame, table):
    incremental = dfml.Incremental(SGDClassifier(random_state=0))
    incremental.fit(frame[[*FEATURES, "late"]], y="late")
    first = dfml.iid.tree.DecisionTreeClassifier(max_depth=3)
    first.fit(frame[[*FEATURES, "late"]], y="late")
    sampled = dfml.IID(LogisticRegression()).fit(frame[FEATURES], frame["late"])
    held = dfml.ParallelPostFit(fitted(table))

    for model in (incremental, first, sampled, held):
        relation = con.sql(dfml.export_sql(model, "t"))
        expected = model.predict(table[FEATURES]).tolist()
        assert column(con, "prediction", relation) == expected


def test_of_dfml_inside_a_pipeline(con, table):
    encoder = make_column_transformer(
        (dfml.iid.preprocessing.OneHotEncoder(), ["city"]),
        (dfml.Incremental(StandardScaler()), ["a"]),
    )
    rows = con.sql("SELECT city, a FROM t ORDER BY id").df()
    last = dfml.Incremental(SGDClassifier(random_state=0))
    model = make_pipeline(encoder, last).fit(rows, table["late"])

    relation = con.sql(dfml.export_sql(model, "t"))

    assert column(con, "prediction", relation) == model.predict(rows).tolist()


def test_a_thousand_columns(con):
    names = [f"x{i}" for i in range(1000)]
    rows = pd.DataFrame(
        np.random.default_rng(0).normal(size=(50, 1000)), columns=names
    ).assign(id=range(50))
    con.register("wide", rows)
    model = LogisticRegression().fit(rows[names], rows["x3"] > 0)

    relation = con.sql(dfml.export_sql(model, "wide"))

    assert column(con, "prediction", relation) == model.predict(rows[names]).tolist()


# Ties, extremes and the edges of float32


def test_an_answer_beyond_float32_is_infinite():
    con = duckdb.connect()
    rows = con.sql("SELECT (i / 10)::FLOAT AS a, exp(i / 10) AS y FROM range(50) r(i)")
    model = dfml.IID(PoissonRegressor(alpha=0)).fit(rows, "y")
    con.execute("CREATE TABLE input AS SELECT unnest([-1, 1, 100, 800, NULL]) AS a")
    answers = con.sql(dfml.export_sql(model)).df()["prediction"]
    expected = dfml.predict_sql(model, con.table("input")).df()["prediction"]
    assert answers.dtype == expected.dtype
    # Some versions of scikit-learn answer in float64, where 100 is not beyond.
    assert np.isinf(answers[2]) == (answers.dtype == "float32")
    assert np.isinf(answers[3])
    assert answers.isna().tolist() == [False] * 4 + [True]
    np.testing.assert_allclose(answers, expected, rtol=1e-5)


def near(values):
    """Return numbers, their neighbours, and what float32 makes of them."""
    values = np.asarray(values, dtype="float64")
    single = values.astype("float32")
    beside = [np.nextafter(single, np.float32(s)).astype("f8") for s in (-9e9, 9e9)]
    found = [values, single.astype("f8"), *beside]
    found += [(each + single) / 2 for each in beside]
    found += [np.nextafter(each, s) for each in list(found) for s in (-np.inf, np.inf)]
    return np.unique(np.concatenate(found))


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(),
        RandomForestClassifier(5, random_state=0),
        GradientBoostingClassifier(n_estimators=5),
        HistGradientBoostingClassifier(max_iter=5),
    ],
    **by_name,
)
@pytest.mark.parametrize("digits", [1, 17])
def test_ties_at_thresholds(con, table, estimator, digits):
    values = table[["a"]].round(digits)
    model = estimator.fit(values, table["late"])
    trees = [tree for stage in _trees.trees_of(model) for tree in stage]
    thresholds = np.concatenate([t.threshold[t.left >= 0] for t in trees])
    rows = pd.DataFrame({"a": near([*thresholds, *values["a"]])})
    rows["id"] = np.arange(len(rows))
    con.register("ties", rows)

    relation = con.sql(dfml.export_sql(model, "ties", name="p"))

    assert column(con, "p", relation) == model.predict(rows[["a"]]).tolist()


@given(
    limit=st.floats(allow_nan=False, width=64, min_value=-1e38, max_value=1e38),
    value=st.floats(allow_nan=False, allow_infinity=False, width=64),
    near_limit=st.booleans(),
)
@example(limit=0.1, value=0.0, near_limit=True)
@example(limit=float(np.float32(0.1)), value=0.0, near_limit=True)
def test_limits_in_double(limit, value, near_limit):
    values = near([limit]) if near_limit else np.array([value])
    sign, in_double = _trees._in_double(limit)

    with np.errstate(over="ignore"):
        expected = values.astype("float32").astype("float64") <= limit

    got = values <= in_double if sign == "<=" else values < in_double
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), DecisionTreeClassifier(max_depth=5)], **by_name
)
def test_extremes(con, table, estimator):
    model = fitted(table, estimator)
    extremes = [0.0, -0.0, 5e-324, -1e-310, 1e-38, 1e38, -1e38, 3.4028235677973362e38]
    rows = pd.DataFrame(
        [[a, b, c] for a in extremes for b in extremes for c in (0.0, 1.0)],
        columns=FEATURES,
    )
    rows["id"] = range(len(rows))
    con.register("extremes", rows)

    relation = con.sql(dfml.export_sql(model, "extremes"))

    expected = model.predict(rows[FEATURES]).tolist()
    assert column(con, "prediction", relation) == expected


@pytest.mark.parametrize(
    ("estimator", "refused"),
    [
        (LogisticRegression(), ["NULL", "'nan'", "'inf'", "'-inf'"]),
        (DecisionTreeClassifier(), ["'inf'", "'-inf'", "1e39", "-1e300"]),
        (GradientBoostingClassifier(), ["NULL", "'nan'", "'inf'", "1e39"]),
        (HistGradientBoostingClassifier(max_iter=5), []),
        (make_pipeline(SimpleImputer(), LogisticRegression()), ["'inf'"]),
        (
            make_pipeline(StandardScaler(), DecisionTreeClassifier()),
            ["'inf'", "'-inf'", "-1e300"],
        ),
    ],
    ids=lambda e: type(e).__name__,
)
def test_the_same_rows_are_refused(con, table, estimator, refused):
    model = fitted(table, estimator)
    values = ["NULL", "'nan'", "'inf'", "'-inf'", "1e39", "-1e300", "1"]
    sql = dfml.export_sql(model, "odd")

    for value in values:
        con.execute(
            f"CREATE OR REPLACE VIEW odd AS SELECT 1 AS id, 2::TINYINT AS a, "
            f"{value}::DOUBLE AS b, 3.5 AS c"
        )
        row = con.sql("SELECT a, b, c FROM odd").df().astype("float64")
        try:
            expected = model.predict(row).tolist()
        except ValueError:
            with pytest.raises(duckdb.Error, match="model refuses: b = "):
                con.sql(sql).fetchall()
        else:
            assert value not in refused
            assert column(con, "prediction", con.sql(sql)) == expected


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), HistGradientBoostingClassifier(max_iter=3)],
    **by_name,
)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_a_row_without_a_value_has_no_answer(con, table, estimator, method):
    model = fitted(table, estimator)
    con.execute(
        "CREATE VIEW joined AS SELECT r.i AS id, t.a, t.b, t.c "
        "FROM range(995, 1005) r(i) LEFT JOIN t ON t.id = r.i"
    )

    sql = dfml.export_sql(model, "joined", method=method)

    got = outputs(con.sql(sql), ["id", "a", "b", "c"])
    assert got.isna().all(axis=1).tolist() == [True] * 5 + [False] * 5


def test_missing_values_that_a_model_takes(con, table):
    holes = table[FEATURES].mask(table[FEATURES] > 0.5).assign(id=table["id"])
    holes = holes[holes[FEATURES].notna().any(axis=1)]
    con.register("as_null", holes)
    con.execute(
        "CREATE TABLE as_nan AS SELECT * REPLACE (coalesce(a, 'nan'::DOUBLE) AS a) "
        "FROM as_null"
    )
    late = table.loc[holes.index, "late"]
    for estimator in (
        HistGradientBoostingClassifier(max_iter=8),
        RandomForestClassifier(5, random_state=0),
        make_pipeline(SimpleImputer(strategy="median"), LogisticRegression()),
    ):
        model = estimator.fit(holes[FEATURES], late)
        expected = model.predict(holes[FEATURES]).tolist()
        for source in ("as_null", "as_nan"):
            relation = con.sql(dfml.export_sql(model, source))
            assert column(con, "prediction", relation) == expected


# Steps before the model


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler((-2, 3)),
        MinMaxScaler(clip=True),
        MaxAbsScaler(),
        RobustScaler(with_centering=False),
        make_pipeline(SimpleImputer(strategy="constant", fill_value=3), "passthrough"),
        FunctionTransformer(),
    ],
    **by_name,
)
def test_transformers_give_the_same_bits(con, table, scaler):
    rows = table[["id", *FEATURES]].assign(half=lambda t: t["a"] / 2)
    model = scaler.fit(rows[:300][FEATURES])
    con.register("scaled", rows)

    sql = dfml.export_sql(
        model, "scaled", method="transform", prefix="new_", keep=["id"]
    )

    got = con.sql(sql).order("id").df().drop(columns="id")
    np.testing.assert_array_equal(got, model.transform(rows[FEATURES]))


def city_rows(con):
    return con.sql("SELECT id, city, a, b, (id % 3)::INT AS n FROM t ORDER BY id").df()


@pytest.mark.parametrize("last", [LogisticRegression(), DecisionTreeClassifier()])
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(drop="first", sparse_output=False),
        OneHotEncoder(drop="if_binary", handle_unknown="ignore"),
        OrdinalEncoder(),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
    ids=repr,
)
def test_encoders(con, table, encoder, last):
    rows = city_rows(con)
    steps = make_column_transformer(
        (encoder, ["city", "n"]),
        (StandardScaler(), ["b"]),
        ("drop", ["id"]),
        remainder="passthrough",
    )
    model = make_pipeline(steps, last).fit(rows, table["late"])
    con.execute(
        "CREATE TABLE towns AS SELECT id, city, a, b, (id % 3)::INT AS n FROM t"
    )
    sql = dfml.export_sql(model, "towns")

    expected = model.predict(rows).tolist()
    assert column(con, "prediction", con.sql(sql)) == expected

    for change in ("city = 'Leeds'", "n = 7", "city = NULL"):
        con.execute("CREATE OR REPLACE TABLE towns AS FROM towns LIMIT 1")
        con.execute(f"UPDATE towns SET {change}")
        row = con.sql("FROM towns").df()
        try:
            expected = model.predict(row).tolist()
        except ValueError:
            with pytest.raises(duckdb.Error, match="The model refuses: "):
                con.sql(sql).fetchall()
        else:
            assert column(con, "prediction", con.sql(sql)) == expected


def test_missing_text(con, table):
    rows = city_rows(con).assign(city=lambda r: r["city"].where(r["a"] > 0))
    encoders = {
        "category": OneHotEncoder(),
        "imputed": make_pipeline(
            SimpleImputer(strategy="most_frequent"), OneHotEncoder()
        ),
        "ordinal": OrdinalEncoder(encoded_missing_value=-5),
    }
    con.register("towns", rows)
    for encoder in encoders.values():
        steps = make_column_transformer((encoder, ["city"]), ("passthrough", ["a"]))
        model = make_pipeline(steps, DecisionTreeClassifier(max_depth=4))
        model.fit(rows, table["late"])
        relation = con.sql(dfml.export_sql(model, "towns"))
        expected = model.predict(rows).tolist()
        assert column(con, "prediction", relation) == expected


@pytest.mark.parametrize(
    ("values", "filled", "unknown"), [("AB", "zz", "Q"), ([1.0, 2.0], -1, 7.0)]
)
def test_an_imputer_whose_value_the_encoder_behind_it_does_not_know(
    values, filled, unknown
):
    imputer = SimpleImputer(strategy="constant", fill_value=filled)
    encoder = make_column_transformer(
        (make_pipeline(imputer, OneHotEncoder()), ["s"]), remainder="passthrough"
    )
    rows = pd.DataFrame({"s": list(values) * 50, "n": 1.0})
    model = make_pipeline(encoder, LogisticRegression()).fit(rows, [0, 1] * 50)
    con = duckdb.connect()
    con.register("known", rows)
    con.register("missing", rows.assign(s=None).astype(rows.dtypes))
    con.register("unknown", rows.assign(s=unknown))

    answered = con.sql(dfml.export_sql(model, "known"))
    assert answered.df()["prediction"].tolist() == [0, 1] * 50
    for table in ("missing", "unknown"):
        with pytest.raises(
            duckdb.Error, match=r"The model refuses: .*, an unknown category"
        ):
            con.sql(dfml.export_sql(model, table)).fetchall()


def test_an_unknown_category_is_told_with_its_column():
    rows = pd.DataFrame({"s": ["a", "b"] * 50, "it's": ["b", "c"] * 50})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, [0, 1] * 50)
    con = duckdb.connect()
    con.execute("""CREATE TABLE t AS SELECT 'a' AS s, 'a' AS "it's" """)
    with pytest.raises(duckdb.Error, match="refuses: it's = a, an unknown category"):
        con.sql(dfml.export_sql(model, "t")).fetchall()


# Where it is put


def test_as_a_part_of_other_statements(con, table):
    model = fitted(table)
    con.execute("CREATE SCHEMA lake")
    con.execute("CREATE TABLE lake.customers AS FROM t")
    expected = model.predict(table[FEATURES]).tolist()

    sql = dfml.export_sql(model, ("lake", "customers"))
    con.execute(f"CREATE VIEW scored AS {sql}")
    assert column(con, "prediction", "scored") == expected
    sql = dfml.export_sql(model, "chosen", keep=["id"], name="p", dialect="duckdb")
    query = f"WITH chosen AS (FROM t WHERE id < 1005) {sql} ORDER BY id"
    assert con.sql(query).fetchall() == [(1000 + i, expected[i]) for i in range(5)]
    chained = dfml.export_sql(model, "scored", name="again")
    assert column(con, "again", con.sql(chained)) == expected


def test_only_needed_columns_are_read(con, table, tmp_path):
    con.sql("FROM t").write_parquet(str(tmp_path / "t.parquet"))
    model = LogisticRegression().fit(table[["b"]], table["late"])
    con.execute(f"CREATE VIEW v AS FROM '{tmp_path}/t.parquet'")

    sql = dfml.export_sql(model, "v", keep=[])
    ((_, plan),) = con.sql(f"EXPLAIN {sql}").fetchall()

    assert "Projections: b " in plan


# What is refused


class OwnLogistic(LogisticRegression):
    """A class of one's own, which might answer anything."""


def chain(depth):
    """Return a tree as deep as asked for."""
    rows = pd.DataFrame({"a": np.arange(2.0 * depth)})
    signs = np.where(np.arange(2 * depth) % 2, 1.0, -1.0)
    model = DecisionTreeRegressor(max_leaf_nodes=2 * depth, max_features=1)
    return model.fit(rows, signs * 2.0 ** np.arange(2 * depth))


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (KNeighborsClassifier(), "KNeighborsClassifier"),
        (make_pipeline(PCA(2), LogisticRegression()), r"PCA\(n_components=2\)"),
        (OwnLogistic(), "OwnLogistic"),
        (
            make_pipeline(FunctionTransformer(np.abs), LogisticRegression()),
            "FunctionTransformer",
        ),
        (RandomForestClassifier(200, random_state=0), r"at most 10,000 nodes.*Got \d+"),
        (
            GradientBoostingClassifier(init=LogisticRegression()),
            "begins with a constant",
        ),
        (
            HistGradientBoostingClassifier(categorical_features=[0], max_iter=2),
            "categorical",
        ),
        (
            Pipeline([("s", SimpleImputer(add_indicator=True)), ("m", Ridge())]),
            "without indicators",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_sql_is_refused_by_name(table, model, what):
    target = "amount" if "Ridge" in repr(model) else "late"
    features = table[FEATURES]
    if "categorical_features" in repr(model):
        features = features.assign(a=(features["a"] > 0).astype(float))
    model.fit(features, table[target])

    with pytest.raises(EstimatorTypeError, match=what):
        dfml.export_sql(model, "t")


def test_deep_trees(con):
    rows = pd.DataFrame({"a": np.arange(300.0), "id": np.arange(300)})
    con.register("rows", rows)
    target = 3.0 ** np.minimum(np.arange(300), 600)

    deep = DecisionTreeRegressor().fit(rows[["a"]], target)
    assert deep.get_depth() > 100
    with pytest.raises(EstimatorTypeError, match="100 levels"):
        dfml.export_sql(deep, "rows")
    cut = DecisionTreeRegressor(max_depth=100).fit(rows[["a"]], target)
    assert cut.get_depth() == 100
    relation = con.sql(dfml.export_sql(cut, "rows"))
    assert column(con, "prediction", relation) == cut.predict(rows[["a"]]).tolist()


def test_several_outputs_of_a_tree(table):
    model = DecisionTreeRegressor(max_depth=2)
    model.fit(table[FEATURES], table[["amount", "weight"]])
    with pytest.raises(EstimatorTypeError, match="2 outputs"):
        dfml.export_sql(model, "t")


@pytest.mark.parametrize(
    ("estimator", "method", "place", "wrong"),
    [
        (
            DecisionTreeClassifier(),
            "predict",
            (_trees, "_in_double"),
            lambda limit: ("<=", limit),
        ),
        (
            LogisticRegression(),
            "predict_proba",
            (_linear, "_sigmoid"),
            lambda score: f"1e0 / (1.0000001e0 + exp(-{score}))",
        ),
        (
            RandomForestClassifier(3, max_depth=2, random_state=0),
            "predict",
            (_trees, "argmax"),
            lambda query, scores, answers: answers[0],
        ),
        (
            LogisticRegression(),
            "predict",
            (_linear, "label_literal"),
            lambda label: "'yes'",
        ),
    ],
    ids=["ties", "probabilities", "votes", "labels"],
)
def test_wrong_sql_is_never_handed_out(
    table, monkeypatch, estimator, method, place, wrong
):
    model = fitted(table, estimator)
    monkeypatch.setattr(*place, wrong)

    with pytest.raises(EstimatorTypeError, match="answers as the model does"):
        dfml.export_sql(model, "t", method=method)


def test_rows_that_sql_takes_and_the_model_refuses(table, monkeypatch):
    model = fitted(table, DecisionTreeClassifier(max_depth=3))
    monkeypatch.setattr("dfml.sql_functions._conversion._SINGLE", "1e300")

    with pytest.raises(EstimatorTypeError, match="answers as the model does"):
        dfml.export_sql(model, "t")


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"table": ""}, InputTypeError, "name of a table"),
        ({"table": ("a", 3)}, InputTypeError, "name of a table"),
        ({"table": ()}, InputTypeError, "name of a table"),
        ({"table": "a\0b"}, InputTypeError, "name of a table"),
        ({"dialect": "mysql"}, InputTypeError, "mysql"),
        ({"keep": "id"}, InputTypeError, "keep"),
        ({"keep": 3}, InputTypeError, "keep"),
        ({"keep": ["id", 3]}, InputTypeError, r"\['id', 3\]"),
        ({"keep": ["id", "Prediction"]}, ColumnCollisionError, "Prediction"),
        ({"name": "B"}, ColumnCollisionError, "b"),
        ({"name": ""}, InputTypeError, "name to be text"),
        ({"prefix": b"p"}, InputTypeError, "prefix to be text"),
        ({"method": "transform"}, EstimatorTypeError, "transform"),
        ({"method": "inverse_transform"}, EstimatorTypeError, "inverse_transform"),
    ],
    ids=str,
)
def test_wrong_arguments(table, how, error, message):
    model = fitted(table)
    with pytest.raises(error, match=message):
        dfml.export_sql(model, **{"table": "t", **how})


def test_an_iterator_of_columns_is_read_once(table):
    model = fitted(table)
    sql = dfml.export_sql(model, "t", keep=iter(["id"]))
    assert sql == dfml.export_sql(model, "t", keep=["id"])


def test_a_relation_in_place_of_a_table_is_not_run(con, table):
    relation = con.sql("SELECT error('run') FROM t")
    with pytest.raises(InputTypeError, match=r"DuckDBPyRelation(?s:.)*predict_sql"):
        dfml.export_sql(fitted(table), relation)


def test_times_are_refused(con):
    rows = con.sql("SELECT DATE '2020-01-01' + i::INT AS day, i FROM range(20) t(i)")
    model = make_pipeline("passthrough", DecisionTreeRegressor(max_depth=2))
    model = dfml.IID(model).fit(rows, y="i")
    with pytest.raises(EstimatorTypeError, match=r"times in \['day'\]"):
        dfml.export_sql(model, "t")


def test_models_without_names_and_odd_classes(table):
    bare = LinearRegression().fit(table[FEATURES].to_numpy(), table["amount"])
    with pytest.raises(ColumnMismatchError, match="column names"):
        dfml.export_sql(bare, "t")
    labels = np.where(table["late"] == "yes", "y\0y", "n\0n")
    with pytest.raises(EstimatorTypeError, match="zero character"):
        dfml.export_sql(LogisticRegression().fit(table[FEATURES], labels), "t")


def test_multilabel_is_refused(table):
    labels = np.column_stack([table["a"] > 0, table["b"] > 0])
    model = RidgeClassifier().fit(table[FEATURES], labels)
    with pytest.raises(EstimatorTypeError):
        dfml.export_sql(model, "t")
