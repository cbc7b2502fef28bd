"""``predict_table`` to every kind of table."""

from __future__ import annotations

import os

import dask
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression

import dfml
from dfml.exceptions import DiskFullError, TargetError, TargetExistsError
from dfml.sinks._files import FileSystem
from dfml.table import PredictionReport, plan_job, predict_table, run_job
from tests.processes import local_cluster
from tests.sinks.places import DAYS, PLACES, opened
from tests.sinks.test_targets import Stops


@pytest.fixture
def rows():
    ids = np.arange(40)
    return pd.DataFrame({"id": ids, "day": [DAYS[i % 4] for i in ids], "a": ids / 8.0})


@pytest.fixture
def model(rows):
    return LinearRegression().fit(rows[["a"]], rows["id"])


@pytest.fixture
def lake(tmp_path, rows):
    (tmp_path / "lake").mkdir()
    for number in range(4):
        some = rows[number * 10 : number * 10 + 10]
        some.to_parquet(tmp_path / "lake" / f"{number}.parquet", index=False)
    return tmp_path / "lake"


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    (tmp_path / "place").mkdir()
    with opened(request.param, tmp_path / "place") as found:
        yield found


def options_of(place, mode="error"):
    by = {"partition_by": ["day"]} if place.by_day else {}
    options = {"mode": mode, "keep": ["id", "day"], "name": "x"}
    return {**place.options(), **by, **options}


def expected(rows, model):
    answers = model.predict(rows[["a"]])
    table = pa.table({"id": rows["id"], "day": rows["day"], "x": answers})
    return table.cast(
        pa.schema([("id", pa.int64()), ("day", pa.string()), ("x", pa.float64())])
    )


def test_table_equals_predicting_in_memory(place, lake, rows, model):
    report = predict_table(model, lake, **options_of(place))

    assert place.read().equals(expected(rows, model))
    assert (report.rows, report.parts, report.predicted_rows) == (40, 4, 40)
    assert report.files >= 4
    again = predict_table(model, lake, **options_of(place))
    assert again.done_before
    assert (again.job, again.rows, again.bytes) == (report.job, 40, report.bytes)
    assert place.leftovers() == []


def test_another_model_takes_the_place(place, lake, rows, model):
    predict_table(model, lake, **options_of(place))
    other = LinearRegression().fit(rows[["a"]], -rows["id"])
    with pytest.raises(TargetExistsError):
        predict_table(other, lake, **options_of(place))

    predict_table(other, lake, **options_of(place, "overwrite"))

    assert place.read().equals(expected(rows, other))
    assert place.leftovers() == []


def test_source_without_rows(place, tmp_path, rows, model):
    rows.astype({"day": "string"})[:0].to_parquet(tmp_path / "empty.parquet")

    for _ in range(2):
        report = predict_table(model, tmp_path / "empty.parquet", **options_of(place))

    assert report.rows == 0
    assert place.table().num_rows == 0
    assert sorted(place.table().column_names) == ["day", "id", "x"]


def test_call_that_died_goes_on(place, lake, rows, model):
    job = plan_job(model, lake, ["predict"], keep=["id", "day"], name="x")
    with pytest.raises(OSError, match="stopped"):
        run_job(job, place.target(files=Stops()))

    report = predict_table(model, lake, **options_of(place))

    assert (report.resumed_parts, report.predicted_rows) == (4, 0)
    assert not report.done_before
    assert place.read().equals(expected(rows, model))
    assert place.leftovers() == []


def test_checks_that_fail_leave_the_table(place, lake, rows, model):
    predict_table(model, lake, **options_of(place))
    other = LinearRegression().fit(rows[["a"]], -rows["id"])
    checks = {"x": dfml.Check(minimum=0)}

    with pytest.raises(dfml.exceptions.CheckFailedError):
        predict_table(other, lake, **options_of(place, "overwrite"), checks=checks)

    assert place.read().equals(expected(rows, model))


def test_threads(place, lake, rows, model):
    with dask.config.set(scheduler="threads", num_workers=2):
        predict_table(model, lake, **options_of(place))

    assert place.read().equals(expected(rows, model))


def test_processes(tmp_path, lake, rows, model):
    with (
        opened("delta by day", tmp_path) as place,
        dask.config.set(scheduler="processes", num_workers=2),
    ):
        predict_table(model, lake, **options_of(place))

        assert place.read().equals(expected(rows, model))


@pytest.mark.distributed
def test_cluster(tmp_path, lake, rows, model):
    """Workers write parts, and the driver, who has the handles, commits."""
    with local_cluster():
        for kind in PLACES:
            (tmp_path / kind).mkdir()
            with opened(kind, tmp_path / kind) as place:
                predict_table(model, lake, **options_of(place))
                again = predict_table(model, lake, **options_of(place))
                assert again.done_before
                assert place.read().equals(expected(rows, model))
                assert place.leftovers() == []


def test_partitions_by_what_is_predicted(tmp_path, lake, rows):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(rows[["a"]], np.where(rows["id"] > 20, "y", "n"))
    report = predict_table(
        model, lake, tmp_path / "out", keep=["id"], partition_by=["prediction"]
    )

    assert sorted(os.listdir(tmp_path / "out")) == ["prediction=n", "prediction=y"]
    found = pq.read_table(tmp_path / "out").sort_by("id")
    assert found["prediction"].to_pylist() == model.predict(rows[["a"]]).tolist()
    assert (report.parts, report.files) == (4, 5)
    assert report.columns == ("id", "prediction")


def test_from_a_relation_to_a_table_of_the_same_connection(rows, model):
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS FROM rows")
        relation = connection.sql("FROM t ORDER BY id")
        for done_before in [False, True]:
            report = predict_table(
                model, relation, connection, table="scored", mode="append"
            )
            assert report.done_before is done_before
        found = connection.sql("SELECT id, prediction FROM scored ORDER BY id").df()

    assert found["prediction"].tolist() == model.predict(rows[["a"]]).tolist()


def test_from_table_format_to_table_format(tmp_path, lake, rows, model):
    deltalake = pytest.importorskip("deltalake")
    pytest.importorskip("pyiceberg")
    options = {"format": "delta", "name": "p"}
    predict_table(model, lake, tmp_path / "first", **options)
    first = deltalake.DeltaTable(tmp_path / "first")
    (tmp_path / "place").mkdir()
    with opened("iceberg", tmp_path / "place") as place:
        predict_table(model, first, **options_of(place))
        assert place.read().equals(expected(rows, model))
        twice = LinearRegression().fit(
            rows[["id"]].rename(columns={"id": "x"}), rows["a"]
        )
        predict_table(twice, place.opened(), tmp_path / "third", keep=["id"])

    assert pq.read_table(tmp_path / "third").num_rows == 40


def test_table_is_not_its_own_source(tmp_path, lake, model):
    pytest.importorskip("deltalake")
    predict_table(model, lake, tmp_path / "t", format="delta", name="p")

    with pytest.raises(TargetExistsError, match="inside the other"):
        predict_table(model, tmp_path / "t", tmp_path / "t", mode="append", name="q")


def test_report_that_the_table_has_lost(tmp_path, lake, model):
    pytest.importorskip("deltalake")
    options = {"target": tmp_path / "t", "format": "delta", "mode": "append"}
    first = predict_table(model, lake, **options)
    log = tmp_path / "t" / "_delta_log" / f"{0:020}.json"
    kept = [line for line in log.read_text().splitlines() if "commitInfo" not in line]
    log.write_text("\n".join(kept) + "\n")

    again = predict_table(model, lake, **options)

    assert isinstance(again, PredictionReport)
    assert again.done_before
    assert (again.job, again.model, again.rows) == (first.job, first.model, 40)
    assert (again.columns, again.bytes) == (first.columns, 0)


def test_full_disk(tmp_path, lake, model):
    class Full(FileSystem):
        def sync(self, file):
            if "part-0" in file.name:
                raise OSError(28, "No space left on device")
            super().sync(file)

    job = plan_job(model, lake, ["predict"])
    with opened("parquet", tmp_path) as place:
        with pytest.raises(DiskFullError, match="the target is what it was") as caught:
            run_job(job, place.target(files=Full()))

        assert caught.value.errno == 28
        assert any("part 0 of 4" in note for note in caught.value.__notes__)
        assert place.read() is None


def test_values_that_cannot_be_partitioned_by_name_the_part(tmp_path, lake, model):
    rows = pd.DataFrame({"day": ["a", ""], "a": [1.0, 2.0]})
    rows.to_parquet(lake / "9.parquet")

    with pytest.raises(TargetError, match="'day'") as caught:
        predict_table(model, lake / "9.parquet", tmp_path / "out", partition_by=["day"])

    assert any("9.parquet" in note for note in caught.value.__notes__)
