"""The plan "files" of read_sql: partitions are row groups of Parquet files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import dask
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfml import read_sql
from dfml._data_tokens import data_token
from dfml.exceptions import QueryError, SourceError


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture
def lake(tmp_path):
    """Three files of 40, 30 and 30 rows in row groups of 10."""
    for number, (start, stop) in enumerate([(0, 40), (40, 70), (70, 100)]):
        rows = {"a": range(start, stop), "s": [f"s{i % 7}" for i in range(start, stop)]}
        path = tmp_path / f"part-{number}.parquet"
        pq.write_table(pa.table(rows), path, row_group_size=10)
    return tmp_path


def read(query, con, **arguments):
    return read_sql(query, con, plan="files", **arguments)


def lengths(frame):
    return [len(part) for part in dask.compute(*frame.to_delayed())]


def assert_is_the_query(query, con, **arguments):
    frame = read(query, con, npartitions=4, **arguments)
    found = frame.compute()
    expected = read_sql(query, con, **arguments).compute()
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected)
    return frame


def test_partitions_are_row_groups(con, lake):
    query = f"FROM '{lake}/*.parquet'"
    for arguments, expected in [
        ({}, [100]),
        ({"npartitions": 10}, [10] * 10),
        ({"npartitions": 2}, [50, 50]),
        ({"npartitions": 3}, [30, 40, 30]),
        ({"rows_per_partition": 20}, [20] * 5),
    ]:
        frame = read(query, con, **arguments)
        parts = dask.compute(*frame.to_delayed())
        assert list(map(len, parts)) == expected
        assert frame.divisions == (0, *np.cumsum(expected[:-1]), 99)
        assert pd.concat(parts).a.tolist() == list(range(100))
        assert pd.concat(parts).index.tolist() == list(range(100))


def test_the_index_is_the_number_of_the_row_in_the_files(con, lake):
    frame = read(f"SELECT s, a FROM '{lake}/*.parquet' WHERE a % 3 = 1", con)
    assert frame.compute().index.tolist() == frame.compute().a.tolist()
    assert frame.divisions == (0, 99)
    assert frame.loc[50:60].compute().a.tolist() == [52, 55, 58]


def test_each_partition_reads_its_own_files(con, lake):
    frame = read(f"FROM '{lake}/*.parquet'", con, npartitions=10)
    (lake / "part-2.parquet").unlink()
    assert frame.get_partition(4).compute().a.tolist() == list(range(40, 50))
    with pytest.raises(SourceError, match=r"part-2\.parquet"):
        frame.get_partition(8).compute()


def test_a_file_that_was_written_again_is_noticed(con, lake):
    frame = read(f"FROM '{lake}/*.parquet'", con, npartitions=10)
    path = lake / "part-1.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=30)
    with pytest.raises(SourceError, match=r"size and time.*part-1\.parquet"):
        frame.get_partition(4).compute()
    again = read(f"FROM '{lake}/*.parquet'", con, npartitions=10)
    assert data_token(again.expr) != data_token(frame.expr)


def test_the_token_is_the_same_each_time(con, lake):
    query = f"FROM '{lake}/*.parquet' WHERE a > ?"
    first, again, other = (read(query, con, params=[p]) for p in (1, 1, 2))
    assert first._name == again._name != other._name
    assert data_token(first.expr) == data_token(again.expr)


@pytest.mark.parametrize(
    "query",
    [
        "FROM '{lake}/*.parquet'",
        "FROM read_parquet('{lake}/*.parquet')",
        "FROM read_parquet(['{lake}/part-2.parquet', '{lake}/part-[01].parquet'])",
        "FROM parquet_scan('{lake}/part-1.parquet');",
        "SELECT \"part-1\".a FROM '{lake}/part-1.parquet'",
        "SELECT t.a + 1 AS b, upper(s) AS s FROM '{lake}/*.parquet' t WHERE t.a < 50",
        "SELECT y, x FROM '{lake}/*.parquet' AS t(x, y) WHERE x < 5 OR x > 90",
        "SELECT * EXCLUDE (s) REPLACE (a / 2 AS a) FROM '{lake}/*.parquet'",
        "SELECT COLUMNS('a|s') FROM '{lake}/*.parquet' -- all",
        "SELECT a, filename FROM '{lake}/*.parquet'",
        "SELECT a, file_row_number AS n FROM '{lake}/*.parquet' WHERE a % 2 = 0",
        "FROM read_parquet('{lake}/*.parquet', filename = true) WHERE a < 50",
        "FROM read_parquet('{lake}/*.parquet', file_row_number := true)",
        "SELECT CASE WHEN a BETWEEN 3 AND 5 THEN s END AS c FROM '{lake}/*.parquet'",
        "SELECT a FROM '{lake}/*.parquet' WHERE false",
        "FROM read_parquet(['{lake}/part-1.parquet', '{lake}/part-1.parquet'])",
    ],
)
def test_scans(con, lake, query):
    assert_is_the_query(query.format(lake=lake), con)


def test_parameters(con, lake):
    for mark, params in [("?", [50]), ("$1", [50]), ("$low", {"low": 50})]:
        query = f"SELECT a, {mark} AS p FROM '{lake}/*.parquet' WHERE a > {mark}"
        given = [50, 50] if mark == "?" else params
        assert_is_the_query(query, con, params=given)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT count(*) FROM '{0}'", "single rows"),
        ("SELECT s, count(*) AS n FROM '{0}' GROUP BY s", "group expressions"),
        ("SELECT a FROM '{0}' GROUP BY ALL", "AGGREGATE|group"),
        ("SELECT DISTINCT s FROM '{0}'", "DISTINCT"),
        ("FROM '{0}' ORDER BY a", "ORDER"),
        ("FROM '{0}' LIMIT 3", "LIMIT"),
        ("FROM '{0}' USING SAMPLE 3", "sample"),
        ("SELECT row_number() OVER () AS n FROM '{0}'", "window"),
        ("SELECT sum(a) OVER (ORDER BY a) AS n FROM '{0}'", "window"),
        ("FROM '{0}' QUALIFY row_number() OVER () = 1", "qualify"),
        ("SELECT unnest([a, a]) AS u FROM '{0}'", "unnest"),
        ("SELECT a FROM '{0}' WHERE a IN (SELECT a FROM '{0}')", "join|delim"),
        ("SELECT l.a FROM '{0}' l JOIN '{0}' r USING (a)", "another table"),
        ("SELECT l.a FROM '{0}' l, '{0}' r", "another table"),
        ("WITH t AS (FROM '{0}') FROM t", "several parts"),
        ("FROM '{0}' UNION ALL FROM '{0}'", "several parts"),
        ("SELECT a FROM (FROM '{0}')", "another table"),
        ("SELECT random() AS r FROM '{0}'", "random"),
        ("SELECT current_localtime() AS t FROM '{0}'", "current_localtime"),
        ("SELECT day(age(DATE '2020-01-01' + a::INT)) AS d FROM '{0}'", "age"),
        ("SELECT python(a) AS a FROM '{0}'", "python"),
        ("SELECT twice(a) AS a FROM '{0}'", "twice"),
        ("FROM t", "another table"),
        ("FROM '{0}.csv'", "another table"),
        ('FROM "t.parquet"', "another table"),
        ("FROM range(5)", "another table"),
        ("FROM read_parquet('{0}', union_by_name = true)", "union_by_name"),
        ("FROM read_parquet('{0}'[:100] || '')", "computed"),
    ],
)
def test_other_queries_are_refused_by_name(con, lake, query, message):
    con.execute('CREATE TABLE t AS SELECT 1 AS a; CREATE VIEW "t.parquet" AS FROM t')
    con.execute("CREATE MACRO twice(x) AS 2 * x")
    con.create_function("python", lambda x: x, ["BIGINT"], "BIGINT")
    con.execute(f"COPY t TO '{lake}/part-1.parquet.csv'")
    query = query.format(f"{lake}/part-1.parquet")
    with pytest.raises(QueryError, match=message) as caught:
        read(query, con)
    assert 'plan="spill"' in str(caught.value)
    assert len(read_sql(query, con)) > 0


@pytest.mark.parametrize(
    ("setting", "query"),
    [
        ("integer_division = true", "SELECT a / 3 AS q"),
        ("default_collation = 'NOCASE'", "SELECT s = 'S1' AS q"),
        ("regex_match_operator_semantics = 'full'", "SELECT s ~ '1' AS q"),
        ("error_on_division_by_zero = false", "SELECT a / (a - 1) AS q"),
        ("preserve_identifier_case = false", "SELECT a AS Q"),
    ],
)
def test_settings_that_change_values_are_refused(con, lake, setting, query):
    con.execute(f"SET {setting}")
    with pytest.raises(QueryError, match=f"the setting {setting.split()[0]}"):
        read(f"{query} FROM '{lake}/*.parquet'", con)


def test_settings_of_order_do_not_matter(con, lake):
    con.execute("SET preserve_insertion_order = false")
    frame = read(f"FROM '{lake}/*.parquet'", con, npartitions=4)
    assert frame.compute().a.tolist() == list(range(100))


def test_keys_in_folder_names(con, tmp_path):
    for value in ("007", "abc", "9"):
        (tmp_path / f"k={value}").mkdir()
        path = tmp_path / f"k={value}" / "rows.parquet"
        pq.write_table(pa.table({"a": [1, 2]}), path)
    assert_is_the_query(f"FROM '{tmp_path}/*/*.parquet' WHERE k = '007'", con)


def test_files_of_other_types_are_as_in_the_whole_query(con, tmp_path):
    """Columns are taken by name and cast to the types of the first file."""
    for number, table in enumerate(
        [
            pa.table({"a": pa.array([1, None], pa.int32()), "s": ["x", "y"]}),
            pa.table({"s": ["z"], "a": pa.array([3], pa.int16())}),
            pa.table({"a": pa.array([4.0], pa.float64()), "s": ["w"]}),
        ]
    ):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    frame = assert_is_the_query(f"FROM '{tmp_path}/*.parquet'", con)
    assert frame.dtypes.astype(str).tolist() == ["Int32", "str"]


def test_columns_that_hide_those_of_duckdb_are_refused(con, tmp_path):
    pq.write_table(pa.table({"Filename": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(QueryError, match="'filename' in the files"):
        read(f"FROM '{tmp_path}/a.parquet'", con)


def test_the_number_of_a_file_is_refused_unless_it_is_a_column(con, tmp_path):
    for number in range(3):
        rows = pa.table({"a": [number, number]})
        pq.write_table(rows, tmp_path / f"{number}.parquet")
    for sql in ("SELECT a, FILE_INDEX", "SELECT a"):
        where = "" if "FILE" in sql else 'WHERE "file_index" = 1'
        with pytest.raises(QueryError, match="file_index, which counts all files"):
            read(f"{sql} FROM '{tmp_path}/*.parquet' {where}", con)
    for number in range(3):
        rows = pa.table({"a": [number, 7], "file_index": [1, 2]})
        pq.write_table(rows, tmp_path / f"{number}.parquet")
    query = f"SELECT a FROM '{tmp_path}/*.parquet' WHERE file_index = 1"
    assert len(assert_is_the_query(query, con)) == 3


@pytest.mark.parametrize(
    "name",
    ["a[1]", "b*", "c?", "it's", 'say "x"', "ä 日本", "d'; DROP TABLE t; --", "e%20"],
)
def test_odd_names_of_files_and_folders(con, tmp_path, name):
    """A name that is also a pattern means itself, not what it matches."""
    folder = tmp_path / name
    folder.mkdir()
    for number, each in enumerate([name, "a1", "bb", "cc"]):
        pq.write_table(pa.table({"a": [number]}), folder / f"{each}.parquet")
    con.execute("CREATE TABLE t AS SELECT 1 AS a")
    pattern = str(tmp_path).replace("'", "''") + "/*/*.parquet"
    frame = read(f"SELECT a FROM '{pattern}'", con, npartitions=4)
    assert lengths(frame) == [1] * 4
    assert sorted(frame.compute().a) == [0, 1, 2, 3]
    assert con.sql("FROM t").fetchall() == [(1,)]


def test_relative_paths(con, lake, monkeypatch):
    monkeypatch.chdir(lake)
    frame = read("SELECT a FROM '*.parquet'", con, npartitions=4)
    named = read("SELECT filename FROM '*.parquet'", con, npartitions=4)
    assert set(named.compute().filename) == {f"part-{i}.parquet" for i in range(3)}
    monkeypatch.chdir("/")
    assert frame.a.sum().compute() == 4950


def test_no_rows(con, tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.int32())}), tmp_path / "a.parquet")
    frame = read(f"FROM '{tmp_path}/*.parquet'", con, npartitions=3)
    assert frame.npartitions == 1
    assert frame.compute().dtypes.equals(frame.dtypes)
    assert len(frame) == 0


def test_files_without_rows_between_others(con, tmp_path):
    for number, rows in enumerate([[], [1, 2], [], [3], []]):
        table = pa.table({"a": pa.array(rows, pa.int64())})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    frame = assert_is_the_query(f"FROM '{tmp_path}/*.parquet'", con)
    assert frame.divisions == (0, 2, 2)


def test_frames_pickle(con, lake):
    frame = read(f"SELECT a, s FROM '{lake}/*.parquet' WHERE a > 5", con, npartitions=4)
    expected = frame.compute()
    con.close()
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(frame)).compute(), expected)


def test_a_broken_file_is_named(con, lake):
    path = lake / "part-1.parquet"
    frame = read(f"FROM '{lake}/*.parquet'", con, npartitions=10)
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = os.urandom(len(data) // 2 - 4)
    before = path.stat().st_mtime_ns
    Path(path).write_bytes(data)
    os.utime(path, ns=(before, before))
    with pytest.raises(QueryError, match=r"part-1\.parquet"):
        frame.get_partition(4).compute()
