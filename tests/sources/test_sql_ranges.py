"""The plan "ranges" of read_sql: each partition is a query over a range of a column."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys

import dask
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfml import read_sql
from dfml._data_tokens import data_token
from dfml.exceptions import QueryError, SourceError
from dfml.sources._cuts import find_cuts
from tests.processes import local_cluster

ROWS = "SELECT i AS id, i % 10 AS k, 's' || (i % 7) AS s FROM range(200) t(i)"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "base.duckdb"
    with duckdb.connect(path) as con:
        con.execute(f"CREATE TABLE t AS {ROWS}")
    return str(path)


@pytest.fixture
def con(path):
    with duckdb.connect(path) as connection:
        yield connection


def read(con, query="FROM t", on="id", **arguments):
    arguments = {"npartitions": 4, **arguments}
    return read_sql(query, con, plan="ranges", partition_on=on, **arguments)


def lengths(frame):
    return [len(part) for part in dask.compute(*frame.to_delayed())]


# Partitions


def test_index_and_divisions(con):
    frame = read(con)
    assert frame.divisions == (0, 50, 100, 150, 199)
    assert lengths(frame) == [50] * 4
    assert frame.index.name is None
    assert list(frame.columns) == ["id", "k", "s"]
    assert frame.loc[20:60].compute().id.tolist() == list(range(20, 61))


def test_only_the_partition_that_is_asked_for_is_read(con):
    frame = read(
        con, "SELECT id, CASE WHEN id = 120 THEN error('boom') ELSE s END AS s FROM t"
    )
    assert frame.get_partition(1).compute().id.tolist() == list(range(50, 100))
    assert frame.id.sum().compute() == 199 * 100, "the other column is not computed"
    with pytest.raises(QueryError, match=r"(?s)boom.*from SELECT id, CASE"):
        frame.compute()


def test_only_needed_columns_are_selected(con, monkeypatch):
    from dfml.sources import _ranges_plan

    asked = []
    read_table = _ranges_plan.read_table

    def noting(relation, columns, source):
        asked.append(relation.columns)
        return read_table(relation, columns, source)

    monkeypatch.setattr(_ranges_plan, "read_table", noting)
    frame = read(con, npartitions=1)
    assert frame[["s"]].compute().columns.tolist() == ["s"]
    assert len(frame[[]].compute()) == 200
    assert asked == [["id", "s"], ["id"]]


def test_repeated_values_stay_together(con):
    frame = read(con, on="k", npartitions=7)
    parts = dask.compute(*frame.to_delayed())
    seen = [set(part.k) for part in parts]
    assert sum(map(len, seen)) == 10
    assert frame.divisions[-1] == 9
    assert frame.npartitions == 7


def test_one_value_is_one_partition(con):
    frame = read(con, "SELECT 5 AS k, id FROM t", on="k")
    assert frame.npartitions == 1
    assert frame.divisions == (5, 5)
    assert len(frame) == 200


def test_no_value_is_one_partition_of_unknown_divisions(con):
    frame = read(con, "SELECT NULL::DATE AS k, id FROM t", on="k")
    assert frame.npartitions == 1
    assert not frame.known_divisions
    assert frame.compute().k.isna().all()


def test_no_rows(con):
    frame = read(con, "FROM t WHERE false")
    assert frame.npartitions == 1
    assert frame.compute().dtypes.equals(frame.dtypes)


def test_divisions_are_unknown_beside_nulls(con):
    """dask's repartition by known divisions would drop rows without an index."""
    frame = read(con, "SELECT nullif(id, 7) AS id, s FROM t")
    assert not frame.known_divisions
    assert len(frame.repartition(npartitions=2).compute()) == 200
    assert frame.get_partition(3).compute().id.isna().sum() == 1


def test_default_size_is_about_64_mib(con):
    columns = ", ".join(f"i + {k} AS c{k}" for k in range(40))
    frame = read(
        con, f"SELECT {columns} FROM range(500_000) t(i)", on="c0", npartitions=None
    )
    assert frame.npartitions == 3
    assert max(lengths(frame)) * 40 * 8 < 80 * 2**20


def test_a_collation_does_not_change_the_ranges(con):
    con.execute("CREATE TABLE c (s VARCHAR COLLATE NOCASE)")
    con.execute(
        "INSERT INTO c SELECT ['a', 'A', 'b', 'B', 'ä'][i % 5 + 1] FROM range(50) t(i)"
    )
    frame = read(con, "FROM c", on="s", npartitions=5)
    assert frame.divisions == ("A", "B", "a", "b", "ä", "ä")
    assert lengths(frame) == [10] * 5


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("nosuch", r"'nosuch', columns: \['id', 'k'"),
        ("flag", r"flag \(boolean\)"),
        ("e", r"e \(enum\)"),
        ("hour", r"hour \(time\)"),
    ],
)
def test_columns_that_cannot_be_cut(con, column, message):
    query = "SELECT *, id > 5 AS flag, 'a'::ENUM('a') AS e, TIME '01:00' AS hour FROM t"
    with pytest.raises(QueryError, match=message):
        read(con, query, on=column)


def test_the_case_of_the_column_is_that_of_sql(con):
    assert read(con, on="ID").divisions[-1] == 199


def test_only_ascii_letters_have_two_cases(con):
    query = 'SELECT id AS "é", -id AS "É", id AS ID FROM t'
    assert read(con, query, on="é").divisions[-1] == 199
    assert read(con, query, on="É").divisions[-1] == 0
    con.execute('CREATE TEMP MACRO "É"() AS 1')
    con.execute('CREATE TEMP TABLE "Ö" AS SELECT 1')
    named = 'WITH "ö" AS (FROM t) SELECT id, id AS "é" FROM "ö"'
    assert len(read(con, named)) == 200


def test_parameters(con):
    for params in ([150], {"low": 150}):
        mark = "?" if isinstance(params, list) else "$low"
        frame = read(con, f"FROM t WHERE id >= {mark} -- all", params=params)
        assert frame.divisions[0] == 150
        assert len(frame) == 50


def test_parameters_that_change_later(con):
    params = [150]
    frame = read(con, "FROM t WHERE id >= ?", params=params)
    params[0] = 190
    assert len(frame) == 50


def test_relation(con):
    frame = read_sql(
        con.table("t").filter("id > 9"), plan="ranges", partition_on="id", npartitions=2
    )
    assert frame.compute().id.tolist() == list(range(10, 200))


values = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=60).map(
        lambda v: pa.array(v, pa.int64())
    ),
    st.lists(st.sampled_from([None, 0.5, float("nan"), float("inf"), -1.0])).map(
        lambda v: pa.array(v, pa.float64())
    ),
    st.lists(st.sampled_from([None, "", "a", "ä", "日本"])).map(
        lambda v: pa.array(v, pa.large_string())
    ),
)


def sorted_as_duckdb_does(array):
    present = sorted(v for v in array.to_pylist() if v is not None and v == v)
    nan = [v for v in array.to_pylist() if v is not None and v != v]
    missing = [None] * array.null_count
    return present, pa.array([*present, *nan, *missing], array.type)


@settings(deadline=None, max_examples=150)
@given(
    array=values,
    cuts=st.lists(st.integers(0, 60), max_size=5),
    count=st.integers(1, 8),
)
def test_cuts(array, cuts, count):
    present, column = sorted_as_duckdb_does(array)
    edges = [0, *sorted(c for c in cuts if c <= len(column)), len(column)]
    batches = [column[a:b] for a, b in itertools.pairwise(edges)]
    starts = [len(column) * i // count for i in range(count)]
    found = find_cuts(batches, starts)
    wanted = [s for s in starts if s < len(present)]
    expected = sorted({present.index(present[s]) for s in wanted}) or [0]
    assert found.positions == expected
    assert found.n_values == len(present)
    ends = [present[p] for p in expected] + present[-1:] if present else []
    assert found.values.to_pylist() == ends
    n_missing = len(column) - len(present)
    assert found.repeats == (len(set(present)) < len(present) or n_missing > 1)


# What another connection does not have


def test_what_only_this_connection_has_is_refused_by_name(con):
    con.execute("CREATE TEMP TABLE temporary AS FROM t")
    con.execute("CREATE TEMP MACRO twice(x) AS 2 * x")
    con.execute("CREATE MACRO rows() AS TABLE FROM temporary")
    con.execute("CREATE VIEW behind AS SELECT * FROM temporary")
    con.execute("""CREATE VIEW "a AS SELECT 1; --" AS SELECT * FROM temporary""")
    con.execute("CREATE TEMP TYPE level AS ENUM ('low', 'high')")
    con.execute("ATTACH ':memory:' AS scratch")
    con.execute("CREATE TABLE scratch.m AS FROM t")
    con.register("registered", pd.DataFrame({"id": [1]}))
    con.create_function("python", lambda x: x, ["BIGINT"], "BIGINT")
    for query, name in [
        ("FROM temporary", "temporary table 'temporary'"),
        ("SELECT * FROM t WHERE id IN (SELECT id FROM temporary)", "'temporary'"),
        ("FROM behind", "'temporary'"),
        ('FROM "a AS SELECT 1; --"', "'temporary'"),
        ("FROM rows()", "'temporary'"),
        ("FROM registered", "temporary table 'registered'"),
        ("FROM scratch.m", "table 'm' of 'scratch'"),
        ("SELECT twice(id) AS id FROM t", "temporary function 'twice'"),
        ("SELECT id, 'low'::level AS e FROM t", "temporary type 'level'"),
        ("SELECT python(id) AS id FROM t", "function 'python'"),
        ("FROM query_table('t')", "query_table"),
        ("FROM query('FROM temporary')", "query"),
    ]:
        with pytest.raises(QueryError, match=name) as caught:
            read(con, query)
        assert 'plan="spill"' in str(caught.value)
        assert query in str(caught.value)
        assert len(read_sql(query, con)) > 0


def test_a_temporary_table_that_hides_another_is_refused(con):
    con.execute("CREATE TEMP TABLE t AS SELECT 1 AS id")
    with pytest.raises(QueryError, match="temporary table 't'"):
        read(con, "FROM t")
    assert len(read(con, "FROM base.t")) == 200


def test_a_database_in_memory_is_refused():
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t AS {ROWS}")
        with pytest.raises(QueryError, match="table 't' of 'memory'"):
            read(con)


def test_an_open_transaction_is_refused(con):
    con.begin()
    con.execute("INSERT INTO t VALUES (999, 9, '')")
    with pytest.raises(QueryError, match="open transaction"):
        read(con)
    con.rollback()
    assert len(read(con)) == 200


@pytest.mark.parametrize(
    "setting",
    [
        "integer_division = True",
        "error_on_division_by_zero = False",
        "regex_match_operator_semantics = 'full'",
        "preserve_insertion_order = False",
    ],
)
def test_settings_of_the_connection_are_refused(con, setting):
    con.execute(f"SET {setting}")
    with pytest.raises(QueryError, match=f"the setting {setting}"):
        read(con)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("SELECT id, random() AS r FROM t", "random"),
        ("SELECT id, uuid() AS r FROM t", "uuid"),
        ("SELECT id, now() AS r FROM t", "now"),
        ("SELECT id, current_timestamp AS r FROM t", "current_timestamp"),
        ("SELECT id, CURRENT_LOCALTIME() AS r FROM t", "current_localtime,"),
        ("SELECT id, current_localtimestamp() AS r FROM t", "current_localtimestamp"),
        ("SELECT id, pg_conf_load_time() AS r FROM t", "pg_conf_load_time"),
        ("SELECT id, pg_postmaster_start_time() AS r FROM t", "pg_postmaster_start"),
        ("SELECT id, day(ago(INTERVAL 1 DAY)) AS r FROM t", "ago"),
        ("SELECT id, day(age(DATE '2020-01-01')) AS r FROM t", "age"),
        ("SELECT id, day(d.age()) AS r FROM (SELECT id, now() AS d FROM t)", "age"),
        ("SELECT id, nextval('s') AS r FROM t", "nextval"),
        ("FROM t USING SAMPLE 10", "sample"),
        ("FROM t TABLESAMPLE 10%", "sample"),
        ("FROM t LIMIT 10", "LIMIT"),
        ("FROM (FROM t LIMIT 10)", "LIMIT"),
        ("SELECT DISTINCT ON (k) * FROM t", "DISTINCT ON"),
        ("SELECT id, drawn() AS r FROM t", "random"),
    ],
)
def test_what_is_drawn_anew_is_refused(con, query, name):
    con.execute("CREATE SEQUENCE s")
    con.execute("CREATE MACRO drawn() AS random()")
    with pytest.raises(QueryError, match=name):
        read(con, query)


def test_the_time_between_two_moments_is_taken(con):
    day = "DATE '2020-01-01'"
    frame = read(con, f"SELECT id, day(age({day} + id::INT, {day})) AS r FROM t")
    assert frame.r.compute().iloc[:3].tolist() == [0, 1, 2]


def test_limit_and_distinct_in_an_order_are_taken(con):
    frame = read(con, "SELECT DISTINCT k FROM (FROM t ORDER BY id LIMIT 25)", on="k")
    assert sorted(frame.compute().k) == list(range(10))


def test_macros_views_and_types_in_the_file_are_taken(con):
    con.execute("CREATE TYPE level AS ENUM ('low', 'high')")
    con.execute("CREATE MACRO twice(x) AS 2 * x")
    con.execute("CREATE VIEW w AS SELECT twice(id) AS id, 'low'::level AS e FROM t")
    frame = read(con, "WITH t AS (FROM w) SELECT * FROM t WHERE e = 'low'")
    assert frame.divisions[-1] == 398
    assert len(frame) == 200


def test_schemas_attached_files_and_the_time_zone_go_along(con, tmp_path):
    con.execute("SET TimeZone = 'Asia/Tokyo'")
    con.execute(f'ATTACH \'{tmp_path}/other.duckdb\' AS "odd ""name"')
    con.execute('CREATE SCHEMA "odd ""name".s')
    con.execute(
        'CREATE TABLE "odd ""name".s.u AS '
        "SELECT i AS id, TIMESTAMPTZ '2020-01-01 00:00:00+00' AS moment "
        "FROM range(9) t(i)"
    )
    con.execute('SET search_path = \'"odd ""name".s\'')
    frame = read(
        con,
        "SELECT u.id, moment, moment::VARCHAR AS shown FROM u JOIN base.t USING (id)",
    )
    data = pickle.dumps(frame)
    con.close()
    for each in (frame, pickle.loads(data)):
        rows = each.compute()
        assert str(rows["moment"].dtype) == "datetime64[us, Asia/Tokyo]"
        assert set(rows["shown"]) == {"2020-01-01 09:00:00+09"}


# Opening the file again


def test_no_handle_is_pickled_and_the_file_is_opened_again(con):
    frame = read(con)
    data = pickle.dumps(frame)
    assert len(frame) == 200, "while this process has the file open for writing"
    con.close()
    assert len(pickle.loads(data)) == 200
    assert len(frame) == 200


def test_another_connection_of_this_process_may_write(con, path):
    frame = read(con)
    con.close()
    with duckdb.connect(path) as other:
        other.execute("CREATE TABLE new (a INT)")
        assert len(frame) == 200


def test_threads(con):
    with dask.config.set(scheduler="threads", num_workers=4):
        frame = read(con, npartitions=20)
        assert frame.id.sum().compute() == 199 * 100


def test_a_file_that_another_process_has_locked(con):
    frame = read(con)
    program = """
import pickle, sys
from dfml.exceptions import QueryError
frame = pickle.load(sys.stdin.buffer)
try:
    frame.compute(scheduler="synchronous")
except QueryError as err:
    assert "lock on file" in str(err) and "read_only=True" in str(err), err
else:
    raise AssertionError("the file was not locked")
"""
    subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(frame), check=True
    )


def test_a_file_that_is_gone(con, path):
    frame = read(con)
    con.close()
    os.remove(path)
    with pytest.raises(QueryError, match=r"(?s)base\.duckdb.*Hint"):
        frame.compute()


@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_workers_open_the_file_to_read_only(path, tmp_path):
    with duckdb.connect(path) as con:
        con.execute(f"COPY t TO '{tmp_path}/t.parquet'")
    with (
        duckdb.connect(path, read_only=True) as con,
        duckdb.connect() as memory,
        local_cluster(),
    ):
        query = f"FROM '{tmp_path}/t.parquet'"
        for frame in (
            read(con),
            read(memory, query),
            read_sql(query, memory, plan="files"),
        ):
            where = frame.map_partitions(
                lambda part: pd.Series(os.getpid(), index=part.index), meta=(None, int)
            )
            pids = set(where.compute())
            assert pids
            assert os.getpid() not in pids
            assert frame.compute().sort_values("id").id.tolist() == list(range(200))


# Tables that change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("INSERT INTO t VALUES (60, 1, '')", "rows 50. Got 51"),
        ("DELETE FROM t WHERE id = 60", "rows 50. Got 49"),
        ("UPDATE t SET k = NULL WHERE id = 60", r"Got \['k'\]"),
        ("ALTER TABLE t ALTER k TYPE DOUBLE", "types .*Got .*'k: double'"),
        ("ALTER TABLE t RENAME k TO w", "columns"),
    ],
)
def test_a_table_that_changes_is_noticed(con, change, message):
    frame = read(con)
    con.execute(change)
    with pytest.raises(SourceError, match=message):
        frame.get_partition(1).compute()


def test_the_token_changes_with_the_file(con):
    first, again = read(con), read(con)
    assert first._name == again._name
    assert data_token(first.expr) == data_token(again.expr)
    con.execute("UPDATE t SET k = 11 WHERE id = 3")
    assert data_token(read(con).expr) != data_token(first.expr)


def test_the_token_of_other_files_is_never_the_same(con, tmp_path):
    con.execute(f"COPY t TO '{tmp_path}/t.csv'")
    con.execute(f"CREATE VIEW behind AS FROM '{tmp_path}/t.csv'")
    for query in (f"FROM '{tmp_path}/t.csv'", "FROM behind"):
        assert read(con, query)._name != read(con, query)._name


def test_random_order_of_rows_does_not_matter(con):
    con.execute("CREATE TABLE mixed AS SELECT id, s FROM t ORDER BY hash(id)")
    frame = read(con, "FROM mixed", npartitions=3)
    assert np.array_equal(frame.compute().id, np.arange(200))


# Relations


@pytest.mark.parametrize("kind", ["frame", "table", "variable", "result"])
def test_relations_over_objects_of_this_process_are_refused(con, kind):
    local = pd.DataFrame({"id": [1, 2]})
    relation = {
        "frame": con.from_df(local),
        "table": con.from_arrow(pa.table({"id": [1, 2]})),
        "variable": con.sql("FROM local"),
        "result": con.sql("FROM t").materialize(),
    }[kind]
    with pytest.raises(QueryError, match=r'in this process(?s:.*)use plan="spill"'):
        read_sql(relation, plan="ranges", partition_on="id")


def test_relations_with_bound_parameters_are_refused(con):
    relation = con.sql("SELECT id FROM t WHERE id > $low", params={"low": 3})
    with pytest.raises(QueryError, match=r"(?s)bound parameters.*text with params="):
        read_sql(relation, plan="ranges", partition_on="id")


@pytest.mark.parametrize("kind", ["BOOLEAN", "INTEGER"])
def test_nulls_that_are_new_are_told(con, kind):
    con.execute(f"CREATE TABLE n AS SELECT id, (id % 2)::{kind} AS v FROM t")
    frame = read(con, "FROM n", npartitions=2)
    con.execute("UPDATE n SET v = NULL WHERE id = 3")
    with pytest.raises(SourceError, match=r"new nulls: none\. Got \['v'\] in"):
        frame.compute()
