from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import pickle
import threading
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pytest
from dask.utils import parse_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from dfml.exceptions import (
    InputTypeError,
    QueryError,
    SourceError,
)
from dfml.sources import _query, _spill, _stream
from dfml.sources._sql import read_sql

SETTING = "SELECT current_setting('python_enable_replacements')"


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(autouse=True)
def spills(tmp_path):
    """The directory in which this test's spills appear."""
    directory = tmp_path / "spills"
    with dask.config.set({"dfml.spill-directory": str(directory)}):
        yield directory


def left_in(directory):
    gc.collect()
    return list(directory.iterdir()) if directory.exists() else []


def lengths(frame):
    return [len(part) for part in parts_of(frame)]


def parts_of(frame):
    return list(dask.compute(*frame.to_delayed(optimize_graph=False)))


def reads_of(frame):
    """The columns that the optimised expression reads from the source."""
    (source,) = frame.optimize(fuse=False).expr.find_operations(
        dd.dask_expr.io.io.FromMapProjectable
    )
    return source.columns


# Values, parameters and what the query sees


def test_values_are_those_of_duckdb(con):
    query = """
        SELECT i, i / 4 AS x, 'row ' || i AS s, i % 3 = 0 AS b, i::FLOAT AS f
        FROM range(1000) t(i) ORDER BY i DESC
    """
    frame = read_sql(query, con, npartitions=7)
    pd.testing.assert_frame_equal(frame.compute(), con.sql(query).df())


def test_relation(con):
    relation = con.sql("SELECT i, i * 2 AS j FROM range(10) t(i)").filter("i > 4")
    frame = read_sql(relation, npartitions=2).compute()
    pd.testing.assert_frame_equal(frame, relation.df())


def test_relation_over_a_python_variable(con):
    local = pd.DataFrame({"a": [1, 2, 3]})
    relation = con.sql("SELECT a FROM local")
    assert read_sql(relation).compute().a.tolist() == local.a.tolist()


def test_default_connection():
    duckdb.execute("CREATE OR REPLACE TEMP TABLE dfml_test_sql AS SELECT 7 AS a")
    try:
        assert read_sql("FROM dfml_test_sql").compute().a.tolist() == [7]
    finally:
        duckdb.execute("DROP TABLE dfml_test_sql")


@pytest.mark.parametrize("npartitions", [1, 3])
def test_runs_once(con, npartitions):
    con.execute("CREATE SEQUENCE s")
    frame = read_sql(
        "SELECT nextval('s') AS v FROM range(10)", con, npartitions=npartitions
    )
    first, second = frame.compute(), frame.compute()
    pd.testing.assert_frame_equal(first, second)
    assert con.execute("SELECT nextval('s')").fetchall() == [(11,)]


def test_a_function_is_called_once_per_row(con):
    calls = []

    def note(x: int) -> int:
        calls.append(x)
        return x

    con.create_function("note", note, side_effects=True)
    frame = read_sql("SELECT note(i::INT) AS v FROM range(100) t(i)", con)
    frame.compute()
    frame.v.sum().compute()
    assert len(calls) == 100


def test_registered_frame_temp_table_and_open_transaction_are_seen(con):
    con.register("local", pd.DataFrame({"a": [1, 2]}))
    con.execute("CREATE TEMP TABLE temporary AS SELECT 3 AS a")
    con.execute("CREATE TABLE changed (a BIGINT)")
    con.begin()
    con.execute("INSERT INTO changed VALUES (4)")
    query = "FROM local UNION ALL FROM temporary UNION ALL FROM changed ORDER BY a"
    frame = read_sql(query, con)
    con.rollback()
    assert frame.compute().a.tolist() == [1, 2, 3, 4]
    assert con.execute(SETTING).fetchall() == [(True,)]


INJECTION = "x'; DROP TABLE t; --"


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT ? AS a, ? AS b", [INJECTION, 2]),
        ("SELECT $1 AS a, $2 AS b", (INJECTION, 2)),
        ("SELECT $name AS a, $n AS b", {"name": INJECTION, "n": 2}),
    ],
)
def test_parameters_are_bound(con, query, params):
    con.execute("CREATE TABLE t AS SELECT 1 AS a")
    frame = read_sql(query, con, params=params).compute()
    assert frame.to_dict("list") == {"a": [INJECTION], "b": [2]}
    assert con.execute("FROM t").fetchall() == [(1,)]


# Partitions


def test_npartitions(con):
    frame = read_sql("FROM range(1000)", con, npartitions=7)
    sizes = lengths(frame)
    assert frame.npartitions == 7
    assert sum(sizes) == 1000
    assert max(sizes) - min(sizes) <= 1


def test_npartitions_beyond_the_rows(con):
    assert lengths(read_sql("FROM range(3)", con, npartitions=10)) == [1, 1, 1]


def test_rows_per_partition(con):
    frame = read_sql("FROM range(10)", con, rows_per_partition=4)
    assert lengths(frame) == [4, 4, 2]
    assert frame.divisions == (0, 4, 8, 9)


def test_numpy_integer_sizes(con):
    frame = read_sql("FROM range(10)", con, rows_per_partition=np.int64(4))
    assert lengths(frame) == [4, 4, 2]


def test_default_size_is_about_16_mib(con):
    columns = ", ".join(f"i + {k} AS c{k}" for k in range(40))
    frame = read_sql(f"SELECT {columns} FROM range(150000) t(i)", con)
    first = frame.partitions[0].compute()
    assert frame.npartitions == 3
    assert 12 * 2**20 < first.memory_usage().sum() < 20 * 2**20


@pytest.mark.parametrize("size", ["4MB", 2_000_000, "200 kB", 50, "1TB"])
def test_partition_size(tmp_path, con, size):
    """In bytes of memory, about, whatever the plan; a row is the least."""
    con.execute("CREATE TABLE wide AS SELECT i, i + 1 AS b FROM range(400000) t(i)")
    con.execute(f"COPY wide TO '{tmp_path}/wide.parquet' (ROW_GROUP_SIZE 2048)")
    n_bytes = parse_bytes(size)
    scan = f"FROM '{tmp_path}/wide.parquet'"
    plans = {"spill": {}, "files": {}, "ranges": {"partition_on": "i"}}
    if n_bytes < 1000:  # or partitions without end
        scan, plans = f"{scan} LIMIT 12", {"spill": {}}
    for plan, options in plans.items():
        frame = read_sql(scan, con, plan=plan, partition_size=size, **options)
        rows = lengths(frame)
        assert sum(rows) == (12 if n_bytes < 1000 else 400_000)
        width = 24 if plan == "files" else 16  # with the number of the row
        expected = min(sum(rows), n_bytes // width)
        assert expected * 0.7 <= max(rows) <= expected * 1.4


def test_index_and_divisions(con):
    frame = read_sql("FROM range(100) t(i)", con, npartitions=3)
    assert frame.known_divisions
    for part, start in zip(parts_of(frame), frame.divisions, strict=False):
        assert isinstance(part.index, pd.RangeIndex)
        assert part.index[0] == start
    assert frame.loc[40:42].compute().i.tolist() == [40, 41, 42]
    assert frame.loc[99].compute().i.tolist() == [99]


def test_a_filter_does_not_move_the_partitions(con):
    query = "SELECT i FROM range(2000000) t(i) WHERE hash(i) % 13 = 0"
    relation = con.sql(query)
    irregular = {b.num_rows for b in relation.to_arrow_reader(100_000)}
    assert len(irregular) > 1, "the stream should be irregular for this test"
    frame = read_sql(query, con, rows_per_partition=50_000)
    assert set(lengths(frame)[:-1]) == {50_000}
    pd.testing.assert_frame_equal(frame.compute(), relation.df())


def batches_of(table, cuts):
    edges = [0, *sorted(cuts), table.num_rows]
    pairs = itertools.pairwise(edges)
    return [table.slice(a, b - a) for a, b in pairs]


@settings(deadline=None, max_examples=60)
@given(
    n_rows=st.integers(0, 200),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    size=st.integers(1, 90),
)
def test_rechunk(n_rows, cuts, size):
    import pyarrow as pa

    whole = pa.record_batch({"a": np.arange(n_rows)})
    batches = batches_of(whole, [c for c in cuts if c <= n_rows])
    result = list(_spill.rechunk(batches, size))
    assert all(batch.num_rows == size for batch in result[:-1])
    assert all(0 < batch.num_rows <= size for batch in result)
    assert [v for b in result for v in b["a"].to_pylist()] == list(range(n_rows))


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 5000), max_size=8))
def test_row_width_does_not_depend_on_the_batches(cuts):
    import pyarrow as pa

    text = pa.array([None, "ab", "c"] * 2000, pa.large_string())
    whole = pa.record_batch({"a": np.arange(6000), "s": text, "b": text.is_null()})
    expected, _ = _spill.measure_rows(iter([whole]))
    width, rest = _spill.measure_rows(iter(batches_of(whole, cuts)))
    assert width == expected
    assert sum(batch.num_rows for batch in rest) == 6000


@settings(deadline=None, max_examples=40)
@given(
    n_rows=st.integers(0, 300),
    npartitions=st.none() | st.integers(1, 20),
    rows=st.integers(1, 100),
)
def test_partitions_are_the_table(n_rows, npartitions, rows):
    sizes = (
        {"npartitions": npartitions} if npartitions else {"rows_per_partition": rows}
    )
    query = f"""
        SELECT i, i / 7 AS x, CASE WHEN i % 5 = 1 THEN i END AS n, 's' || i AS s
        FROM range({n_rows}) t(i) ORDER BY i
    """
    with duckdb.connect() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_spill, "MAX_BATCH_ROWS", 37)
        frame = read_sql(query, connection, **sizes)
        parts = parts_of(frame)
        expected = connection.sql(query).df()
    together = pd.concat(parts)
    assert len(parts) == frame.npartitions
    pd.testing.assert_frame_equal(together, expected, check_dtype=False)
    assert all((part.dtypes == frame.dtypes).all() for part in parts)


def test_no_rows(con):
    frame = read_sql(
        "SELECT 1 AS i, 'a' AS s, 'x'::ENUM('x', 'y') AS e, true AS b WHERE false", con
    )
    result = frame.compute()
    assert frame.npartitions == 1
    assert len(result) == 0
    assert result.dtypes.equals(frame.dtypes)
    assert result.dtypes.astype(str).tolist() == ["int32", "str", "category", "bool"]
    assert len(frame) == 0


# Projection and identity


def test_only_needed_columns_are_read(con, monkeypatch):
    asked = []
    read = _spill.Spill.read

    def noting(self, start, stop, columns):
        table = read(self, start, stop, columns)
        asked.append(table.column_names)
        return table

    query = "SELECT i AS a, 's' || i AS b, i * 2 AS c, i AS d FROM range(50) t(i)"
    frame = read_sql(query, con, npartitions=2)
    monkeypatch.setattr(_spill.Spill, "read", noting)
    some = frame[frame.a > 10][["c", "b"]]
    assert reads_of(some) == ["a", "b", "c"]
    assert reads_of(frame[[]]) == []
    assert some.compute().c.tolist() == [2 * i for i in range(11, 50)]
    assert asked == [["a", "b", "c"]] * 2


def test_unneeded_columns_are_not_touched_on_disk(con):
    query = "SELECT i AS a, i::VARCHAR AS b FROM range(100000) t(i)"
    frame = read_sql(query, con, npartitions=1)
    path = Path(left_in_config()[0], _spill.FILE_NAME)
    data = bytearray(path.read_bytes())
    # Column b lies behind column a. Broken LZ4 frames fail as soon as they are read.
    middle = len(data) * 2 // 3
    data[middle - 2000 : middle + 2000] = b"\xff" * 4000
    path.write_bytes(data)
    assert frame.a.sum().compute() == sum(range(100_000))
    with pytest.raises((OSError, ValueError)):
        frame.compute()


def left_in_config():
    return left_in(Path(dask.config.get("dfml.spill-directory")))


def test_columns_in_any_order_and_none(con):
    query = "SELECT i AS a, 'x'::ENUM('x') AS b, CASE WHEN i > 1 THEN i END AS c "
    frame = read_sql(query + "FROM range(4) t(i)", con, npartitions=2)
    assert frame[["c", "b", "a"]].compute().columns.tolist() == ["c", "b", "a"]
    assert frame[["c"]].compute().c.isna().sum() == 2
    assert frame[[]].compute().shape == (4, 0)
    assert frame.index.compute().tolist() == [0, 1, 2, 3]
    assert len(frame) == 4


def test_tokens_are_deterministic(con):
    frame = read_sql("FROM range(10)", con)
    again = pickle.loads(pickle.dumps(frame))
    other = read_sql("FROM range(10)", con)
    assert frame._name == again._name
    assert frame._name != other._name
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        dask.base.tokenize(frame.expr.operand("func"))


def test_partitions_can_be_written_to(con):
    part = read_sql("SELECT i::DOUBLE AS x FROM range(5) t(i)", con).compute()
    part.loc[0, "x"] = 9.0
    assert part.x.tolist() == [9, 1, 2, 3, 4]


# The life of the spill


def test_spill_is_removed_with_the_last_reference(con, spills):
    frame = read_sql("FROM range(10) t(i)", con, npartitions=2)
    assert len(left_in(spills)) == 1
    derived = frame[frame.i > 3]
    del frame
    assert len(left_in(spills)) == 1
    assert derived.compute().i.tolist() == [4, 5, 6, 7, 8, 9]
    del derived
    assert left_in(spills) == []


def test_copies_in_this_process_keep_the_spill(con, spills):
    frame = read_sql("FROM range(10) t(i)", con)
    copy = pickle.loads(pickle.dumps(frame))
    del frame
    assert len(left_in(spills)) == 1
    assert copy.i.sum().compute() == 45
    del copy
    assert left_in(spills) == []


def test_a_pickle_without_its_frame_is_an_error(con):
    frame = read_sql("FROM range(10) t(i)", con)
    data = pickle.dumps(frame)
    del frame
    gc.collect()
    with pytest.raises(SourceError, match="spill_to"):
        pickle.loads(data).compute()


def test_worker_processes_do_not_remove_the_spill(con, spills):
    frame = read_sql("FROM range(100) t(i)", con, npartitions=4)
    with dask.config.set(scheduler="processes", num_workers=2):
        assert frame.i.sum().compute() == 4950
    assert len(left_in(spills)) == 1
    assert frame.i.sum().compute() == 4950


def test_a_fork_does_not_remove_the_spill(con, monkeypatch):
    frame = read_sql("FROM range(10) t(i)", con)
    copy = pickle.loads(pickle.dumps(frame))
    directory = Path(left_in_config()[0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        del frame, copy
        gc.collect()
    assert directory.exists()


FAILING = (
    "SELECT CASE WHEN i = 900000 THEN error('boom') ELSE i END AS v "
    "FROM range(3000000) t(i)"
)


def test_failure_in_the_middle_removes_the_spill(con, spills):
    with pytest.raises(QueryError, match=r"(?s)boom.*range\(3000000\)") as caught:
        read_sql(FAILING, con)
    assert caught.value.__cause__ is not None
    assert left_in(spills) == []
    assert con.execute("SELECT 1").fetchall() == [(1,)]
    assert read_sql("SELECT 1 AS a", con).compute().a.tolist() == [1]


def test_failure_in_the_middle_with_spill_to(con, tmp_path):
    (tmp_path / "old").mkdir()
    for target in ("old", "new"):
        with pytest.raises(QueryError, match="boom"):
            read_sql(FAILING, con, spill_to=tmp_path / target)
    assert left_in(tmp_path / "old") == []
    assert not (tmp_path / "new").exists()


def test_interrupt_removes_the_spill(con, spills, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_stream, "_stored", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_sql("FROM range(10)", con)
    assert left_in(spills) == []
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_duckdbs_word_for_ctrl_c_is_a_keyboard_interrupt():
    with pytest.raises(KeyboardInterrupt), _query.database_errors("query"):
        raise RuntimeError("Query interrupted")


def test_ctrl_c_in_the_query(con, spills):
    signal = pytest.importorskip("signal")
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        read_sql("FROM range(90000) a(i), range(90000) b(j) WHERE i * j % 7 = 3", con)
    timer.join()
    assert left_in(spills) == []
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_one_line_is_logged(con, caplog, spills):
    with caplog.at_level(logging.INFO, logger="dfml"):
        frame = read_sql("FROM range(10)", con, npartitions=2)
    (record,) = caplog.records
    assert "plan=spill rows=10 partitions=2" in record.getMessage()
    assert str(spills) in record.getMessage()
    assert frame.npartitions == 2


# Types

WHEN = pd.Timestamp("2020-01-02 03:04")
UUID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
TYPES = [
    ("5::TINYINT", "int8", "Int8", 5),
    ("5::SMALLINT", "int16", "Int16", 5),
    ("5::INTEGER", "int32", "Int32", 5),
    ("5::BIGINT", "int64", "Int64", 5),
    ("5::UTINYINT", "uint8", "UInt8", 5),
    ("5::USMALLINT", "uint16", "UInt16", 5),
    ("5::UINTEGER", "uint32", "UInt32", 5),
    ("5::UBIGINT", "uint64", "UInt64", 5),
    ("true", "bool", "boolean", True),
    ("1.5::FLOAT", "float32", "float32", 1.5),
    ("1.5::DOUBLE", "float64", "float64", 1.5),
    ("1.5::DECIMAL(5, 2)", "float64", "float64", 1.5),
    ("1.5::DECIMAL(38, 2)", "float64", "float64", 1.5),
    ("5::HUGEINT", "float64", "float64", 5),
    ("5::UHUGEINT", "float64", "float64", 5),
    ("5::BIGNUM", "float64", "float64", 5),
    ("'x'", "str", "str", "x"),
    ("'{\"a\": 1}'::JSON", "str", "str", '{"a": 1}'),
    (f"'{UUID}'::UUID", "str", "str", UUID),
    ("'b'::ENUM('b', 'a')", "category", "category", "b"),
    ("TIME '03:04'", "timedelta64[us]", "timedelta64[us]", pd.Timedelta("184min")),
    ("DATE '2020-01-02'", "datetime64[us]", "datetime64[us]", WHEN.normalize()),
    *[
        (f"{kind} '2020-01-02 03:04'", f"datetime64[{unit}]", f"datetime64[{unit}]", v)
        for kind, unit, v in [
            ("TIMESTAMP", "us", WHEN),
            ("TIMESTAMP_S", "s", WHEN),
            ("TIMESTAMP_MS", "ms", WHEN),
            ("TIMESTAMP_NS", "ns", WHEN),
            ("TIMESTAMPTZ", "us, Europe/Berlin", WHEN.tz_localize("Europe/Berlin")),
        ]
    ],
]

ARROW_SETTINGS = [
    "produce_arrow_string_view = true",
    "arrow_output_version = '1.5'",
    "arrow_lossless_conversion = true",
    "arrow_large_buffer_size = true",
]


def assert_dtype(frame, dtype):
    parts = parts_of(frame)
    assert str(frame.dtypes["v"]) == dtype
    assert all(part.dtypes.equals(frame.dtypes) for part in parts)
    return pd.concat(parts).v


@pytest.mark.parametrize("options", [[], ARROW_SETTINGS], ids=["", "settings"])
@pytest.mark.parametrize(("value", "dtype", "with_null", "expected"), TYPES)
def test_types(con, value, dtype, with_null, expected, options):
    con.execute("SET timezone = 'Europe/Berlin'")
    for option in options:
        con.execute(f"SET {option}")

    def read(condition):
        query = f"SELECT CASE WHEN {condition} THEN {value} END AS v "
        return read_sql(query + "FROM range(6) t(i) ORDER BY i", con, npartitions=3)

    full = assert_dtype(read("true"), dtype)
    one_null = assert_dtype(read("i <> 5"), with_null)
    no_value = assert_dtype(read("false"), with_null)
    assert one_null.isna().tolist() == [False] * 5 + [True]
    assert no_value.isna().all()
    assert full.tolist() == [expected] * 6
    assert one_null[0] == expected


def test_exact_values_of_the_uncommon_types(con):
    frame = read_sql(
        """
        SELECT TIME '01:00:00.5' AS t,
               340282366920938463463374607431768211455::UHUGEINT AS u,
               '-170141183460469231731687303715884105728'::HUGEINT AS h,
               9007199254740993::BIGINT AS i, NULL AS n,
               TIMESTAMPTZ '2020-07-01 12:00:00+00' AS z, 'a "b" c' AS "q"" x"
        UNION ALL BY NAME SELECT NULL::BIGINT AS i
        """,
        con,
    ).compute()
    first = frame.iloc[0]
    assert first.t == pd.Timedelta("1h") + pd.Timedelta("500ms")
    assert first.u == 2.0**128
    assert first.h == -(2.0**127)
    assert frame.i[0] == 9007199254740993
    assert frame.n.dtype == "float64"
    assert frame.n.isna().all()
    assert first.z == pd.Timestamp("2020-07-01 12:00", tz="UTC")
    assert first['q" x'] == 'a "b" c'


@pytest.mark.parametrize("size", [3, 200, 40_000])
def test_enums_have_all_values_in_every_partition(con, size):
    values = [f"v{i}" for i in range(size, 0, -1)]
    con.execute(f"CREATE TYPE e AS ENUM ({', '.join(map(repr, values))})")
    query = f"SELECT CASE WHEN i > 0 THEN 'v' || i END::e AS v FROM range({size}) t(i)"
    frame = read_sql(query, con, npartitions=3)
    result = assert_dtype(frame, "category")
    assert result.cat.categories.tolist() == values
    assert frame.v.cat.categories.tolist() == values
    assert result.isna().tolist() == [True] + [False] * (size - 1)
    assert result.astype("str").tolist()[1:] == [f"v{i}" for i in range(1, size)]


@pytest.mark.parametrize(
    "value",
    [
        "[1]",
        "array_value(1, 2)",
        "{'a': 1}",
        "MAP {1: 2}",
        "union_value(a := 1)",
        "'a'::BLOB",
        "'1'::BIT",
        "INTERVAL 1 DAY",
        "TIMETZ '01:00:00+00'",
    ],
)
def test_refused_types(con, value):
    con.execute("CREATE SEQUENCE s")
    query = f"SELECT 1 AS fine, {value} AS odd, [{value}] AS odder, error('ran') AS e"
    with pytest.raises(QueryError, match=r"Got odd \(.*\), odder \(") as caught:
        read_sql(query, con)
    assert "unnest" in str(caught.value)
    assert "fine" not in str(caught.value)


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_infinity_is_refused(con, kind, sign, spills):
    with pytest.raises(QueryError, match="infinity in column 't'"):
        read_sql(f"SELECT '{sign}infinity'::{kind} AS t", con)
    assert left_in(spills) == []


@pytest.mark.parametrize("query", ["SELECT 1 AS a, 2 AS a", "SELECT 1 AS a, 2 AS A"])
def test_duplicate_names(con, query):
    with pytest.raises(QueryError, match=r"different name.*Got a, [aA]"):
        read_sql(query, con)


# What is not a query


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "exactly one.*Got none"),
        ("  -- nothing", "exactly one.*Got none"),
        ("SELECT 1; SELECT 2", "exactly one.*Got 2"),
        ("INSERT INTO t VALUES (2)", "SELECT.*Got INSERT"),
        ("DELETE FROM t RETURNING *", "SELECT.*Got DELETE"),
        ("DROP TABLE t", "SELECT.*Got DROP"),
        ("CREATE TABLE u AS SELECT 1", "SELECT.*Got CREATE"),
        ("COPY t TO 'out.csv'", "SELECT.*Got COPY"),
        ("PRAGMA version", "SELECT.*Got PRAGMA"),
        ("EXPLAIN SELECT 1", "SELECT.*Got EXPLAIN"),
        ("CALL range(3)", "SELECT.*Got CALL"),
        ("SET threads = 1", "SELECT.*Got SET"),
        ("PIVOT t ON a USING count(*)", r"(?s)Got MULTI.*IN \("),
        ("SELEC 1", "syntax error"),
        ("t", "a whole table is FROM name"),
        ("/lake/t.parquet", "a file FROM 'path'"),
        ("SELECT b FROM t", '"b" not found'),
        ("SELECT nofunction(1)", "nofunction does not exist"),
        ("SELECT ?", "parameters: 1"),
        ("FROM nowhere", "nowhere does not exist"),
        ("FROM 'nowhere.parquet'", "No files found"),
    ],
)
def test_bad_sql(con, query, message, spills):
    con.execute("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(QueryError, match=message) as caught:
        read_sql(query, con)
    assert query in str(caught.value)
    assert "Hint: " in str(caught.value)
    assert left_in(spills) == []
    assert con.execute("FROM t").fetchall() == [(1,)]
    assert con.execute(SETTING).fetchall() == [(True,)]


def test_error_of_duckdb_is_the_cause(con):
    with pytest.raises(QueryError) as caught:
        read_sql("SELECT b", con)
    assert isinstance(caught.value.__cause__, duckdb.BinderException)


def test_wrong_parameters(con):
    for params in ([1, 2], {"a": 1, "b": 2}):
        with pytest.raises(QueryError, match=r"[Pp]arameter"):
            read_sql("SELECT $a AS a", con, params=params)
    with pytest.raises(QueryError, match=r"value\.item\(\)"):
        read_sql("SELECT $a AS a", con, params={"a": np.int64(1)})


def test_the_stack_of_duckdb_is_left_out():
    error = duckdb.InternalException("fail\n\nStack Trace:\n\n/lib/duckdb.so")
    with pytest.raises(QueryError) as caught, _query.database_errors("SELECT 1"):
        raise error
    assert "Got fail\n\nfrom SELECT 1.\n\nHint" in str(caught.value)


def test_arguments_of_wrong_kind(con):
    relation = con.sql("SELECT 1 AS a")
    for args, kwargs, message in [
        ((relation, con), {}, "connection"),
        ((relation,), {"params": [1]}, "params"),
        ((1, con), {}, "SQL text"),
        ((None, con), {}, "SQL text"),
        (("SELECT 1", "file.duckdb"), {}, "duckdb.connect"),
        (("SELECT ?", con), {"params": "a"}, "list or a dict"),
        (("SELECT 1", con), {"npartitions": 1.5}, "npartitions"),
        (("SELECT 1", con), {"npartitions": True}, "npartitions"),
        (("SELECT 1", con), {"rows_per_partition": "9"}, "rows_per_partition"),
        (("SELECT 1", con), {"partition_size": 1e6}, "partition_size"),
    ]:
        with pytest.raises(InputTypeError, match=message):
            read_sql(*args, **kwargs)


@pytest.mark.parametrize(
    "sizes",
    [
        {"npartitions": 0},
        {"rows_per_partition": -1},
        {"npartitions": 1, "rows_per_partition": 1},
        {"npartitions": 1, "partition_size": "1MB"},
        {"partition_size": "0.1 B"},
        {"partition_size": "much"},
    ],
)
def test_wrong_sizes_stop_before_the_query(con, sizes):
    con.execute("CREATE SEQUENCE s")
    with pytest.raises(SourceError, match="partition"):
        read_sql("SELECT nextval('s') AS v", con, **sizes)
    assert con.execute("SELECT nextval('s')").fetchall() == [(1,)]


def test_state_of_the_connection(con):
    con.execute("FROM range(10)")
    with pytest.raises(QueryError, match="open result"):
        read_sql("SELECT 1 AS a", con)
    assert len(con.fetchall()) == 10, "the open result is still there"
    con.begin()
    with pytest.raises(duckdb.Error):
        con.execute("SELECT error('x')").fetchall()
    with pytest.raises(QueryError, match="rollback"):
        read_sql("SELECT 1 AS a", con)
    con.rollback()
    assert con.execute(SETTING).fetchall() == [(True,)]
    con.close()
    with pytest.raises(QueryError, match="open connection"):
        read_sql("SELECT 1 AS a", con)


def test_out_of_memory(con, spills):
    con.execute("SET memory_limit = '40MB'")
    con.execute("SET temp_directory = ''")
    query = "SELECT i, hash(i)::VARCHAR AS h FROM range(5000000) t(i) ORDER BY h"
    with pytest.raises(QueryError, match=r"(?s)Out of Memory.*memory_limit"):
        read_sql(query, con)
    assert left_in(spills) == []


def test_out_of_memory_after_the_first_rows(con, spills):
    """In a stream DuckDB's error comes as one of Arrow."""
    con.execute("SET memory_limit = '40MB'")
    con.execute("SET temp_directory = ''")
    many = "SELECT i, hash(i)::VARCHAR AS h FROM range(1500000) t(i) ORDER BY h"
    query = f"SELECT i, 'x' AS h FROM range(300000) t(i) UNION ALL FROM ({many})"
    with pytest.raises(QueryError, match=r"(?s)Out of Memory.*memory_limit") as caught:
        read_sql(query, con)
    # Mostly; on a busy machine the sort may run out before the first row is out.
    assert isinstance(caught.value.__cause__, OSError | duckdb.OutOfMemoryException)
    assert left_in(spills) == []


# Python variables


def test_python_variables_are_not_tables(con):
    local = pd.DataFrame({"a": [1]})
    with pytest.raises(QueryError, match=r"(?s)local does not exist.*register\("):
        read_sql("FROM local", con)
    assert con.execute(SETTING).fetchall() == [(True,)]
    assert con.sql("FROM local").fetchall() == [(1,)], local


@pytest.mark.parametrize("name", ["columns", "params", "frame", "connection", "schema"])
def test_variables_of_dfml_are_not_tables(con, name):
    con.execute("SET python_scan_all_frames = true")
    with pytest.raises(QueryError, match="does not exist"):
        read_sql(f"SELECT * FROM {name}", con, params=None)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "query", ["SELECT 1 AS a", "FROM nowhere", "SELECT error(''))"]
)
@pytest.mark.parametrize("transaction", [True, False])
def test_setting_is_restored(con, before, query, transaction):
    con.execute(f"SET python_enable_replacements = {before}")
    if transaction:
        con.begin()
    with contextlib.suppress(QueryError):
        read_sql(query, con)
    if transaction:
        con.rollback()
    assert con.execute(SETTING).fetchall() == [(before,)]


def test_setting_that_cannot_be_restored_is_told(con):
    con.execute("CREATE SEQUENCE s")
    con.begin()
    with pytest.raises(QueryError, match="boom") as caught:
        read_sql("SELECT nextval('s') AS v, error('boom') AS e FROM range(3)", con)
    assert any("SET python_enable_replacements" in n for n in caught.value.__notes__)


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE u AS SELECT 1 AS a", "DROP TABLE t", "INSERT INTO t VALUES (2)"],
)
def test_relations_of_statements_without_rows_are_refused(con, statement):
    con.execute("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(QueryError, match="the relation of a SELECT"):
        read_sql(con.sql(statement))
    rows = con.sql("SELECT 1 AS a").materialize()
    assert len(read_sql(rows)) == 1


def test_a_connection_that_is_busy_in_another_thread(con):
    def work():
        with contextlib.suppress(duckdb.Error):
            con.sql("SELECT sum(sqrt(i)) FROM range(10_000_000_000) t(i)").fetchall()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        time.sleep(0.3)
        with pytest.raises(QueryError, match=r"cursor\(\) in each thread"):
            read_sql("SELECT 1 AS a", con)
    finally:
        con.interrupt()
        thread.join()


def test_time_zones_that_python_does_not_know_are_told(con):
    con.execute("SET TimeZone = 'PST'")
    with pytest.raises(QueryError, match=r"'PST' in column 't'(?s:.*)SET TimeZone"):
        read_sql("SELECT TIMESTAMPTZ '2020-01-01' AS t", con)
    assert len(read_sql("SELECT (TIMESTAMPTZ '2020-01-01')::TIMESTAMP AS t", con)) == 1
    con.execute("SET TimeZone = 'Europe/Berlin'")
    assert len(read_sql("SELECT TIMESTAMPTZ '2020-01-01' AS t", con)) == 1


@pytest.mark.parametrize(
    "day", ["5877641-06-23 (BC)", "294247-01-11", "290309-01-01 (BC)"]
)
def test_dates_that_no_timestamp_holds_are_told(con, day):
    query = f"SELECT DATE '{day}' AS t"
    with pytest.raises(QueryError, match=r"dates .* in column 't'(?s:.*)CASE WHEN"):
        read_sql(query, con)
    mended = f"SELECT CASE WHEN abs(year(t)) < 290000 THEN t END AS t FROM ({query})"
    assert read_sql(mended, con).t.isna().compute().tolist() == [True]
