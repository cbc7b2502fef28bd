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


@pytest.mark.parametrize(
    "names", ["k, j", "k, j, s", "k, f, s", "k, f", "f", "f, self"]
)
def test_whole_numbers_are_whole_in_sql_too(names):
    """A model that was trained on a lazy table knows which columns they were."""
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE t AS SELECT i % 5 AS k, i % 3 AS j, i % 2 = 0 AS f, 'a' AS s,"
        " i % 7 AS self, CAST(i % 5 > 2 AS INT) AS y FROM range(60) t(i)"
    )
    rows = con.sql(f"SELECT {names}, y FROM t")
    model = dfml.IID(
        make_pipeline(
            FunctionTransformer(lambda frame: pd.DataFrame(frame).astype(str)),
            OneHotEncoder(handle_unknown="error"),
            LinearRegression(),
        )
    ).fit(rows, "y")

    expected = model.predict(rows).compute().to_numpy()
    answered = dfml.predict_sql(model, rows).df()["prediction"]
    dfml.register(con, "answer", model)
    called = con.sql("SELECT answer(t) AS a FROM t").df()["a"]

    assert_array_equal(answered, expected)
    assert_array_equal(called, expected)


@pytest.mark.parametrize("is_category", [False, True])
@pytest.mark.parametrize(
    "values", [pa.array([b"a", b"b"]), pa.array([0, 1], pa.time32("s"))]
)
def test_objects_are_no_text(lake, tmp_path, values, is_category):
    """To an encoder of text they would be categories that it does not know."""
    text = pd.Series(["a", "b", None, "a"], dtype="category" if is_category else "str")
    rows = pd.DataFrame({"c": text, "y": [1.0, 2.0, 3.0, 1.0]})
    model = dfml.IID(
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), LinearRegression())
    ).fit(dd.from_pandas(rows, npartitions=1), "y")
    folder = lake(values)

    message = "columns of the kinds|seen in fit"
    with pytest.raises(ColumnMismatchError, match=message):
        model.predict(dd.read_parquet(folder)).compute()
    with pytest.raises(DfmlError, match=message):
        dfml.predict_table(model, folder, tmp_path / "scored")
    assert not (tmp_path / "scored").exists()


# Times: the number of units, or the hour of a zone, is what an estimator learns.


class Numbers(RegressorMixin, BaseEstimator):
    """Answers the numbers that its times are, and keeps those it was trained on."""

    def partial_fit(self, X, y=None):
        self.seen_ = [*getattr(self, "seen_", []), *self.predict(X).tolist()]
        return self

    def fit(self, X, y=None):
        self.seen_ = self.predict(X).tolist()
        return self

    def predict(self, X):
        return X["seen"].astype("int64").to_numpy()


class Hours(Numbers):
    def predict(self, X):
        return X["seen"].dt.hour.to_numpy()


UNITS = ("s", "ms", "us", "ns")
TIMES = pd.DataFrame({"seen": pd.date_range("2026-01-01", periods=6, freq="h")})


def in_unit(unit, rows=TIMES):
    return rows.assign(seen=rows["seen"].astype(f"datetime64[{unit}]"), y=0)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["time", "duration"])
def test_times_of_another_unit(unit, kind):
    rows = TIMES if kind == "time" else TIMES - TIMES["seen"][0]
    dtype = f"{'datetime' if kind == 'time' else 'timedelta'}64[ms]"
    learnt = rows.astype({"seen": dtype}).assign(y=0)
    model = dfml.IID(Numbers()).fit(dd.from_pandas(learnt, npartitions=2), "y")
    expected = learnt["seen"].astype("int64").tolist()

    others = rows.astype({"seen": dtype.replace("[ms]", f"[{unit}]")}).assign(y=0)
    frame = dd.from_pandas(others, npartitions=2)

    assert model.predict(frame).compute().tolist() == expected
    residual = others.assign(y=expected)
    assert model.score(dd.from_pandas(residual, npartitions=2), y="y") == 1
    if kind == "time":
        con = duckdb.connect()
        con.register("rows", others)
        answered = dfml.predict_sql(model, con.table("rows"), name="number")
        assert answered.project("number").df()["number"].tolist() == expected
        dfml.register(con, "number", model)
        called = con.sql("SELECT number(rows) AS number FROM rows").df()
        assert called["number"].tolist() == expected


@pytest.mark.parametrize("learnt", ["dates", "times"])
def test_dates_are_what_they_were_in_fit(tmp_path, learnt):
    """Parquet has dates, which pandas keeps as objects; SQL gives times for them."""
    days = pd.date_range("2026-01-01", periods=4).repeat(3)
    rows = pa.table({"day": pa.array(days).cast("date32"), "y": days.day.to_numpy()})
    (tmp_path / "lake").mkdir()
    pq.write_table(rows, tmp_path / "lake" / "0.parquet")
    con = duckdb.connect()
    query = con.sql(f"FROM '{tmp_path}/lake/*.parquet'")
    tables = {"dates": dd.read_parquet(tmp_path / "lake"), "times": query}
    model = dfml.IID(
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), LinearRegression())
    ).fit(tables[learnt], "y")

    for table in tables.values():
        assert_allclose(model.predict(table).compute(), days.day)
        assert model.score(table, "y") == pytest.approx(1)
    dfml.predict_table(model, tmp_path / "lake", tmp_path / "scored")
    assert_allclose(pd.read_parquet(tmp_path / "scored")["prediction"], days.day)
    answered = dfml.predict_sql(model, query).df()["prediction"]
    assert_allclose(answered, days.day)


@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
def test_times_that_the_unit_of_fit_cannot_hold(kind):
    learnt = pd.DataFrame({"seen": np.array([1, 2], f"{kind}[ns]"), "y": 0})
    model = dfml.IID(Numbers()).fit(dd.from_pandas(learnt, npartitions=1), "y")
    far = pd.DataFrame({"seen": np.array([4e10], "int64").view(f"{kind}[s]")})
    with pytest.raises(ColumnMismatchError, match=rf"{kind}\[ns\] holds, as in fit"):
        model.predict(dd.from_pandas(far, npartitions=1)).compute()


def test_partitions_of_another_unit_are_trained_on_as_announced():
    parts = [in_unit(unit, TIMES[i : i + 1]) for i, unit in enumerate(UNITS)]
    frame = dd.from_map(lambda part: part, parts, meta=parts[0].iloc[:0])
    expected = TIMES["seen"].astype("datetime64[s]").astype("int64").tolist()

    model = dfml.Incremental(Numbers()).fit(frame, "y")
    assert model.estimator_.seen_ == expected[:4]
    later = dd.from_pandas(in_unit("ns", TIMES[4:]), npartitions=1)
    model.partial_fit(later, "y")
    assert model.estimator_.seen_ == expected
    assert model.predict(frame).compute().tolist() == expected[:4]
    model.partial_fit(in_unit("s")[["seen"]])  # in memory, which has no contract
    assert model.predict(later).compute().tolist() == expected[4:]
    model.fit(in_unit("s")[["seen"]])  # nothing is left of what was learnt lazily
    in_nanoseconds = [number * 10**9 for number in expected[4:]]
    assert model.predict(later).compute().tolist() == in_nanoseconds


@pytest.mark.parametrize("spilled", [False, True])
def test_instants_are_seen_in_the_zone_of_fit(tmp_path, spilled):
    con = duckdb.connect()
    con.execute("SET TimeZone = 'America/New_York'")
    con.execute(
        "CREATE TABLE t AS SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00' + i * INTERVAL 1"
        " HOUR AS seen, 0 AS y FROM range(30) t(i)"
    )
    rows = con.sql("SELECT * FROM t ORDER BY seen")
    expected = [(19 + i) % 24 for i in range(30)]
    table = dfml.read_sql(rows) if spilled else rows
    model = dfml.Incremental(Hours()).fit(table, "y")
    assert model.estimator_.seen_ == expected

    for zone in ("America/New_York", "UTC", "Asia/Kolkata"):
        con.execute(f"SET TimeZone = '{zone}'")
        con.execute("CREATE OR REPLACE TABLE answers AS SELECT seen, 0 AS y FROM t")
        assert model.predict(rows).compute().tolist() == expected
        assert model.predict(dfml.read_sql(rows)).compute().tolist() == expected
        answered = dfml.predict_sql(model, rows, name="hour").df()
        assert answered["hour"].tolist() == expected
        dfml.register(con, "hour_of", model, replace=True)
        sql = "SELECT hour_of(t) AS hour FROM t ORDER BY seen"
        assert con.sql(sql).df()["hour"].tolist() == expected
        wanted = "(extract(hour FROM timezone('America/New_York', seen)))"
        right = con.sql(f"SELECT seen, {wanted} AS y FROM t")
        assert model.score(right, "y") == model.score(dfml.read_sql(right), "y") == 1
        target = tmp_path / f"{zone.partition('/')[0]}"
        dfml.predict_table(model, rows, target)
        written = pq.read_table(target).to_pandas().sort_values("seen")
        assert written["prediction"].tolist() == expected


@pytest.mark.parametrize(
    ("learnt", "zone", "was", "way"),
    [
        (None, "UTC", "a time without a zone", "tz_localize(None)"),
        ("UTC", None, "a time with a zone", "tz_localize(zone)"),
    ],
)
def test_a_zone_that_fit_has_seen_or_not_is_named(learnt, zone, was, way):
    def table(zone):
        seen = pd.date_range("2026-01-01", periods=4, freq="h", tz=zone)
        return dd.from_pandas(pd.DataFrame({"seen": seen, "y": 0}), npartitions=1)

    model = dfml.Incremental(Hours()).fit(table(learnt), "y")
    with pytest.raises(ColumnMismatchError, match=f"was {was}") as caught:
        model.predict(table(zone))
    assert way in str(caught.value)
