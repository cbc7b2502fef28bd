from __future__ import annotations

import datetime as dt
import decimal
import errno
import json
import os
import shutil
import threading
import time

import dask
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from dfml import IID, Incremental, ParallelPostFit
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    EstimatorTypeError,
    SourceError,
    TargetError,
    TargetExistsError,
    UnknownOutputError,
)
from dfml.sinks._files import FileSystem
from dfml.sinks._parquet import ParquetTarget
from dfml.sources import _row_groups
from dfml.table import plan_job, predict_table, run_job
from tests.processes import exit_code, local_cluster, started_as_by_users
from tests.sinks.faults import Dying, Failure


def make_rows(n_rows=90, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(n_rows),
            "a": random.normal(size=n_rows),
            "b": random.normal(size=n_rows).astype("float32"),
        }
    )


@pytest.fixture
def rows():
    return make_rows()


@pytest.fixture
def model(rows):
    y = np.where(rows["a"] + rows["b"] > 0, "yes", "no")
    return LogisticRegression().fit(rows[["a", "b"]], y)


@pytest.fixture
def lake(tmp_path, rows):
    """Three files of 20, 30 and 40 rows."""
    folder = tmp_path / "lake"
    folder.mkdir()
    for number, (start, stop) in enumerate([(0, 20), (20, 50), (50, 90)]):
        rows[start:stop].to_parquet(folder / f"{number}.parquet", index=False)
    return folder


def read(path):
    names = sorted(os.listdir(path))
    return pa.concat_tables(pq.read_table(path / name) for name in names)


def times_in(path):
    return {file.name: file.stat().st_mtime_ns for file in path.iterdir()}


def check_only_reports_are_left(target):
    home = target.parent / f".{target.name}.dfml"
    assert sorted(os.listdir(home)) == ["lock", "report.json"]


# What is written


def test_table_equals_predicting_in_memory(tmp_path, lake, rows, model):
    report = predict_table(model, lake, tmp_path / "out")

    scored = read(tmp_path / "out").to_pandas()
    expected = rows.assign(prediction=model.predict(rows[["a", "b"]]))
    pd.testing.assert_frame_equal(scored, expected)
    assert sorted(os.listdir(tmp_path / "out")) == [
        f"part-0000{i}-{report.job[:8]}.parquet" for i in range(3)
    ]
    assert (report.rows, report.parts, report.predicted_rows) == (90, 3, 90)
    assert report.columns == ("id", "a", "b", "prediction")
    assert report.resumed_parts == 0
    files = (tmp_path / "out").iterdir()
    assert report.bytes == sum(file.stat().st_size for file in files)
    assert report.rows_per_second == pytest.approx(90 / report.seconds)
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    check_only_reports_are_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (None, ["id", "a", "b", "prediction"]),
        (["b", "id"], ["b", "id", "prediction"]),
        ([], ["prediction"]),
    ],
)
def test_keep(tmp_path, lake, rows, model, keep, expected):
    predict_table(model, lake, tmp_path / "out", keep=keep)

    scored = read(tmp_path / "out")
    assert scored.column_names == expected
    predicted = model.predict(rows[["a", "b"]]).tolist()
    assert scored["prediction"].to_pylist() == predicted
    if "id" in expected:
        assert scored["id"].to_pylist() == rows["id"].tolist()


def test_several_methods_in_one_pass(tmp_path, lake, rows, model):
    methods = ["predict", "predict_proba", "decision_function"]
    report = predict_table(
        model, lake, tmp_path / "out", method=methods, keep=[], prefix="m_"
    )

    scored = read(tmp_path / "out").to_pandas()
    X = rows[["a", "b"]]
    assert report.columns == (
        "m_prediction",
        "m_probability_no",
        "m_probability_yes",
        "m_decision",
    )
    np.testing.assert_array_equal(scored.iloc[:, 0], model.predict(X))
    np.testing.assert_allclose(scored.iloc[:, 1:3], model.predict_proba(X), rtol=1e-12)
    np.testing.assert_allclose(
        scored["m_decision"], model.decision_function(X), rtol=1e-12
    )


def test_name_of_the_single_column(tmp_path, lake, model):
    report = predict_table(model, lake, tmp_path / "out", name="late", prefix="is_")

    assert report.columns[-1] == "is_late"
    with pytest.raises(ColumnMismatchError, match="one output column"):
        predict_table(model, lake, tmp_path / "b", method="predict_proba", name="p")


def test_estimators_of_dfml_and_their_contract(tmp_path, lake, rows):
    labelled = rows.assign(y=rows["a"] > 0)
    frame = dd.from_pandas(labelled.drop(columns="id"), npartitions=2)
    model = Incremental(SGDClassifier(random_state=0)).fit(frame, y="y")

    predict_table(model, lake, tmp_path / "out")
    predict_table(ParallelPostFit(model.estimator_), lake, tmp_path / "same")

    scored = read(tmp_path / "out")
    assert scored["prediction"].to_pylist() == list(model.predict(rows[["a", "b"]]))
    assert scored.equals(read(tmp_path / "same"))


def test_models_without_names_take_all_columns(tmp_path, rows):
    rows[["a", "b"]].to_parquet(tmp_path / "lake.parquet")
    model = LinearRegression().fit(rows[["a", "b"]].to_numpy(), rows["id"])

    predict_table(model, tmp_path / "lake.parquet", tmp_path / "out")

    expected = model.predict(rows[["a", "b"]].to_numpy())
    np.testing.assert_allclose(read(tmp_path / "out")["prediction"], expected)


def test_sparse_and_text_outputs(tmp_path, rows):
    rows.assign(t=np.where(rows["id"] % 2, "odd", "even")).to_parquet(tmp_path / "l.pq")
    X = pd.read_parquet(tmp_path / "l.pq")[["t"]]
    encoder = OneHotEncoder().fit(X)

    predict_table(encoder, tmp_path / "l.pq", tmp_path / "out", method="transform")

    scored = read(tmp_path / "out").to_pandas()
    expected = encoder.transform(X).toarray()
    np.testing.assert_array_equal(scored[["t_even", "t_odd"]], expected)


def test_types_of_the_source_are_kept(tmp_path, model):
    day = dt.datetime(2024, 1, 2, 3, 4, 5, 678901)
    kept = pa.table(
        {
            "price": pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2)),
            "count": pa.array([2**60 + 1, None], pa.int64()),
            "small": pa.array([1, None], pa.int8()),
            "flag": pa.array([True, None]),
            "kind": pa.array(["u", None]).dictionary_encode(),
            "text": pa.array(["u", None], pa.large_string()),
            "when": pa.array([day, None], pa.timestamp("us", "Europe/Vienna")),
            "nano": pa.array([1, None], pa.timestamp("ns")),
            "day": pa.array([day.date(), None], pa.date32()),
            "tags": pa.array([["u"], None], pa.list_(pa.string())),
            "point": pa.array([{"x": 1}, None], pa.struct([("x", pa.int32())])),
            "blob": pa.array([b"\0", None], pa.binary()),
            "none": pa.nulls(2),
        }
    )
    features = pa.table({"a": [1.0, 2.0], "b": pa.array([1, 2], pa.float32())})
    source = features
    for field in kept.schema:
        source = source.append_column(field, kept[field.name])
    pq.write_table(source, tmp_path / "l.parquet")

    predict_table(model, tmp_path / "l.parquet", tmp_path / "out")

    scored = read(tmp_path / "out")
    assert scored.select(source.column_names).equals(source)
    assert scored.schema.types[:-1] == source.schema.types


def test_features_with_nulls_decimals_and_flags(tmp_path):
    source = pa.table(
        {
            "i": pa.array([1, None, 3], pa.int64()),
            "d": pa.array([decimal.Decimal("1.5"), decimal.Decimal("2.5"), None]),
            "f": pa.array([True, None, False]),
        }
    )
    pq.write_table(source, tmp_path / "l.parquet", row_group_size=1)
    X = pd.DataFrame({"i": [1.0, 0, 3], "d": [1.5, 2.5, 0], "f": [1.0, 0, 0]})
    model = StandardScaler().fit(X)

    predict_table(
        model, tmp_path / "l.parquet", tmp_path / "out", method="transform", prefix="t_"
    )

    scored = read(tmp_path / "out").to_pandas()[["t_i", "t_d", "t_f"]]
    mask = [[True, True, True], [False, True, False], [True, False, True]]
    expected = np.where(mask, model.transform(X), np.nan)
    np.testing.assert_allclose(scored, expected)


@pytest.fixture
def keyed(tmp_path, rows):
    """A folder for each year, which is not in the files; and the rows."""
    rows = rows.assign(year=np.where(rows["id"] % 2, 2024, 2025), late=rows["a"] > 0)
    for year, some in rows.groupby("year"):
        os.makedirs(tmp_path / "lake" / f"year={year}")
        path = tmp_path / "lake" / f"year={year}" / "0.parquet"
        some.drop(columns="year").to_parquet(path, index=False)
    return tmp_path / "lake", rows


def test_folder_keys_are_columns_and_features(tmp_path, keyed):
    lake, rows = keyed
    encoded = make_column_transformer(
        (OneHotEncoder(), ["year"]), remainder="passthrough"
    )
    model = make_pipeline(encoded, LogisticRegression())
    model.fit(rows[["year", "a"]], rows["late"])

    predict_table(model, lake, tmp_path / "out")

    scored = read(tmp_path / "out").to_pandas().sort_values("id")
    assert scored["year"].tolist() == rows["year"].tolist()
    expected = model.predict(rows[["year", "a"]])
    assert scored["prediction"].tolist() == expected.tolist()


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # in dask, of pandas 3.1
def test_keys_that_were_categories_in_fit_are_categories(tmp_path, keyed):
    lake, _ = keyed
    lazy = dd.read_parquet(lake)[["year"]]  # dask makes categories of the keys
    model = IID(OneHotEncoder(), sample=90).fit(lazy)

    predict_table(model, lake, tmp_path / "out", method="transform")

    scored = read(tmp_path / "out").to_pandas()
    assert (scored["year_2024"] == (scored["year"] == 2024)).all()


def test_files_that_differ_give_one_type(tmp_path, model):
    (tmp_path / "lake").mkdir()
    for number, values in enumerate(
        [
            {"a": pa.array([1, 2], pa.int32()), "b": [1.0, 2.0], "n": [None, None]},
            {"n": ["x"], "b": pa.array([0.5], pa.float32()), "a": [0.5]},
        ]
    ):
        pq.write_table(pa.table(values), tmp_path / "lake" / f"{number}.parquet")

    predict_table(model, tmp_path / "lake", tmp_path / "out")

    first, second = map(pq.read_schema, (tmp_path / "out").iterdir())
    assert first.equals(second)
    assert first.types == [pa.float64(), pa.float64(), pa.string(), pa.string()]
    assert read(tmp_path / "out")["n"].to_pylist() == [None, None, "x"]


def test_empty_source_gives_an_empty_table(tmp_path, lake, rows, model):
    shutil.rmtree(lake)
    lake.mkdir()
    rows[:0].to_parquet(lake / "0.parquet", index=False)

    report = predict_table(model, lake, tmp_path / "out", method="predict_proba")

    assert (report.rows, report.parts, report.predicted_rows) == (0, 1, 0)
    scored = read(tmp_path / "out")
    assert scored.num_rows == 0
    assert scored.column_names[-2:] == ["probability_no", "probability_yes"]
    again = predict_table(model, lake, tmp_path / "out", method="predict_proba")
    assert again.job == report.job


def test_files_without_rows_are_passed_over(tmp_path, lake, rows, model):
    rows[:0].to_parquet(lake / "00.parquet", index=False)

    report = predict_table(model, lake, tmp_path / "out")

    assert (report.rows, report.parts) == (90, 3)


# What is refused before any work


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"keep": ["id", "nope"]}, ColumnMismatchError, "nope"),
        ({"keep": ["id", "id"]}, ColumnCollisionError, r"\['id'\] twice"),
        ({"name": "id"}, ColumnCollisionError, r"\['id'\] twice"),
        ({"method": ["predict", "predict"]}, ColumnCollisionError, "prediction"),
        ({"method": "transform"}, EstimatorTypeError, "predict_proba"),
        ({"method": []}, EstimatorTypeError, "response methods"),
        ({"mode": "append"}, TargetError, "half-way"),
        ({"mode": "a"}, InvalidParameterError, "'mode' parameter"),
        ({"keep": "id"}, InvalidParameterError, "'keep' parameter"),
    ],
)
def test_wrong_options(tmp_path, lake, model, options, error, match):
    with pytest.raises(error, match=match):
        predict_table(model, lake, tmp_path / "out", **options)

    assert os.listdir(tmp_path) == ["lake"]


def test_source_that_the_model_does_not_fit(tmp_path, lake, rows, model):
    other = model.fit(rows[["a", "b"]].rename(columns={"b": "c"}), rows["a"] > 0)

    with pytest.raises(ColumnMismatchError, match=r"missing: \['c'\]"):
        predict_table(other, lake, tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        ("model.skops", EstimatorTypeError, "load_model"),
        (LinearRegression, EstimatorTypeError, "the class LinearRegression"),
        (None, EstimatorTypeError, "Got None"),
        (TfidfVectorizer().fit(["a word"]), EstimatorTypeError, "one column of text"),
        (FeatureHasher(2).fit(None), UnknownOutputError, r"ddf\.ml\.transform"),
    ],
)
def test_what_is_no_model_of_a_table(tmp_path, lake, model, error, match):
    with pytest.raises(error, match=f"(?s)predict_table expects.*{match}"):
        predict_table(model, lake, tmp_path / "out", method="transform")

    assert not (tmp_path / "out").exists()


def test_broken_file_is_named_and_nothing_is_made(tmp_path, lake, model):
    os.truncate(lake / "1.parquet", 200)

    with pytest.raises(SourceError, match=r"1\.parquet"):
        predict_table(model, lake, tmp_path / "out")

    assert os.listdir(tmp_path) == ["lake"]


def test_target_and_source_must_be_apart(tmp_path, lake, model):
    (tmp_path / "link").symlink_to(lake)
    for target in [lake, lake / "out", tmp_path, tmp_path / "link" / "out"]:
        for mode in ("error", "overwrite"):
            with pytest.raises(TargetExistsError, match="inside the other"):
                predict_table(model, lake, target, mode=mode)
    for source, target in [("*.parquet", lake), ("**/*.parquet", lake / "out")]:
        with pytest.raises(TargetExistsError, match="inside the other"):
            predict_table(model, lake / source, target, mode="overwrite")

    predict_table(model, lake / "*.parquet", lake / "out")
    assert predict_table(model, lake / "*.parquet", lake / "out").predicted_rows == 0


def test_target_that_is_no_table_is_not_to_be_overwritten(tmp_path, lake, model):
    (tmp_path / "notes.txt").touch()
    for mode in ("error", "overwrite"):
        with pytest.raises(TargetExistsError, match="choose another target, or move"):
            predict_table(model, lake, tmp_path / "notes.txt", mode=mode)


@pytest.mark.parametrize("format", ["parquet", "delta"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("notes.txt/out", "Not a directory.*in a folder"),
        ("/proc/none/out", "No such file.*takes files"),
        ("o" * 250, "too long.*shorter name"),
        ("nul\0/out", "with a NUL"),
        ("/", "which all folders are in"),
        ("//.", "which all folders are in"),
    ],
)
def test_places_where_nothing_can_be(tmp_path, lake, model, target, message, format):
    if format == "delta":
        pytest.importorskip("deltalake")
    (tmp_path / "notes.txt").touch()

    with pytest.raises(TargetError, match=f"(?s){message}") as caught:
        predict_table(model, lake, os.path.join(tmp_path, target), format=format)
    assert ".dfml" not in str(caught.value)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_folder_that_may_not_be_written_to(tmp_path, lake, model, monkeypatch, code):
    def refuse(path, *args, **options):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "makedirs", refuse)

    with pytest.raises(TargetError, match=r"/out': .*\n\nHint: (let|choose)"):
        predict_table(model, lake, tmp_path / "out")


def test_target_that_is_taken(tmp_path, lake, rows, model):
    (tmp_path / "out").mkdir()
    rows.to_parquet(tmp_path / "out" / "mine.parquet")

    with pytest.raises(TargetExistsError, match='mode="overwrite"'):
        predict_table(model, lake, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["lake", "out"]

    predict_table(model, lake, tmp_path / "out", mode="overwrite")
    assert read(tmp_path / "out").num_rows == 90
    check_only_reports_are_left(tmp_path / "out")


# What is done once


def test_same_job_again_does_nothing(tmp_path, lake, rows, model):
    first = predict_table(model, lake, tmp_path / "out")
    before = times_in(tmp_path / "out")
    same = LogisticRegression().fit(rows[["a", "b"]], model.predict(rows[["a", "b"]]))
    same.coef_, same.intercept_ = model.coef_.copy(), model.intercept_.copy()

    again = predict_table(same, lake, tmp_path / "out")
    forced = predict_table(model, lake, tmp_path / "out", mode="overwrite")

    assert again.predicted_rows == forced.predicted_rows == 0
    assert (again.job, again.rows, again.seconds) == (
        first.job,
        first.rows,
        first.seconds,
    )
    assert before == {
        f.name: f.stat().st_mtime_ns for f in (tmp_path / "out").iterdir()
    }
    fresh = predict_table(model, lake, tmp_path / "out", mode="overwrite", resume=False)
    assert fresh.predicted_rows == 90


def test_changed_source_model_or_columns_are_another_job(tmp_path, lake, rows, model):
    jobs = {predict_table(model, lake, tmp_path / "out").job}
    changed = [
        {"keep": ["id"]},
        {"name": "p"},
        {"method": "predict_proba"},
        {"model": LogisticRegression(C=9).fit(rows[["a", "b"]], rows["a"] > 0)},
    ]
    for options in changed:
        options = {"model": model, **options}
        with pytest.raises(TargetExistsError):
            predict_table(source=lake, target=tmp_path / "out", **options)
        report = predict_table(
            source=lake, target=tmp_path / "out", mode="overwrite", **options
        )
        jobs.add(report.job)
    os.utime(lake / "0.parquet", ns=(1, 1))
    jobs.add(predict_table(model, lake, tmp_path / "out", mode="overwrite").job)

    assert len(jobs) == 6


def test_progress_is_told_after_each_part(tmp_path, lake, model):
    told = []

    predict_table(
        model, lake, tmp_path / "out", progress=lambda *counts: told.append(counts)
    )

    assert told == [(1, 3), (2, 3), (3, 3)]


# What happens when something fails


def table_at(path):
    if not path.exists():
        return None
    found = read(path).to_pydict()
    assert all(name.endswith(".parquet") for name in os.listdir(path))
    return found


def test_failure_at_some_calls(tmp_path, lake, model):
    """All calls, and all kinds of targets, are tried in tests/sinks/test_faults.py."""
    job = plan_job(model, lake, ["predict"], keep=["id"])
    old_job = plan_job(model, lake, ["decision_function"], keep=[])

    def start(number):
        target = tmp_path / f"out{number}"
        run_job(old_job, ParquetTarget("t", target, FileSystem()))
        return target

    def run(target, files):
        return run_job(job, ParquetTarget("t", target, files, mode="overwrite"))

    first = start(0)
    old = table_at(first)
    files = Dying()
    run(first, files)
    new = table_at(first)
    assert new["prediction"]

    n_failed = 0
    for at in range(1, files.n_calls + 1, 7):
        target = start(at)
        try:
            run(target, Dying(at))
        except Failure:
            n_failed += 1
        assert table_at(target) in (old, new), f"at call {at}"
        run(target, Dying())
        assert table_at(target) == new, f"after call {at}"
        check_only_reports_are_left(target)
    assert n_failed > 5


def test_rerun_computes_only_what_is_missing(tmp_path, lake, model):
    class Full(FileSystem):
        def replace(self, source, target):
            if os.path.basename(target).startswith("part-00002-"):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().replace(source, target)

    job = plan_job(model, lake, ["predict"])
    place = ParquetTarget("t", tmp_path / "out", Full())
    with pytest.raises(OSError, match="No space") as caught:
        run_job(job, place)
    assert not (tmp_path / "out").exists()
    notes = " ".join(caught.value.__notes__)
    assert "row group 0 of" in notes
    assert "2.parquet', part 2 of 3" in notes
    told = []

    report = predict_table(
        model, lake, tmp_path / "out", progress=lambda *counts: told.append(counts)
    )

    assert (report.resumed_parts, report.predicted_rows, report.rows) == (2, 40, 90)
    assert told == [(3, 3)]
    assert read(tmp_path / "out")["id"].to_pylist() == list(range(90))


def test_rerun_from_nothing(tmp_path, lake, model):
    job = plan_job(model, lake, ["predict"])
    with pytest.raises(OSError, match="call"):
        run_job(job, ParquetTarget("t", tmp_path / "out", Dying(45)))

    report = predict_table(model, lake, tmp_path / "out", resume=False)

    assert (report.resumed_parts, report.predicted_rows) == (0, 90)


def overwrite_and_die(model, lake, out, seconds):
    _row_groups.PART_BYTES = 100  # a part a row group
    threading.Timer(seconds, lambda: os.kill(os.getpid(), 9)).start()
    predict_table(joblib.load(model), lake, out, mode="overwrite", keep=["id"])
    os._exit(0)


@pytest.mark.slow
def test_killed_processes_leave_old_or_new_and_a_rerun_ends_it(
    tmp_path, lake, rows, model
):
    rows.to_parquet(lake / "3.parquet", index=False, row_group_size=2)
    joblib.dump(model, tmp_path / "model")
    out = tmp_path / "out"
    predict_table(model, lake, out, method="predict_proba")
    old = table_at(out)
    n_killed = 0
    for delay in np.linspace(0.02, 0.3, 6):
        code = exit_code(overwrite_and_die, tmp_path / "model", lake, out, delay)
        n_killed += code == -9
        found = table_at(out)
        assert found == old or len(found["prediction"]) == 180
    assert n_killed > 2

    predict_table(model, lake, out, mode="overwrite", keep=["id"])

    assert table_at(out)["id"] == [*rows["id"], *rows["id"]]
    check_only_reports_are_left(out)


class Picky(LinearRegression):
    def predict(self, X):
        if (X["id"] == 25).any():
            raise RuntimeError("25 is too much")
        return super().predict(X)


def test_errors_of_the_model_name_the_part(tmp_path, lake, rows):
    model = Picky().fit(rows[["id", "a"]], rows["a"])

    with pytest.raises(RuntimeError, match="25 is too much") as caught:
        predict_table(model, lake, tmp_path / "out")

    assert any("1.parquet', part 1 of 3" in note for note in caught.value.__notes__)
    assert not (tmp_path / "out").exists()


def test_file_that_breaks_while_the_job_runs(tmp_path, lake, model):
    def truncate(done, total):
        if done == 1:
            os.truncate(lake / "2.parquet", 300)

    with pytest.raises(SourceError, match=r"2\.parquet' \(part 2\)"):
        predict_table(model, lake, tmp_path / "out", progress=truncate)

    assert not (tmp_path / "out").exists()


# Where it runs


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers_write_the_same_table(tmp_path, lake, model, scheduler, monkeypatch):
    monkeypatch.setattr(_row_groups, "PART_BYTES", 300)
    expected = predict_table(model, lake, tmp_path / "expected")
    with dask.config.set(scheduler=scheduler, num_workers=2):
        report = predict_table(model, lake, tmp_path / "out")

    assert (report.job, report.columns) == (expected.job, expected.columns)
    assert read(tmp_path / "out").equals(read(tmp_path / "expected"))


class Crowded(LinearRegression):
    """Notes how many partitions are predicted at once."""

    lock, inside, most = threading.Lock(), 0, 0

    def predict(self, X):
        cls = type(self)
        with cls.lock:
            cls.inside += 1
            cls.most = max(cls.most, cls.inside)
        time.sleep(0.02)
        with cls.lock:
            cls.inside -= 1
        return super().predict(X)


def test_threads_that_wait_for_the_disk_do_not_compute(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(_row_groups, "PART_BYTES", 1)
    rows.to_parquet(tmp_path / "lake.parquet", row_group_size=5)
    model = Crowded().fit(rows[["a"]], rows["b"])
    with dask.config.set(scheduler="threads", num_workers=2):
        report = predict_table(model, tmp_path / "lake.parquet", tmp_path / "out")

    assert (report.parts, Crowded.most) == (18, 2)


@pytest.mark.distributed
def test_cluster(tmp_path, lake, rows, model):
    with started_as_by_users(), local_cluster():
        predict_table(model, lake, tmp_path / "out")
        again = predict_table(model, lake, tmp_path / "out")

    assert again.predicted_rows == 0
    expected = model.predict(rows[["a", "b"]]).tolist()
    assert read(tmp_path / "out")["prediction"].to_pylist() == expected
