"""Every kind of table and of column, in memory and lazily, gives the same model."""

from __future__ import annotations

import decimal

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from dfml import IID, Incremental, ParallelPostFit
from dfml.exceptions import ColumnMismatchError
from dfml.iid import linear_model as iid_linear_model
from tests.conftest import FEATURES, make_table, split_at

TABLE = make_table(60)[[*FEATURES, "late", "weight"]]
LABELS = TABLE["late"].to_numpy()

IN_MEMORY = {
    "pandas": lambda table: table,
    "nullable": lambda table: table.convert_dtypes(dtype_backend="numpy_nullable"),
    "Arrow dtypes": lambda table: table.convert_dtypes(dtype_backend="pyarrow"),
    "categorical label": lambda table: table.astype({"late": "category"}),
    "polars": pl.from_pandas,
    "Arrow table": pa.Table.from_pandas,
}
ESTIMATORS = {
    "Incremental": Incremental(SGDClassifier(random_state=0)),
    "IID": IID(LogisticRegression()),
    "ParallelPostFit": ParallelPostFit(LogisticRegression()),
    "dfml.iid": iid_linear_model.LogisticRegression(),
}


def fitted_by_hand(name: str, table: pd.DataFrame, weighted: bool) -> object:
    options = {"sample_weight": table["weight"]} if weighted else {}
    if name == "Incremental":
        model = SGDClassifier(random_state=0)
        return model.partial_fit(table[FEATURES], LABELS, ["no", "yes"], **options)
    return LogisticRegression().fit(table[FEATURES], LABELS, **options)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", IN_MEMORY)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_labels_by_name_in_memory(name, kind, weighted):
    table = TABLE if weighted else TABLE.drop(columns="weight")
    given = IN_MEMORY[kind](table)
    weight = {"sample_weight": "weight"} if weighted else {}
    model = ESTIMATORS[name].fit(given, y="late", **weight)
    expected = fitted_by_hand(name, TABLE, weighted)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-12)
    assert list(model.classes_) == ["no", "yes"]
    assert list(model.feature_names_in_) == FEATURES
    score = expected.score(
        TABLE[FEATURES], LABELS, TABLE["weight"] if weighted else None
    )
    assert model.score(given, y="late", **weight) == pytest.approx(score)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sparse_in_memory(name):
    X = sparse.csr_array(TABLE[FEATURES].to_numpy())
    model = ESTIMATORS[name].fit(X, LABELS)
    dense = ESTIMATORS[name].fit(TABLE[FEATURES].to_numpy(), LABELS)
    assert model.score(X, LABELS) == pytest.approx(
        dense.score(TABLE[FEATURES].to_numpy(), LABELS), abs=0.05
    )


LAZY = {
    "nullable": lambda t: t.convert_dtypes(dtype_backend="numpy_nullable"),
    "Arrow dtypes": lambda t: t.convert_dtypes(dtype_backend="pyarrow"),
    "categorical label": lambda t: t.astype({"late": "category"}),
    "float32": lambda t: t.astype(dict.fromkeys(FEATURES, "float32")),
    "integers above 2**53": lambda t: t.assign(a=2**53 + 1 + np.arange(len(t))),
    "uint64": lambda t: t.assign(a=np.uint64(2**63) + np.arange(len(t), dtype="u8")),
    "bool": lambda t: t.assign(a=t["a"] > 0),
    "decimal": lambda t: t.assign(
        a=pd.Series([decimal.Decimal(f"{v:.4f}") for v in t["a"]]).astype(
            pd.ArrowDtype(pa.decimal128(18, 4))
        )
    ),
    "odd names": lambda t: t.rename(
        columns={"a": 'with "quotes"', "b": "it's; drop", "c": "é \n", "late": "late?"}
    ),
    "integer names": lambda t: t.rename(columns={"a": 0, "b": 1, "c": 2, "late": 3}),
    "MultiIndex": lambda t: t.set_index(
        pd.MultiIndex.from_arrays([np.arange(60) % 2, np.arange(60)], names=["i", "j"])
    ),
    "zoned index": lambda t: t.set_index(
        pd.date_range("2026-03-29", periods=60, freq="h", tz="Europe/Paris")
    ),
}


@pytest.mark.parametrize("kind", LAZY)
@pytest.mark.parametrize("name", ["Incremental", "IID", "dfml.iid"])
def test_lazy_columns(name, kind):
    table = LAZY[kind](TABLE.drop(columns="weight"))
    target = table.columns[3]
    frame = split_at(table, [20, 40])
    model = ESTIMATORS[name].fit(frame, y=target)
    answer = model.predict(frame)
    found = answer.compute()
    assert found.index.equals(table.index)
    assert found.dtype == answer.dtype
    features = table.drop(columns=target)
    if kind == "decimal":  # scikit-learn refuses decimals: they are floats to us
        features = features.astype({"a": "float64"})
    assert_array_equal(found, model.predict(features))
    score = model.score(features, np.asarray(table[target]))
    assert model.score(frame) == pytest.approx(score)


def test_names_of_several_types_are_refused_as_by_scikit_learn():
    frame = split_at(TABLE.drop(columns="weight").rename(columns={"a": 0}), [30])
    with pytest.raises(TypeError, match=r"\['int', 'str'\]"):
        Incremental(SGDClassifier()).fit(frame, "late")


def test_integer_names_of_several_targets():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 5)))
    frame = split_at(table, [20])
    model = IID(Ridge()).fit(frame, y=[3, 4])
    expected = Ridge().fit(table[:20][[0, 1, 2]], table[:20][[3, 4]])
    assert_allclose(model.coef_, expected.coef_)
    assert list(model.predict(frame).columns) == ["prediction_3", "prediction_4"]
    assert model.score(frame) == pytest.approx(
        expected.score(table[[0, 1, 2]], table[[3, 4]])
    )
    with pytest.raises(ColumnMismatchError, match=r"unknown: \[9\]"):
        IID(Ridge()).fit(frame, y=[3, 9])


def test_a_list_of_numbers_in_memory_is_values():
    X = pd.DataFrame({0: [0.0, 1.0], 1: [1.0, 0.0]})
    model = ParallelPostFit(DecisionTreeClassifier()).fit(X, [0, 1])
    assert model.n_features_in_ == 2


def test_zoned_times_and_categories_through_a_pipeline():
    table = TABLE.assign(
        when=pd.date_range("2026-03-29", periods=60, freq="h", tz="Europe/Paris"),
        kind=pd.Categorical(["x", "y", "z"] * 20),
    )
    hours = FunctionTransformer(lambda frame: frame.apply(lambda s: s.dt.hour))
    pipeline = make_pipeline(
        make_column_transformer(
            (hours, ["when"]), (OneHotEncoder(), ["kind"]), ("passthrough", ["a"])
        ),
        LogisticRegression(max_iter=500),
    )
    frame = split_at(table, [30])
    model = IID(pipeline).fit(frame, "late")
    assert_array_equal(model.predict(frame), model.predict(table))
    trees = IID(HistGradientBoostingClassifier(max_iter=5))
    trees.fit(frame[["a", "kind", "late"]], "late")
    assert_array_equal(trees.predict(frame), trees.predict(table[["a", "kind"]]))


@pytest.mark.parametrize(
    "estimator",
    [
        IID(MultiOutputClassifier(LogisticRegression())),
        IID(DecisionTreeClassifier(max_depth=2)),
        Incremental(
            MultiOutputClassifier(SGDClassifier(loss="log_loss", random_state=0))
        ),
    ],
    ids=["IID", "tree", "Incremental"],
)
def test_several_targets(estimator):
    table = TABLE[FEATURES].assign(p=TABLE["a"] > 0, q=TABLE["b"] > 0)
    frame = split_at(table, [20, 40])
    model = estimator.fit(frame, y=["p", "q"])
    answer = model.predict(frame)
    assert list(answer.columns) == ["prediction_p", "prediction_q"]
    assert_array_equal(answer, model.predict(table[FEATURES]))
    assert list(model.predict_proba(frame).columns) == [
        "probability_p_False",
        "probability_p_True",
        "probability_q_False",
        "probability_q_True",
    ]
    assert model.score(frame) == pytest.approx(
        model.score(table[FEATURES], table[["p", "q"]])
    )


@pytest.mark.parametrize(
    ("method", "prefix"),
    [("predict_proba", "probability"), ("decision_function", "decision")],
)
def test_a_chain_of_classifiers_gives_a_column_a_target(method, prefix):
    table = TABLE[FEATURES].assign(p=TABLE["a"] > 0, q=TABLE["b"] > 0)
    frame = split_at(table, [20, 40])
    model = IID(ClassifierChain(LogisticRegression())).fit(frame, y=["p", "q"])
    bare = ParallelPostFit(model.estimator_)

    answers = [getattr(each, method)(frame[FEATURES]) for each in (model, bare)]

    assert list(answers[0].columns) == [f"{prefix}_p", f"{prefix}_q"]
    assert list(answers[1].columns) == [f"{prefix}_0", f"{prefix}_1"]
    for answer in answers:
        assert_allclose(answer, getattr(model, method)(table[FEATURES]))


def test_arrays_keep_their_chunks():
    values = TABLE[FEATURES].to_numpy()
    X = da.from_array(values, chunks=(20, 2))
    y = da.from_array(LABELS == "yes", chunks=30)
    weight = da.from_array(TABLE["weight"].to_numpy(), chunks=60)
    model = Incremental(SGDClassifier(random_state=0)).fit(X, y, sample_weight=weight)
    answer = model.predict(X)
    assert answer.chunks == ((20, 20, 20),)
    assert_array_equal(answer, model.predict(values))
    assert model.score(X, y, weight) == pytest.approx(
        model.score(values, y.compute(), TABLE["weight"])
    )


def test_arrays_of_float32_and_several_targets():
    values = TABLE[FEATURES].to_numpy().astype("float32")
    X = da.from_array(values, chunks=(20, 3))
    Y = da.from_array(values[:, :2], chunks=20)
    model = IID(Ridge()).fit(X, Y)
    answer = model.predict(X)
    assert answer.dtype == answer.compute().dtype == np.float32
    assert answer.chunks == ((20, 20, 20), (2,))


def test_arrays_of_unknown_chunks():
    frame = dd.from_pandas(TABLE.assign(late=LABELS == "yes"), npartitions=3)
    X, y = frame[FEATURES].to_dask_array(), frame["late"].to_dask_array()
    model = Incremental(SGDClassifier(random_state=0)).fit(X, y)
    assert np.isnan(model.predict(X).shape[0])
    assert_array_equal(
        model.predict(X).compute(), model.predict(TABLE[FEATURES].to_numpy())
    )
