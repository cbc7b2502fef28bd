"""Checks that decide before anything is visible, through ``predict_table``."""

from __future__ import annotations

import itertools
import json
import os
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import dfml
from dfml import Check
from dfml.exceptions import CheckFailedError, ColumnMismatchError, InputTypeError
from dfml.sinks._checks import Meter, bind_checks, check_figures, merge_figures
from tests.conftest import FEATURES


@pytest.fixture
def model(table):
    return LogisticRegression().fit(table[FEATURES], table["late"])


@pytest.fixture
def share(model, table):
    return float((model.predict(table[FEATURES]) == "yes").mean())


@pytest.fixture
def score(model, lake, tmp_path):
    """Predict the lake into a folder, with all methods that checks are made for."""

    def run(checks=None, **options):
        options = {"method": ["predict", "predict_proba"], "keep": ["id"], **options}
        return dfml.predict_table(
            model, lake, tmp_path / "out", checks=checks, **options
        )

    return run


def test_checks_that_hold(score, share, tmp_path):
    report = score(
        {
            "prediction": Check(nulls=0, shares={"yes": (share, share)}),
            "probability_yes": Check(minimum=0, maximum=1, nulls=0.0),
            "id": Check(minimum=1000, maximum=1599),
        }
    )

    assert (tmp_path / "out").is_dir()
    assert report.figures["id"] == {
        "rows": 600,
        "nulls": 0,
        "minimum": 1000,
        "maximum": 1599,
        "counts": {},
    }
    assert report.figures["prediction"]["counts"] == {"yes": round(600 * share)}
    stored = json.loads((tmp_path / ".out.dfml" / "report.json").read_text())
    assert stored["report"]["figures"] == report.figures


@pytest.mark.parametrize(
    ("name", "check", "expected", "got"),
    [
        ("prediction", Check(shares={"yes": (0.99, 1)}), "share of 'yes'", "of 600"),
        ("prediction", Check(shares={"yes": (0, 0.01)}), "0 to 0.01", "0."),
        ("probability_no", Check(minimum=0.5), "below 0.5", "e-0"),
        ("probability_no", Check(maximum=0.5), "above 0.5", "Got 0.99"),
        ("id", Check(maximum=1000), "no value of 'id' above 1000", "1599"),
    ],
)
def test_checks_that_fail(score, tmp_path, name, check, expected, got):
    with pytest.raises(CheckFailedError) as caught:
        score({name: check})

    assert expected in str(caught.value)
    assert got in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == [".out.dfml", "lake"]


def test_a_target_that_is_there_stays(score, tmp_path):
    score(keep=[])
    before = sorted(os.listdir(tmp_path / "out"))
    with pytest.raises(CheckFailedError):
        score({"prediction": Check(shares={"no": (1, 1)})}, mode="overwrite")

    assert sorted(os.listdir(tmp_path / "out")) == before
    assert pq.read_schema(tmp_path / "out" / before[0]).names[0] == "prediction"


def test_nulls_and_nan_are_counted(tmp_path):
    source = pa.table({"x": [1.0, None, float("nan"), 4.0], "y": [1.0, 2, 3, 4]})
    pq.write_table(source, tmp_path / "lake.parquet", row_group_size=2)
    frame = source.to_pandas()
    model = LinearRegression().fit(frame[["y"]], frame["y"])

    def score(check):
        dfml.predict_table(
            model, tmp_path / "lake.parquet", tmp_path / "out", checks={"x": check}
        )

    with pytest.raises(CheckFailedError, match=r"at most 1 nulls .* Got 2 of 4 rows"):
        score(Check(nulls=1))
    with pytest.raises(CheckFailedError, match=r"a share of 0.4 as nulls"):
        score(Check(nulls=0.4))
    score(Check(nulls=2, minimum=1, maximum=4))


def test_all_failures_are_named_at_once(score):
    checks = {
        "id": Check(minimum=1500, maximum=1550),
        "probability_no": Check(maximum=0),
    }

    with pytest.raises(CheckFailedError, match=r"below 1500.*above 1550.*above 0"):
        score(checks)


def test_a_call_with_other_checks_predicts_nothing_again(score, share):
    with pytest.raises(CheckFailedError):
        score({"prediction": Check(shares={"yes": (0, share / 2)})})

    report = score({"prediction": Check(nulls=0, shares={"yes": (0, share)})})

    assert (report.resumed_parts, report.predicted_rows) == (8, 0)


def test_parts_that_were_not_measured_are_written_anew(score):
    with pytest.raises(CheckFailedError):
        score({"id": Check(maximum=0)})

    report = score({"prediction": Check(shares={"no": (0, 1)})})

    assert (report.resumed_parts, report.predicted_rows) == (0, 600)
    assert list(report.figures) == ["prediction"]


def test_a_job_that_is_done_is_checked_too(score):
    score({"id": Check(maximum=1599)})

    with pytest.raises(CheckFailedError, match=r"has written the table before"):
        score({"id": Check(maximum=1500)})
    with pytest.raises(CheckFailedError, match="without these checks"):
        score({"prediction": Check(nulls=0)})
    assert score({"id": Check(maximum=2000)}).done_before


def test_a_job_that_nobody_has_measured_is_overwritten(score):
    score({})

    report = score({"prediction": Check(nulls=0)}, mode="overwrite")

    assert (report.done_before, report.predicted_rows) == (False, 600)
    assert report.figures["prediction"]["nulls"] == 0
    assert score({"prediction": Check(nulls=0)}, mode="overwrite").done_before


@pytest.mark.parametrize(
    ("checks", "error", "match"),
    [
        ({"nothing": Check()}, ColumnMismatchError, "nothing"),
        ({"prediction": Check(minimum=0)}, InputTypeError, "columns of numbers"),
        ({"id": Check(shares={"x": (0, 1)})}, InputTypeError, "int64"),
        ({"id": {"nulls": 0}}, InputTypeError, r"dfml\.Check"),
    ],
)
def test_checks_that_make_no_sense(score, tmp_path, checks, error, match):
    with pytest.raises(error, match=match):
        score(checks)

    assert os.listdir(tmp_path) == ["lake"]


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"shares": {1: (0.5, 0.1)}}, "the lower one first"),
        ({"shares": {1: (10, 40)}}, "from 0 to 1"),
        ({"shares": {1: 0.5}}, "pairs"),
        ({"shares": [1]}, "by value"),
        ({"shares": {1: "ab"}}, "pairs"),
        ({"shares": {None: (0, 1)}}, r"by nulls=, a number"),
        ({"shares": {"a": (0, 1), float("nan"): (0, 1)}}, r"'a', nan.*(.|\n)*nulls="),
        ({"nulls": -1}, "number of rows"),
        ({"nulls": 1.5}, "float from 0 to 1"),
        ({"nulls": float("nan")}, "Got nan"),
        ({"nulls": "0"}, "Got '0'"),
        ({"nulls": True}, "Got True"),
        ({"minimum": float("nan")}, "minimum= as a number"),
        ({"maximum": "1"}, "maximum= as a number"),
        ({"minimum": 2, "maximum": 1}, "Got 2 and 1"),
    ],
)
def test_rules_that_make_no_sense(rules, match):
    with pytest.raises(InputTypeError, match=match):
        Check(**rules)


def test_rules_take_numbers_of_all_kinds(score):
    half = np.float32(0.5)  # as a share, which is no float of Python
    score({"id": Check(nulls=half, minimum=np.int64(1000), maximum=Decimal(1599))})

    with pytest.raises(CheckFailedError, match="above 1598"):
        score({"id": Check(nulls=np.int64(0), maximum=Decimal(1598))})


@pytest.mark.parametrize(
    ("values", "value", "count"),
    [
        (pa.array([True, False, None]), np.True_, 1),
        (pa.array([True, False, None]), "false", 1),
        (pa.array([1, 2, 2], pa.int8()), "2", 2),
        (pa.array([0.5, float("nan")]), 0.5, 1),
        (pa.array(np.array([0.5, 2], "float16")), 0.5, 1),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "a", 2),
    ],
)
def test_values_of_all_types_are_counted(values, value, count):
    rows = pa.table({"x": values})
    meter = Meter(bind_checks("t", {"x": Check(shares={value: (0, 1)})}, rows.schema))

    tables = list(meter.watch([rows[:1], rows[1:], rows[:0]]))

    assert sum(len(table) for table in tables) == len(rows)
    assert list(meter.figures["x"]["counts"].values()) == [count]


@pytest.mark.parametrize("cuts", [[], [0], [3, 3, 7], list(range(11))])
def test_figures_of_parts_are_those_of_the_whole(cuts):
    rows = pa.table({"x": [3.0, None, -1.0, 2.0, float("nan"), 2.0, 9.0, None, 0.0, 4]})
    checks = bind_checks("t", {"x": Check(shares={2.0: (0, 1)})}, rows.schema)

    def measure(table):
        meter = Meter(checks)
        list(meter.watch([table]))
        return meter.figures

    edges = [0, *cuts, len(rows)]
    parts = [rows[a:b] for a, b in itertools.pairwise(edges)]
    assert merge_figures(map(measure, parts)) == measure(rows)


@pytest.mark.parametrize("format_", ["delta", "duckdb"])
def test_tables_of_all_formats_are_checked(score, model, lake, tmp_path, format_):
    pytest.importorskip({"delta": "deltalake"}.get(format_, format_))
    target = tmp_path / f"out.{format_}"
    options = {"format": format_, "keep": ["id"]}
    if format_ == "duckdb":
        options["table"] = "scored"

    def run(check):
        return dfml.predict_table(model, lake, target, checks={"id": check}, **options)

    with pytest.raises(CheckFailedError, match="above 1500"):
        run(Check(maximum=1500))
    assert not (target / "_delta_log").exists()
    assert not target.is_file() or "scored" not in tables_of(target)
    first = run(Check(maximum=1599))
    assert (first.resumed_parts, first.figures["id"]["maximum"]) == (8, 1599)

    again = run(Check(maximum=1600))
    assert (again.done_before, again.figures) == (True, first.figures)
    with pytest.raises(CheckFailedError, match="has written the table before"):
        run(Check(maximum=1500))


def tables_of(path):
    import duckdb

    with duckdb.connect(str(path), read_only=True) as con:
        return [name for (name,) in con.sql("SHOW TABLES").fetchall()]


@pytest.mark.parametrize(
    ("bound", "text"),
    [(2**53, "9007199254740992"), (0.1234567, "0.1234567"), (5.0, "5")],
)
@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_bounds_are_shown_as_they_are(bound, text, name):
    rows = pa.table({"x": [-(2**53), 2**53 + 1]})
    checks = bind_checks("t", {"x": Check(**{name: bound})}, rows.schema)
    meter = Meter(checks)
    list(meter.watch([rows]))

    with pytest.raises(CheckFailedError, match=rf"(above|below) {text}\. Got"):
        check_figures("t", checks, meter.figures, "hint")
