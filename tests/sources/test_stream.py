from __future__ import annotations

import os
import signal
import threading
from functools import partial

import duckdb
import pandas as pd
import pytest

from dfml import read_sql
from dfml.exceptions import QueryError
from dfml.sources._columns import check_columns
from dfml.sources._facts import changes_order, distinct_values, fetch_rows
from dfml.sources._lazy_frame import count_values
from dfml.sources._stream import open_stream

# No row comes of this before the test is killed.
ENDLESS = "SELECT i FROM range(100000000000000) t(i) WHERE hash(i) % 10000000000000 = 5"
FAILING = (
    "SELECT CASE WHEN i = 800000 THEN error('boom') ELSE i END FROM range(999999) t(i)"
)


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        connection.execute("SET threads = 4")
        connection.execute(
            "CREATE TABLE t AS SELECT i, i % 3 AS g FROM range(100) t(i)"
        )
        yield connection


@pytest.mark.parametrize("way", ["read_sql", "fetch", "count", "distinct"])
def test_ctrl_c_before_the_first_row(con, way):
    endless = con.sql(ENDLESS)
    call = {
        "read_sql": partial(read_sql, endless),
        "fetch": partial(fetch_rows, "here", endless),
        "count": partial(count_values, endless, []),
        "distinct": partial(distinct_values, "here", endless, "i"),
    }[way]
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    timer.join()
    assert con.execute("SELECT 1").fetchall() == [(1,)]
    left = [t.name for t in threading.enumerate() if t.name.startswith("dfml")]
    assert left == []


def test_a_stream_that_is_left_early_frees_the_connection(con):
    relation = con.sql("SELECT i FROM range(10000000) t(i)")
    with open_stream(relation, check_columns(relation), "query") as (_, batches):
        next(batches)
        with pytest.raises(duckdb.Error):
            con.execute("SELECT 1")
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_an_error_names_the_call(con):
    relation = con.sql(FAILING)
    with pytest.raises(QueryError, match=r"(?s)^somewhere expects .*boom.*range"):
        fetch_rows("somewhere", relation)
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_small_results_have_the_dtypes_of_read_sql(con):
    query = """
        SELECT i, i % 5 = 0 AS b, 'x' || i AS s, i::DECIMAL(9, 2) AS d, i / 2 AS f,
               CASE WHEN i > 2 THEN i END AS n, 'u'::ENUM('u', 'v') AS e,
               DATE '2020-01-01' + i::INT AS t
        FROM range(10) t(i)
    """
    pd.testing.assert_frame_equal(
        fetch_rows("here", con.sql(query)), read_sql(query, con).compute()
    )


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("FROM t", None),
        ("FROM t WHERE g = 1", None),
        ("SELECT i, row_number() OVER () FROM t WHERE i > 3", None),
        ("FROM t LIMIT 5", None),
        ("FROM t UNION ALL FROM t WHERE g = 2", None),
        ("SELECT unnest([i, g]) FROM t", None),
        ("FROM t ORDER BY g", None),
        ("SELECT g FROM (FROM t ORDER BY i) WHERE g = 1", None),
        ("SELECT t.i FROM t JOIN t u USING (i) ORDER BY t.i", None),
        ("SELECT t.i FROM t JOIN t u USING (i)", "HASH_JOIN"),
        ("SELECT i FROM t WHERE i IN (SELECT g FROM t)", "HASH_JOIN"),
        ("SELECT g, count(*) FROM t GROUP BY g", "PERFECT_HASH_GROUP_BY"),
        ("FROM t UNION FROM t", "HASH_GROUP_BY"),
        ("SELECT sum(i) OVER (ORDER BY i) FROM t", "WINDOW"),
    ],
)
def test_what_changes_the_order(con, query, reason):
    assert changes_order(con.sql(query)) == reason
    con.execute("SET threads = 1")
    assert changes_order(con.sql(query)) is None


def test_settings_that_change_the_order(con):
    con.execute("SET preserve_insertion_order = false")
    for query in ("FROM t", "SELECT g FROM t WHERE i > 3"):
        assert changes_order(con.sql(query)) == "preserve_insertion_order = false"
    assert changes_order(con.sql("SELECT g FROM t ORDER BY i")) is None


@pytest.mark.parametrize(
    "query",
    [
        "SELECT i, hash(i) % 97 AS k FROM u WHERE k % 3 = 0",
        "SELECT i FROM u WHERE k % 2 = 0 UNION ALL SELECT i FROM u WHERE k % 3 = 0",
        "SELECT unnest([i, k::BIGINT]) AS i FROM u",
        "SELECT i, row_number() OVER () AS n FROM u WHERE k > 5",
        "SELECT u.i, v.i AS j FROM u, range(3) v(i) WHERE k < 20",
    ],
)
def test_an_order_that_is_said_to_be_fixed_is(con, query):
    con.execute("SET threads = 8")
    con.execute("CREATE TABLE u AS SELECT i, hash(i) % 97 AS k FROM range(600000) t(i)")
    relation = con.sql(query)
    assert changes_order(relation) is None
    first = fetch_rows("here", relation)
    for _ in range(3):
        pd.testing.assert_frame_equal(fetch_rows("here", relation), first)


def test_distinct_values(con):
    relation = con.sql(
        "SELECT CASE WHEN i % 10 > 0 THEN g END AS n, (i % 2)::FLOAT / 0 AS f FROM t"
    )
    values, n_missing = distinct_values("here", relation, "n")
    assert sorted(values) == [0, 1, 2]
    assert values.dtype == "int64"
    assert n_missing == 10
    values, n_missing = distinct_values("here", relation, "f")
    assert values.tolist() == [float("inf")]
    assert n_missing == 50
