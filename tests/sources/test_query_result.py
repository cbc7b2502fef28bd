from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys

import dask
import duckdb
import numpy as np
import pyarrow as pa
import pytest

from dfml.exceptions import QueryError
from dfml.sources import _row_groups, _spill
from dfml.sources._open import open_table


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def read_all(table, names=None):
    schema = table.schema(table.names if names is None else names)
    read = [each for part in table.parts for each in part.read("read", schema)]
    return pa.concat_tables([schema.empty_table(), *read])


def test_types_are_those_of_read_sql(con):
    con.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    relation = con.sql(
        """SELECT 1::TINYINT AS small, 2::UBIGINT AS large, true AS flag,
        0.5::FLOAT AS f, 1.25::DECIMAL(9, 2) AS price, 'ü' AS text, 'ok'::mood AS mood,
        DATE '2024-02-29' AS day, TIMESTAMP '2024-02-29 01:02:03' AS moment
        UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"""
    )

    read = read_all(open_table("read", relation))

    assert read.schema.types == [
        pa.int8(),
        pa.uint64(),
        pa.bool_(),
        pa.float32(),
        pa.float64(),
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.timestamp("us"),
        pa.timestamp("us"),
    ]
    first, second = read.to_pylist()
    day, moment = dt.datetime(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3)
    assert list(first.values()) == [1, 2, True, 0.5, 1.25, "ü", "ok", day, moment]
    assert set(second.values()) == {None}


def test_parts_are_whole_batches(con, monkeypatch):
    monkeypatch.setattr(_spill, "MAX_BATCH_ROWS", 100)
    monkeypatch.setattr(_row_groups, "PART_BYTES", 300 * 8)
    table = open_table("read", con.sql("SELECT i FROM range(1000) t(i)"))

    assert [part.n_rows for part in table.parts] == [300, 300, 300, 100]
    assert read_all(table)["i"].to_pylist() == list(range(1000))
    assert [part.key for part in table.parts][:2] == [(0, 300), (300, 600)]


def test_no_rows(con):
    table = open_table("read", con.sql("SELECT i FROM range(0) t(i)"))

    assert (table.parts, table.n_rows) == ([], 0)
    assert table.schema().names == ["i"]


VALUES = [
    "SELECT i, i::VARCHAR AS t, i > 2 AS b, NULL::INT AS n FROM range(5) t(i)",
    "SELECT i, i::VARCHAR AS t, i > 2 AS b, NULL::INT AS n FROM range(6) t(i)",
    "SELECT i, i::VARCHAR AS t, i > 2 AS b, 0::INT AS n FROM range(5) t(i)",
    "SELECT i, i::VARCHAR AS t, i > 3 AS b, NULL::INT AS n FROM range(5) t(i)",
    "SELECT i, (i + 1)::VARCHAR AS t, i > 2 AS b, NULL::INT AS n FROM range(5) t(i)",
    "SELECT 4 - i AS i, i::VARCHAR AS t, i > 2 AS b, NULL::INT AS n FROM range(5) t(i)",
    "SELECT i, i::VARCHAR AS u, i > 2 AS b, NULL::INT AS n FROM range(5) t(i)",
    "SELECT i, i::VARCHAR AS t, i > 2 AS b, NULL::BIGINT AS n FROM range(5) t(i)",
]


def test_version_is_what_the_rows_are(con):
    versions = [open_table("read", con.sql(each)).version() for each in VALUES]
    again = [open_table("read", con.sql(each)).version() for each in VALUES]

    assert versions == again
    assert len({str(version) for version in versions}) == len(VALUES)


def test_text_is_not_run_together(con):
    left, right = (
        open_table("read", con.sql(f"SELECT * FROM (VALUES {rows}) t(a)"))
        for rows in ("('ab'), ('c')", "('a'), ('bc')")
    )

    assert left.digest != right.digest


def test_value_under_a_null_does_not_count(con):
    present = pa.array([True, False, True]).buffers()[1]
    digests = set()
    for hidden in (0, 99):
        values = pa.array([1, hidden, 3]).buffers()[1]
        rows = pa.Array.from_buffers(pa.int64(), 3, [present, values])
        con.register("rows", pa.table({"x": rows}))
        table = open_table("read", con.sql("SELECT x FROM rows"))
        digests.add(table.digest)
        assert read_all(table)["x"].to_pylist() == [1, None, 3]

    assert len(digests) == 1


def test_version_is_the_same_in_another_process(con):
    code = (
        "import duckdb; from dfml.sources._open import open_table;"
        f"print(open_table('read', duckdb.sql({VALUES[0]!r})).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == open_table("read", con.sql(VALUES[0])).digest


def test_errors_name_the_call(con):
    with pytest.raises(QueryError, match="predict_table expects a query"):
        open_table(
            "predict_table",
            con.sql(
                "SELECT CASE WHEN i = 99 THEN error('no') END FROM range(100) t(i)"
            ),
        )
    with pytest.raises(QueryError, match="numbers, text, times"):
        open_table("predict_table", con.sql("SELECT [1] AS l"))


def test_rows_are_removed_with_the_table(con, tmp_path):
    with dask.config.set({"dfml.spill-directory": str(tmp_path)}):
        table = open_table("read", con.sql("SELECT 1 AS x"))
    assert os.listdir(tmp_path)
    (part,) = table.parts
    del table
    assert part.read("read", pa.schema([("x", pa.int32())]))
    assert os.listdir(tmp_path)
    del part

    assert os.listdir(tmp_path) == []


def test_large_result_is_the_same_with_any_number_of_threads(con):
    rows = np.random.default_rng(0).normal(size=300_000)
    con.register("rows", pa.table({"x": rows}))
    digests = set()
    for threads in (1, 4):
        con.execute(f"SET threads = {threads}")
        relation = con.sql("SELECT x, x > 0 AS up FROM rows WHERE x < 2")
        digests.add(open_table("read", relation).digest)

    assert len(digests) == 1
