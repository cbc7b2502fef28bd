"""Partitions and answers of other types than the first ones: no value is cut."""

from __future__ import annotations

from decimal import Decimal

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

import dfml
from dfml.exceptions import ColumnMismatchError, DfmlError, UnknownOutputError

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture
def lake(tmp_path):
    """Make a folder with a file for each column of values."""

    def make(*files, name="c"):
        folder = tmp_path / "lake"
        folder.mkdir()
        for number, values in enumerate(files):
            pq.write_table(pa.table({name: values}), folder / f"{number}.parquet")
        return folder

    return make


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([1, 2, 3]), pa.array([1.5, 2.9, 3.0])),
        (pa.array([1, 2, 3], pa.int8()), pa.array([200, 300, 0], pa.int32())),
        (pa.array([1, 2, 3], pa.int8()), pa.array([200, 255, 0], pa.uint8())),
        (pa.array([True, False]), pa.array([5, 7])),
        (pa.array([1.0, 2.0], pa.float32()), pa.array([1e20, 0.1])),
    ],
)
def test_features_of_a_wider_type(lake, first, second):
    folder = lake(first, second)
    X = pd.concat(
        [pd.DataFrame({"c": each.to_numpy(False)}) for each in (first, second)]
    )
    X = X.astype("float64")
    model = LinearRegression().fit(X, X["c"])
    frame = dd.read_parquet(folder)

    lazy = dfml.ParallelPostFit(model)
    assert_allclose(lazy.predict(frame).compute(), model.predict(X))
    labelled = frame.assign(y=frame["c"])
    assert lazy.score(labelled, y="y") == pytest.approx(model.score(X, X["c"]))


def test_training_on_features_and_labels_of_a_wider_type():
    parts = [
        pd.DataFrame({"x": [1, 2], "y": [1, 2]}),
        pd.DataFrame({"x": [0.5], "y": [2.5]}),
    ]
    frame = dd.from_map(lambda i: parts[i], [0, 1], meta=parts[0].iloc[:0])

    fitted = dfml.Incremental(SGDRegressor(random_state=0)).fit(frame, y="y")
    expected = SGDRegressor(random_state=0)
    for part in parts:
        expected.partial_fit(part[["x"]].astype(float), part["y"].astype(float))
    assert_array_equal(fitted.coef_, expected.coef_)


class Narrow(RegressorMixin, BaseEstimator):
    """Answers in the smallest type that holds its first column."""

    def fit(self, X, y=None):
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return pd.to_numeric(np.asarray(X)[:, 0], downcast="integer")


@pytest.mark.parametrize("value", [300.0, 1.5, -129.0])
def test_answers_of_a_wider_type_are_an_error(value, tmp_path):
    X = pd.DataFrame({"a": [1.0, value]})
    model = Narrow().fit(X)
    with pytest.raises(UnknownOutputError, match=rf"{value:g}.* to be int8"):
        dfml.ParallelPostFit(model).predict(dd.from_pandas(X, npartitions=1)).compute()
    X.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UnknownOutputError, match="to be int8"):
        dfml.predict_table(model, tmp_path / "x.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("announced", "value"),
    [("str", 0.5), ("uint8", -1), ("bool", 2.0), ("bool", np.nan)],
)
def test_values_that_an_announced_type_does_not_hold(announced, value):
    model = dfml.ParallelPostFit(
        FunctionTransformer(lambda X: np.full((len(X), 1), value))
    )
    frame = dd.from_pandas(pd.DataFrame({"a": [1.0, 2.0]}), npartitions=1)
    meta = pd.DataFrame({"b": pd.Series([], dtype=announced)})
    with pytest.raises(UnknownOutputError, match=f"'b', which is to be {announced}"):
        model.transform(frame, meta=meta).compute()


def test_flags_that_are_missing_are_not_true(lake):
    folder = lake(pa.array([True, False, None]))
    model = ColumnTransformer([("p", "passthrough", ["c"])])
    model.fit(pd.read_parquet(folder))
    with pytest.raises(UnknownOutputError, match=r"nan .* to be bool"):
        dfml.ParallelPostFit(model).transform(dd.read_parquet(folder)).compute()


def test_numbers_are_no_flags_in_sql():
    class Flags(Narrow):
        def predict(self, X):
            values = np.asarray(X)[:, 0]
            return values == 1 if np.all(values == 1) else values

    X = pd.DataFrame({"a": [1.0, 2.0]})
    model = Flags().fit(X)
    with duckdb.connect() as con:
        con.register("t", X)
        with pytest.raises((DfmlError, duckdb.Error), match=r"there is 2\.0"):
            dfml.predict_sql(model, con.table("t")).fetchall()


def test_categories_of_numbers_are_numbers():
    X = pd.DataFrame({"c": pd.Categorical([3, 1, 2]), "x": [1.0, 2, 3]})
    model = ColumnTransformer([("s", StandardScaler(), ["x"])], remainder="passthrough")
    expected = model.fit(X).transform(X)
    lazy = dfml.ParallelPostFit(model).transform(dd.from_pandas(X, npartitions=1))
    assert [str(each) for each in lazy.dtypes] == ["float64"] * 2
    assert_array_equal(lazy.compute(), expected)


def test_times_beside_text_keep_their_types():
    X = pd.DataFrame({"t": pd.date_range("2024-01-01", periods=3), "s": list("abc")})
    model = ColumnTransformer([("p", "passthrough", ["t", "s"])]).fit(X)
    lazy = dfml.ParallelPostFit(model).transform(dd.from_pandas(X, npartitions=1))
    answer = lazy.compute()
    assert lazy.dtypes.tolist() == answer.dtypes.tolist()
    assert_array_equal(answer.to_numpy(), model.transform(X))


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan])
def test_objects_without_a_value_are_nan_to_models_that_know_nan(missing):
    text = pd.DataFrame({"c": pd.Series(["a", "b", np.nan] * 2, dtype="str")})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge())
    model.fit(text, [0, 0, 9] * 2)
    values = ["a", "b", missing] * 2
    objects = pd.DataFrame({"c": pd.Series(values, dtype=object)})

    with dask.config.set({"dataframe.convert-string": False}):
        frame = dd.from_pandas(objects, npartitions=2)
        answers = dfml.ParallelPostFit(model).predict(frame).compute()
    assert_allclose(answers, model.predict(text))


def test_flags_that_are_missing_beside_text(tmp_path):
    pq.write_table(
        pa.table({"b": [True, False, None, True], "s": list("uvuv")}),
        tmp_path / "x.parquet",
    )
    flags = pd.Series([True, False, None, True], dtype="boolean")
    X = pd.DataFrame({"b": flags, "s": list("uvuv")})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge())
    model.fit(X, [1, 0, 5, 1])

    lazy = dfml.ParallelPostFit(model).predict(dd.read_parquet(tmp_path / "x.parquet"))
    assert_allclose(lazy.compute(), model.predict(X))
    dfml.predict_table(model, tmp_path / "x.parquet", tmp_path / "out", keep=[])
    answers = pd.read_parquet(tmp_path / "out")["prediction"]
    assert_allclose(answers, model.predict(X))


OTHER_KINDS = {
    "times": pd.to_datetime(["2020-01-01", "2021-01-01"]),
    "text of numbers": ["1.5", "2.5"],
    "objects of text": pd.Series(["1.5", "2.5"], dtype=object),
    "durations": pd.to_timedelta([1, 2], "s"),
}


def from_parts(*parts):
    """Make a frame of partitions that need not be like its first one."""
    return dd.from_map(
        lambda i: parts[i],
        range(len(parts)),
        meta=parts[0].iloc[:0],
        enforce_metadata=False,
    )


@pytest.mark.parametrize("name", OTHER_KINDS)
@pytest.mark.parametrize("beside", [None, "text"])
def test_a_partition_of_another_kind_is_named(name, beside):
    good = pd.DataFrame({"c": [1.0, 2.0], "y": [1.0, 3.0]})
    if beside is not None:
        good["t"] = ["a", "b"]
    frame = from_parts(good, good.assign(c=OTHER_KINDS[name]))
    columns = [each for each in good if each != "y"]
    steps = [OneHotEncoder(handle_unknown="ignore"), SGDRegressor()]
    model = make_pipeline(*steps).fit(good[columns], good["y"])
    message = r"'c' is [\w\[\]]+, announced as a number"

    with pytest.raises(ColumnMismatchError, match=message) as caught:
        dfml.ParallelPostFit(model).predict(frame).compute(scheduler="synchronous")
    assert "in partition 1" in "".join(caught.value.__notes__)
    if beside is None:
        with pytest.raises(ColumnMismatchError, match=message) as caught:
            dfml.Incremental(SGDRegressor()).fit(frame, y="y")
        assert "in partition 1" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    "numbers", [[1, None], [True, None], [Decimal("1.5"), None], [None, None]]
)
def test_objects_of_numbers_are_numbers(numbers):
    good = pd.DataFrame({"c": [1.0, 2.0]})
    objects = pd.DataFrame({"c": pd.Series(numbers, dtype=object)})
    with dask.config.set({"dataframe.convert-string": False}):  # that is what it does
        frame = from_parts(good, objects)
    model = SimpleImputer(strategy="constant", fill_value=7).fit(good)
    answers = dfml.ParallelPostFit(model).transform(frame).compute()
    expected = pd.Series(numbers, dtype=object).astype("float64").fillna(7)
    assert_array_equal(answers["c"][2:], expected)


@pytest.mark.parametrize("dtype", ["float64", "datetime64[us]", object])
@pytest.mark.parametrize("announced", ["str", object])
def test_text_that_is_missing_throughout_is_missing_text(dtype, announced):
    good = pd.DataFrame({"t": pd.Series(["a", np.nan, "b"], dtype=announced)})
    empty = pd.DataFrame({"t": pd.Series([np.nan] * 2, dtype=dtype)})
    model = OrdinalEncoder(encoded_missing_value=-1).fit(good)
    answers = dfml.ParallelPostFit(model).transform(from_parts(good, empty))
    assert_array_equal(answers.compute()["t"], [0, -1, 1, -1, -1])
