from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from dfml import ParallelPostFit
from dfml.exceptions import (
    ColumnMismatchError,
    InputTypeError,
    UnknownOutputError,
)
from tests.conftest import FEATURES


@pytest.fixture
def fitted(table):
    return LogisticRegression().fit(table[FEATURES], table["late"])


def test_names_of_the_outputs(fitted, frame, table):
    model = ParallelPostFit(fitted)
    assert model.predict(frame).name == "prediction"
    proba = model.predict_proba(frame)
    assert proba.columns.tolist() == ["probability_no", "probability_yes"]
    log_proba = model.predict_log_proba(frame)
    assert log_proba.columns.tolist() == ["log_probability_no", "log_probability_yes"]
    assert model.decision_function(frame).name == "decision"
    three = LogisticRegression().fit(table[FEATURES], np.arange(600) % 3)
    decision = ParallelPostFit(three).decision_function(frame)
    assert decision.columns.tolist() == ["decision_0", "decision_1", "decision_2"]


def test_nothing_is_computed_at_the_call(fitted, table):
    def explode(part):
        raise AssertionError("computed")

    frame = dd.from_pandas(table, npartitions=3)
    lazy = frame.map_partitions(explode, meta=table.iloc[:0])
    assert ParallelPostFit(fitted).predict(lazy).npartitions == 3


def test_columns_by_name(fitted, frame, table):
    expected = fitted.predict(table[FEATURES])
    turned = frame[["id", "c", "b", "a"]]
    assert_array_equal(ParallelPostFit(fitted).predict(turned), expected)


def test_missing_columns_before_any_task(fitted, frame):
    with pytest.raises(ColumnMismatchError, match=r"missing: \['a'\]") as caught:
        ParallelPostFit(fitted).predict(frame.rename(columns={"a": "A"}))
    assert "'A'" in str(caught.value)


def test_kinds_are_checked_after_a_lazy_fit(frame):
    from dfml import IID

    clf = IID(LogisticRegression()).fit(frame[[*FEATURES, "late"]], "late")
    with pytest.raises(ColumnMismatchError, match=r"'a' is (str|string), was a number"):
        clf.predict(frame.assign(a="1"))
    whole = frame.assign(a=frame["a"].astype("float32"), b=frame["b"].astype("Float64"))
    assert len(clf.predict(whole).compute()) == 600


def test_empty_partitions_keep_the_schema(fitted, frame):
    few = frame[frame["id"] == 1000]
    model = ParallelPostFit(fitted)
    for answer in (model.predict(few), model.predict_proba(few)):
        parts = [part.compute() for part in answer.to_delayed()]
        assert [len(part) for part in parts] == [1, 0, 0, 0, 0, 0]
        for part in parts:
            dtypes = part.dtypes if part.ndim == 2 else part.dtype
            assert np.all(dtypes == answer._meta.dtypes)


@pytest.mark.parametrize("index", ["id", "late"])
def test_index_is_kept(fitted, table, index):
    table = table.set_index(index, drop=False)
    frame = dd.from_pandas(table, npartitions=4, sort=index == "id")
    answer = ParallelPostFit(fitted).predict(frame)
    assert answer.divisions == frame.divisions
    assert answer.compute().index.equals(frame.compute().index)
    assert answer.compute().index.name == index


def test_the_model_is_in_the_graph_once(table):
    import cloudpickle

    class Heavy(BaseEstimator):
        def fit(self, X, y=None):
            self.weight_ = np.random.default_rng(0).bytes(2_000_000)
            self.classes_ = np.array([0, 1])
            return self

        def predict(self, X):
            return np.zeros(len(X), dtype="int64")

    model = ParallelPostFit(Heavy().fit(None))
    sizes = []
    for npartitions in (2, 40):
        frame = dd.from_pandas(table[FEATURES], npartitions=npartitions)
        graph = dict(model.predict(frame).optimize().__dask_graph__())
        sizes.append(sum(len(cloudpickle.dumps(task)) for task in graph.values()))
    assert sizes[0] < 2_100_000
    assert sizes[1] - sizes[0] < 200_000


def test_output_dtype_is_the_estimators(table):
    single = table[FEATURES].astype("float32")
    model = Ridge().fit(single, table["amount"].astype("float32"))
    answer = ParallelPostFit(model).predict(dd.from_pandas(single, npartitions=2))
    assert answer.dtype == model.predict(single).dtype == np.float32
    assert answer.compute().dtype == np.float32


def test_text_labels_and_categories(table, frame):
    encoder = OneHotEncoder(sparse_output=False).fit(table[["late"]])
    answer = ParallelPostFit(encoder).transform(frame)
    assert answer.columns.tolist() == ["late_no", "late_yes"]
    assert_array_equal(answer, encoder.transform(table[["late"]]))


def test_sparse_output(table, frame):
    encoder = OneHotEncoder().fit(table[["late"]])
    answer = ParallelPostFit(encoder).transform(frame).compute()
    assert_array_equal(answer.to_numpy(), encoder.transform(table[["late"]]).toarray())


def test_set_output_does_not_change_the_lazy_result(table, frame):
    scaler = StandardScaler().set_output(transform="pandas").fit(table[FEATURES])
    answer = ParallelPostFit(scaler).transform(frame)
    assert isinstance(answer, dd.DataFrame)
    assert answer.compute().index.equals(table.index)


def test_meta_that_cannot_be_known(table, frame):
    class Opaque(BaseEstimator):
        def __init__(self):
            self.fitted_ = True

        def fit(self, X, y=None):
            return self

        def predict(self, X):
            if len(X) < 10:
                raise ValueError("too few rows")
            return X["late"].to_numpy()

    model = ParallelPostFit(Opaque())
    with pytest.raises(UnknownOutputError, match="pass meta="):
        model.predict(frame)
    meta = pd.Series([], dtype="str", name="word")
    answer = model.predict(frame, meta=meta)
    assert answer.name == "word"
    assert answer.compute().tolist() == table["late"].tolist()


def numbers_of_two_rows(X):
    return np.array([[1.0]] * 2 if len(X) == 2 else X[["late"]], dtype=object)


def test_answers_of_other_types_than_expected(table, frame):
    model = ParallelPostFit(FunctionTransformer(numbers_of_two_rows))
    with pytest.raises(
        UnknownOutputError, match=r"float: '(no|yes)'[\s\S]* pass meta="
    ):
        model.transform(frame[["late"]]).compute()
    meta = table[["late"]].iloc[:0]
    answer = model.transform(frame[["late"]], meta=meta).compute()
    pd.testing.assert_frame_equal(answer, table[["late"]])


@pytest.mark.parametrize(
    ("value", "dtype"), [("1", "float64"), (1.5, "int64"), (None, "bool"), (1, "str")]
)
def test_objects_do_not_become_other_values(frame, value, dtype):
    def answer(X):
        return np.array([[value]] * len(X), dtype=object)

    model = ParallelPostFit(FunctionTransformer(answer))
    meta = pd.DataFrame({"x": pd.Series([], dtype=dtype)})
    with pytest.raises(UnknownOutputError, match=rf"{value!r} in 'x'.* to be {dtype}"):
        model.transform(frame[["late"]], meta=meta).compute()


def test_configuration_reaches_the_tasks(frame):
    from sklearn import config_context, get_config

    class Reporter(BaseEstimator):
        def __init__(self):
            self.classes_ = np.array([False, True])

        def fit(self, X, y=None):
            return self

        def predict(self, X):
            return np.repeat(get_config()["assume_finite"], len(X))

    with config_context(assume_finite=True), dask.config.set(scheduler="threads"):
        assert ParallelPostFit(Reporter()).predict(frame).compute().all()
    answer = ParallelPostFit(Reporter()).predict(frame)
    with dask.config.set(scheduler="threads"):
        assert not answer.compute().any()


def test_errors_name_the_partition(table, fitted):
    table.loc[250, "a"] = np.nan
    frame = dd.from_pandas(table, npartitions=6)
    with pytest.raises(ValueError, match="NaN") as caught:
        ParallelPostFit(fitted).predict(frame).compute()
    assert "dfml: in partition 2 of predict." in caught.value.__notes__


def test_fit(table, frame):
    model = ParallelPostFit(Ridge())
    with pytest.raises(NotFittedError):
        model.predict(frame)
    with pytest.raises(InputTypeError, match=r"dfml\.Incremental or dfml\.IID"):
        model.fit(frame[FEATURES], frame["amount"])
    model.fit(table[[*FEATURES, "amount"]], "amount")
    expected = Ridge().fit(table[FEATURES], table["amount"])
    assert_array_equal(model.coef_, expected.coef_)
    assert model.estimator_ is not model.estimator


def test_attributes_of_a_model_that_came_fitted(fitted):
    assert_array_equal(ParallelPostFit(fitted).coef_, fitted.coef_)


@pytest.mark.parametrize("dtype", ["str", "string", "object", "string[pyarrow]"])
def test_missing_text_is_the_same_in_every_dtype(table, dtype):
    words = table["late"].where(table["id"] % 5 > 0)
    eager = pd.DataFrame({"late": words})
    assert eager["late"].isna().sum() == 120
    encoder = OneHotEncoder(sparse_output=False).fit(eager)
    frame = dd.from_pandas(eager.astype({"late": dtype}), npartitions=3)
    answer = ParallelPostFit(encoder).transform(frame)
    assert_array_equal(answer, encoder.transform(eager))
    from dfml import IID

    fitted = IID(OneHotEncoder(handle_unknown="ignore")).fit(frame)
    assert len(fitted.categories_[0]) == 3
    assert fitted.transform(frame).compute().to_numpy().sum() == 600


def test_regressors_of_text_answer_numbers(table, frame):
    model = make_pipeline(OneHotEncoder(), Ridge()).fit(table[["late"]], table["a"])
    answer = ParallelPostFit(model).predict(frame)
    assert answer.dtype == np.float64
    assert np.allclose(answer.compute(), model.predict(table[["late"]]))


def test_a_category_of_numbers_is_a_number(frame):
    from dfml import IID

    model = IID(Ridge()).fit(frame[["a", "id", "amount"]], "amount")
    turned = frame.assign(id=frame["id"].astype("category").cat.as_known())
    assert np.allclose(model.predict(turned).compute(), model.predict(frame).compute())
