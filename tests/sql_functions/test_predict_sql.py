from __future__ import annotations

import gc
import signal
import subprocess
import sys
import textwrap
import threading

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import SGDRegressor
from sklearn.tree import DecisionTreeClassifier

import dfml
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    InputTypeError,
    QueryError,
)
from dfml.sql_functions import _answered
from tests.conftest import FEATURES
from tests.sql_functions.conftest import column, fitted


class Counting(RegressorMixin, BaseEstimator):
    """Answers with its first feature, and counts the rows it has answered."""

    def fit(self, X, y=None):
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        self.rows_ = [0]
        return self

    def predict(self, X):
        self.rows_.append(len(X))
        return np.asarray(X)[:, 0]


def counting(table):
    model = fitted(table, Counting(), "amount")
    model.rows_.clear()
    return model


def files(spills):
    return list(spills.iterdir()) if spills.exists() else []


# A relation to go on with


@pytest.mark.parametrize("batch_rows", [7, 61_440])
def test_rows_keep_their_order(con, table, monkeypatch, batch_rows):
    monkeypatch.setattr(_answered, "BATCH_ROWS", batch_rows)
    model = fitted(table)

    answered = dfml.predict_sql(model, con.sql("FROM t ORDER BY id DESC"), name="p")

    expected = list(zip(table["id"], model.predict(table[FEATURES]), strict=True))[::-1]
    chosen = answered.project("id, p")
    assert chosen.fetchall() == expected
    assert con.sql("SELECT id, p FROM answered").fetchall() == expected
    assert answered.filter("id = 1003").project("p").fetchall() == [expected[-4][1:]]


def test_each_reading_runs_the_query_and_predicts_again(con, table, spills):
    model = counting(table)
    answered = dfml.predict_sql(model, con.sql("FROM t WHERE id < 1100"))
    model.rows_.clear()

    first = answered.fetchall()
    con.execute("INSERT INTO t BY NAME SELECT 7 AS id, 1 AS a, 2 AS b, 3 AS c")
    second = answered.fetchall()

    assert (len(first), len(second)) == (100, 101)
    assert sum(model.rows_) == 201
    assert files(spills) == []


def test_only_what_a_query_needs_is_read_and_answered(con, table):
    failing = "CASE WHEN id > 0 THEN error('it was read') END"
    con.execute(f"CREATE VIEW v AS SELECT *, {failing} AS x FROM t")
    model = counting(table)
    answered = dfml.predict_sql(model, con.table("v"))
    model.rows_.clear()

    assert len(answered.project("id, prediction").fetchall()) == 600
    assert sum(model.rows_) == 600
    model.rows_.clear()
    assert answered.aggregate("count(*)").fetchall() == [(600,)]
    assert sum(model.rows_) == 0
    few = answered.filter("id < 1010 AND b IS NOT NULL").project("prediction, c")
    assert len(few.fetchall()) == 10
    assert sum(model.rows_) == 10
    with pytest.raises(duckdb.Error, match="it was read"):
        answered.fetchall()


def test_filters_of_answers(con, table):
    model = fitted(table, DecisionTreeClassifier(max_depth=3))
    answered = dfml.predict_sql(model, con.table("t"), name="p")
    expected = pd.Series(model.predict(table[FEATURES]), index=table["id"])

    late = answered.filter("p = 'yes' AND id < 1300").order("id").project("id")
    assert late.fetchall() == [
        (i,) for i, p in expected.items() if p == "yes" and i < 1300
    ]
    assert answered.filter("p IS NULL").fetchall() == []
    assert answered.filter("p IN ('no', 'never')").aggregate("count(*)").fetchall() == [
        ((expected == "no").sum(),)
    ]


def test_statements_around_it(con, table):
    model = counting(table)
    answered = dfml.predict_sql(model, con.table("t"))

    answered.create("scored")
    con.execute("INSERT INTO t BY NAME SELECT * EXCLUDE prediction FROM answered")
    con.execute("CREATE OR REPLACE TABLE t AS FROM answered LIMIT 900")

    assert con.sql("SELECT count(*) FROM scored").fetchall() == [(600,)]
    assert con.sql("SELECT count(*), count(prediction) FROM t").fetchall() == [
        (900, 900)
    ]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_no_deadlock(con, table, threads):
    con.execute(f"SET threads = {threads}")
    con.execute("CREATE TABLE big AS SELECT r.i, t.* FROM t, range(500) r(i)")
    model = counting(table)
    answered = dfml.predict_sql(model, con.table("big"), name="p")
    ordered = dfml.predict_sql(model, con.sql("FROM big ORDER BY a"), name="q")

    assert answered.aggregate("count(p)").fetchall() == [(300_000,)]
    both = answered.join(ordered, "i, id").filter("p = q")
    assert both.aggregate("count(*)").fetchall() == [(300_000,)]
    for _ in range(5):
        assert len(answered.limit(3).fetchall()) == 3
    reader = answered.to_arrow_reader(1_000)
    assert reader.read_next_batch().num_rows
    reader.close()
    assert con.sql("SELECT 1").fetchall() == [(1,)]


# What the caller's connection alone can see

ALONE = {
    "a temporary table": ["CREATE TEMP TABLE x AS FROM t", "FROM x"],
    "a temporary table in a view": [
        "CREATE TABLE x AS FROM t LIMIT 3",
        "CREATE VIEW v AS FROM x",
        "CREATE TEMP TABLE x AS FROM t",
        "FROM v",
    ],
    "a temporary view": ["CREATE TEMP VIEW x AS FROM t", "FROM x"],
    "a temporary macro": [
        "CREATE TEMP MACRO twice(x) AS 2 * x",
        "SELECT * REPLACE (twice(b) / 2 AS b) FROM t",
    ],
    "a temporary macro over another": [
        "CREATE MACRO same(x) AS -x",
        "CREATE TEMP MACRO same(x) AS x",
        "SELECT * REPLACE (same(b) AS b) FROM t",
    ],
    "a temporary sequence": ["CREATE TEMP SEQUENCE s", "FROM t WHERE nextval('s') > 0"],
    "a variable": [
        "SET VARIABLE least = 0",
        "FROM t WHERE id > coalesce(getvariable('least'), 9999)",
    ],
    "a schema": [
        "CREATE SCHEMA other",
        "CREATE TABLE other.x AS FROM t",
        "CREATE TABLE x AS FROM t LIMIT 3",
        "USE other",
        "FROM x",
    ],
    "a time zone": [
        "SET TimeZone = 'Asia/Tokyo'",
        "FROM t WHERE hour(TIMESTAMPTZ '2020-01-01 00:00:00+00') = 9",
    ],
    "a transaction": ["BEGIN", "UPDATE t SET b = b", "FROM t"],
}


@pytest.mark.parametrize("why", ALONE)
def test_only_the_connection_of_the_relation_can_run_it(con, table, spills, why):
    *statements, query = ALONE[why]
    for statement in statements:
        con.execute(statement)
    model = counting(table)

    answered = dfml.predict_sql(model, con.sql(query))

    expected = table["a"].tolist()
    assert column(con, "prediction", answered) == expected
    assert column(con, "prediction", answered) == expected
    assert len(files(spills)) == 1
    con.close()
    del answered
    gc.collect()
    assert files(spills) == []


def test_frames_of_python(con, table, spills):
    model = counting(table)
    frame = table.assign(x=1)
    con.register("registered", frame)

    relations = {
        "variable": con.sql("FROM frame"),
        "object": con.from_df(frame),
        "registered": con.sql("FROM registered"),
        "parameters": con.sql("FROM t WHERE id >= $least", params={"least": 0}),
        "answered": dfml.predict_sql(model, con.table("t"), name="p"),
    }

    expected = table["a"].tolist()
    for name, relation in relations.items():
        answered = dfml.predict_sql(model, relation)
        assert column(con, "prediction", answered) == expected, name
    del answered
    assert con.unregister("registered")
    assert column(con, "p", relations["answered"]) == expected


def test_functions_of_dfml_do_not_keep_a_query_at_home(con, table, spills):
    model = counting(table)
    dfml.register(con, "guess", model)

    answered = dfml.predict_sql(model, con.table("t"))
    assert len(answered.fetchall()) == 600
    assert files(spills) == []
    answered = dfml.predict_sql(model, con.sql("SELECT *, guess(t) AS x FROM t"))
    assert column(con, "x", answered) == table["a"].tolist()
    assert len(files(spills)) == 1


def test_a_transaction_is_seen_as_it_was(con, table):
    model = fitted(table, SGDRegressor(random_state=0), "amount")
    con.execute("CREATE TEMP TABLE only_here AS FROM t")
    con.begin()
    con.execute("DELETE FROM only_here WHERE id < 1500")

    answered = dfml.predict_sql(model, con.table("only_here"))

    assert answered.aggregate("count(*)").fetchall() == [(100,)]
    con.rollback()
    assert answered.aggregate("count(*)").fetchall() == [(100,)]


def test_the_file_goes_with_the_last_relation(con, table, spills):
    con.execute("CREATE TEMP TABLE only_here AS FROM t")
    answered = dfml.predict_sql(fitted(table), con.table("only_here"))
    few = answered.filter("id < 1010")
    assert len(answered.fetchall()) == 600

    del answered
    gc.collect()
    assert len(few.fetchall()) == 10
    assert len(files(spills)) == 1
    del few
    gc.collect()
    assert files(spills) == []


# Types, and what cannot be


def test_columns_of_the_input_keep_their_types(con, table):
    con.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    relation = con.sql("""
        SELECT *, id::HUGEINT * 10 ** 30 AS huge, uuid() AS u, '101'::BIT AS bits,
            'sad'::mood AS mood, id::DECIMAL(18, 3) AS price, [id] AS list,
            170141183460469231731687303715884105727 AS largest,
            {'x': city} AS struct, MAP {'k': id} AS map, DATE '2020-01-01' AS day,
            TIME '12:30:00' AS clock, TIMETZ '12:30:00+02' AS zoned, '{}'::JSON AS j,
            INTERVAL 3 MONTH AS span, 'x'::BLOB AS bytes, NULL AS nothing
        FROM t
    """).create("wide")
    relation = con.table("wide")

    answered = dfml.predict_sql(fitted(table), relation)

    assert answered.columns == [*relation.columns, "prediction"]
    assert answered.types[:-1] == relation.types
    both = (
        f"({relation.sql_query()}) EXCEPT (SELECT * EXCLUDE prediction FROM answered)"
    )
    assert con.sql(both).fetchall() == []
    assert answered.filter("bits = '101'::BIT AND mood = 'sad'").aggregate(
        "count(*)"
    ).fetchall() == [(600,)]


@pytest.mark.parametrize("query", ["FROM t WHERE false", "FROM t WHERE id < 0"])
def test_no_rows(con, table, query):
    model = fitted(table)
    dfml.register(con, "late", model)

    answered = dfml.predict_sql(model, con.sql(query))

    assert answered.fetchall() == []
    assert [str(t) for t in answered.types[-1:]] == ["VARCHAR"]
    assert con.sql(f"SELECT late(t) FROM ({query}) t").fetchall() == []


def test_what_cannot_be_answered(con, table, spills):
    model = fitted(table)
    with pytest.raises(InputTypeError, match="relation"):
        dfml.predict_sql(model, table)
    with pytest.raises(ColumnMismatchError, match=r"missing: \['c'\]"):
        dfml.predict_sql(model, con.sql("SELECT a, b FROM t"))
    with pytest.raises(ColumnCollisionError, match="prediction"):
        dfml.predict_sql(model, con.sql("SELECT *, 1 AS Prediction FROM t"))
    for query in ["SELECT a, b, c, a FROM t", "SELECT a, b, c, 1 AS x, 2 AS x FROM t"]:
        with pytest.raises(ColumnCollisionError, match=r"\['[ax]'\] twice"):
            dfml.predict_sql(model, con.sql(query))
    for wrong in [{"name": ""}, {"name": 3}, {"name": "a\0"}, {"prefix": 3}]:
        with pytest.raises(InputTypeError, match=f"{next(iter(wrong))} to be text"):
            dfml.predict_sql(model, con.table("t"), **wrong)
    assert files(spills) == []
    assert con.sql("SELECT 1").fetchall() == [(1,)]


def test_a_query_that_fails_on_its_way(con, table, spills):
    model = fitted(table)
    failing = "SELECT *, CASE WHEN id > 1500 THEN error('boom') END AS x FROM t"

    answered = dfml.predict_sql(model, con.sql(failing))
    with pytest.raises(duckdb.Error, match="boom"):
        answered.fetchall()

    con.execute("CREATE TEMP TABLE x AS SELECT 1")
    with pytest.raises(QueryError, match="boom"):
        dfml.predict_sql(model, con.sql(failing))
    assert files(spills) == []
    assert con.sql("SELECT 1").fetchall() == [(1,)]


# What is left behind


def test_the_database_is_free_when_its_connection_is_closed(table, tmp_path):
    path = str(tmp_path / "warehouse.duckdb")
    con = duckdb.connect(path)
    con.register("source", table)
    con.execute("CREATE TABLE t AS FROM source")
    con.unregister("source")
    answered = dfml.predict_sql(fitted(table), con.table("t"))
    assert len(answered.limit(5).fetchall()) == 5

    con.close()

    # Another configuration is refused as long as anybody has the file open.
    with duckdb.connect(path, read_only=True) as other:
        assert other.sql("SELECT count(*) FROM t").fetchall() == [(600,)]
    with pytest.raises(duckdb.Error, match="closed"):
        answered.fetchall()


def test_the_database_is_free_when_nobody_refers_to_it(table, tmp_path):
    path = str(tmp_path / "warehouse.duckdb")
    con = duckdb.connect(path)
    con.execute("CREATE TABLE t AS SELECT 1.0 AS a, 2.0 AS b, 3.0 AS c")
    answered = dfml.predict_sql(fitted(table), con.table("t"))
    assert len(answered.fetchall()) == 1

    del con, answered
    gc.collect()

    with duckdb.connect(path, read_only=True) as other:
        assert other.sql("SELECT count(*) FROM t").fetchall() == [(1,)]


def test_no_thread_is_left(con, table):
    answered = dfml.predict_sql(counting(table), con.table("t"))
    for _ in range(3):
        answered.limit(1).fetchall()

    names = [thread.name for thread in threading.enumerate()]

    assert not [name for name in names if name.startswith("dfml-predict")]


INTERRUPTED = """
import signal, time
import duckdb, pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
import dfml

signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.feature_names_in_ = X.columns.to_numpy()
        self.n_features_in_ = 1
        return self

    def predict(self, X):
        time.sleep(0.2)
        return X.iloc[:, 0].to_numpy()

rows = pd.DataFrame({"a": [1.0, 2.0]})
con = duckdb.connect()
con.execute("CREATE TABLE t AS SELECT i::DOUBLE AS a FROM range(20_000_000) r(i)")
answered = dfml.predict_sql(Slow().fit(rows, rows["a"]), con.table("t"))
print("reading", flush=True)
try:
    answered.aggregate("sum(prediction)").fetchall()
except (RuntimeError, duckdb.Error):  # DuckDB has no KeyboardInterrupt
    print("interrupted", con.sql("SELECT 1").fetchall(), flush=True)
"""


def test_ctrl_c_stops_a_reading():
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "reading\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert output == "interrupted [(1,)]\n"
