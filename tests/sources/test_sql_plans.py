"""What all plans of read_sql have in common."""

from __future__ import annotations

import logging

import dask
import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dfml
from dfml import read_sql
from dfml.exceptions import InputTypeError, QueryError, SourceError

COLUMNS = {
    "id": "(i * 7919) % 131",
    "k": "CASE WHEN i % 11 <> 3 THEN (i * i) % 17 - 5 END",
    "x": "CASE i % 9 WHEN 0 THEN NULL WHEN 1 THEN 'nan' WHEN 2 THEN 'inf' "
    "WHEN 3 THEN '-inf' ELSE (i % 23) / 7 END::DOUBLE",
    "f": "((i % 5) / 3)::FLOAT",
    "s": "CASE WHEN i % 7 <> 2 THEN ['', 'a', 'A', 'ä', 'it''s', '\"', '日本', 'a\0b', "
    "'z; DROP TABLE t; --'][(i % 9 + 1)::INT] END",
    "b": "CASE WHEN i % 5 <> 1 THEN i % 2 = 0 END",
    "d": "CASE WHEN i % 13 <> 4 THEN (i / 3)::DECIMAL(12, 3) END",
    "big": "(i * 10)::HUGEINT - 400",
    "u": "(i % 250)::UTINYINT",
    "day": "DATE '1969-12-01' + (i % 60)::INT",
    "moment": "CASE WHEN i % 19 <> 4 THEN TIMESTAMP '1999-12-31 23:59:59.123456' "
    "+ INTERVAL 1 HOUR * (i % 40)::INT END",
    "zone": "TIMESTAMPTZ '2020-03-29 00:30:00+00' + INTERVAL 10 MINUTE * i::INT",
    "ns": "make_timestamp_ns(1_000_000_007::BIGINT * (i % 30))",
    "e": "CASE WHEN i % 6 <> 5 THEN ['low', 'high'][(i % 2 + 1)::INT] END::level",
    "j": """('{"a": ' || (i % 9) || '}')::JSON""",
    "uuid": "md5(i::VARCHAR)::UUID",
    "none": "NULL::INTEGER",
    "nothing": "NULL",
}
KEYS = [name for name in COLUMNS if name not in ("b", "e", "nothing")]
WHERE = [
    "true",
    "k > 0",
    "s IS NOT NULL",
    "id % 2 = 0",
    "x < 2 OR x IS NULL",
    "none IS NOT NULL",
    "day < DATE '1970-01-01'",
    "b",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def con(folder):
    """A connection that may write to its file, as in a notebook."""
    with duckdb.connect(folder / "base.duckdb") as connection:
        connection.execute("SET TimeZone = 'Europe/Berlin'")
        connection.execute("CREATE TYPE level AS ENUM ('low', 'mid', 'high')")
        items = ", ".join(f"{sql} AS {name}" for name, sql in COLUMNS.items())
        connection.execute(f"CREATE TABLE t AS SELECT {items} FROM range(131) t(i)")
        connection.execute("CREATE VIEW v AS SELECT * FROM t")
        yield connection


@pytest.fixture(scope="module")
def lake(folder, con):
    """The same table as three Parquet files of small row groups."""
    table = con.sql("SELECT * REPLACE (big::BIGINT AS big) FROM t").to_arrow_table()
    (folder / "lake").mkdir()
    for number, (start, stop) in enumerate([(0, 50), (50, 51), (51, 131)]):
        path = folder / "lake" / f"part-{number}.parquet"
        pq.write_table(table.slice(start, stop - start), path, row_group_size=16)
    return f"{folder}/lake/*.parquet"


@pytest.fixture(autouse=True)
def spills(tmp_path):
    with dask.config.set({"dfml.spill-directory": str(tmp_path)}):
        yield


def parts_of(frame):
    return list(dask.compute(*frame.to_delayed(optimize_graph=False)))


def rows_of(frame):
    """The rows as text, sorted, so that null and NaN are equal to themselves."""
    return sorted(map(repr, frame.itertuples(index=False, name=None)))


def assert_same_table(parts, frame, expected):
    """The partitions have the rows and dtypes that the query gives by plan "spill"."""
    together = pd.concat(parts)
    assert together.columns.equals(expected.columns)
    assert frame.dtypes.equals(expected.dtypes)
    for part in parts:
        assert part.dtypes.equals(frame.dtypes)
        assert part.index.dtype == frame.index.dtype
    assert rows_of(together) == rows_of(expected)


names = st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=4, unique=True)
sizes = st.one_of(
    st.builds(lambda n: {"npartitions": n}, st.integers(1, 4)),
    st.builds(lambda n: {"rows_per_partition": n}, st.sampled_from([40, 66, 200])),
)


@st.composite
def queries(draw):
    """A query over t, and a column of it."""
    key = draw(st.sampled_from(KEYS))
    others = [name for name in draw(names) if name != key]
    where = draw(st.sampled_from(WHERE))
    chosen = ", ".join(dict.fromkeys([*others[:1], key, *others[1:]]))
    shape = draw(st.integers(0, 3))
    if shape == 0:
        return f"SELECT {key}, count(*) AS n FROM v WHERE {where} GROUP BY {key}", key
    if shape == 1:
        first = f"SELECT {chosen} FROM t WHERE {where}"
        return f"{first} UNION ALL {first} -- all rows twice", key
    if shape == 2:
        chosen = ", ".join(f"t.{name}" for name in chosen.split(", "))
        joined = "t JOIN (SELECT id, k AS other FROM v) USING (id)"
        return f"SELECT {chosen}, other FROM {joined} WHERE {where} ORDER BY other", key
    return f"SELECT {chosen} FROM t WHERE {where};", key


@settings(deadline=None, max_examples=200)
@given(query=queries(), size=sizes, data=st.data())
def test_ranges_are_the_query(con, query, size, data):
    text, key = query
    frame = read_sql(text, con, plan="ranges", partition_on=key, **size)
    parts = parts_of(frame)
    expected = read_sql(text, con).compute()
    assert_same_table(parts, frame, expected)
    missing = [part[key].isna().to_numpy() for part in parts]
    assert not any(map(np.any, missing[:-1])), "nulls are in the last partition"
    if frame.known_divisions:
        for part, low, high in zip(
            parts, frame.divisions, frame.divisions[1:], strict=False
        ):
            assert part.index.is_monotonic_increasing
            assert (part.index >= low).all()
            assert (part.index < high).all() or part is parts[-1]
    else:
        assert expected[key].isna().any() or expected.empty
    number = data.draw(st.integers(0, frame.npartitions - 1))
    chosen = data.draw(st.lists(st.sampled_from(list(frame.columns)), unique=True))
    again = frame[chosen].get_partition(number).compute()
    pd.testing.assert_frame_equal(again, parts[number][chosen])


@settings(deadline=None, max_examples=200)
@given(chosen=names, where=st.sampled_from(WHERE), size=sizes, data=st.data())
def test_files_are_the_query(con, lake, chosen, where, size, data):
    text = f"SELECT {', '.join(chosen)}, id + 1 AS next FROM '{lake}' WHERE {where}"
    frame = read_sql(text, con, plan="files", **size)
    parts = parts_of(frame)
    expected = read_sql(text, con).compute()
    assert_same_table(parts, frame, expected)
    together = pd.concat(parts)
    assert together.index.is_monotonic_increasing
    assert together.index.is_unique
    pd.testing.assert_frame_equal(together.reset_index(drop=True), expected)
    for part, low, high in zip(
        parts, frame.divisions, frame.divisions[1:], strict=False
    ):
        assert (part.index >= low).all()
        assert (part.index < high).all() or part is parts[-1]
    number = data.draw(st.integers(0, frame.npartitions - 1))
    some = data.draw(st.lists(st.sampled_from(list(frame.columns)), unique=True))
    again = frame[some].get_partition(number).compute()
    pd.testing.assert_frame_equal(again, parts[number][some])


def test_rows_of_files_without_a_condition_are_numbered_as_in_a_spill(con, lake):
    text = f"SELECT * EXCLUDE (nothing) FROM '{lake}'"
    frame = read_sql(text, con, plan="files", npartitions=3)
    spilled = read_sql(text, con).compute()
    pd.testing.assert_frame_equal(frame.compute(), spilled, check_index_type=False)
    assert frame.loc[40:60].compute().equals(spilled.loc[40:60])
    assert frame.npartitions == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"plan": "spill"},
        {"plan": "ranges", "partition_on": "id"},
        {"plan": "ranges", "partition_on": "x"},
    ],
)
def test_types_are_the_same_in_every_plan(con, arguments):
    """All types of t, those with nulls and those without."""
    frame = read_sql("FROM t", con, npartitions=3, **arguments)
    expected = [
        "int64", "Int64", "float64", "float32", "str", "boolean", "float64", "float64",
        "uint8", "datetime64[us]", "datetime64[us]", "datetime64[us, Europe/Berlin]",
        "datetime64[ns]", "category", "str", "str", "Int32", "float64",
    ]  # fmt: skip
    for part in parts_of(frame):
        assert part.dtypes.astype(str).tolist() == expected
        assert part["e"].cat.categories.tolist() == ["low", "mid", "high"]
    assert frame.dtypes.astype(str).tolist() == expected


@pytest.mark.parametrize("value", ["[1]", "{'a': 1}", "MAP {1: 2}", "'a'::BLOB"])
@pytest.mark.parametrize("plan", ["spill", "ranges", "files"])
def test_nested_columns_are_refused_by_name(con, lake, value, plan):
    query = f"SELECT id, {value} AS odd FROM '{lake}'"
    arguments = {"partition_on": "id"} if plan == "ranges" else {}
    with pytest.raises(QueryError, match=r"Got odd \(.*\)\."):
        read_sql(query, con, plan=plan, **arguments)
    dropped = f"SELECT * EXCLUDE (odd) FROM ({query})" if plan != "files" else query
    if plan != "files":
        read_sql(dropped, con, plan=plan, **arguments)


def test_the_plan_is_logged(con, lake, caplog):
    with caplog.at_level(logging.INFO, logger="dfml"):
        read_sql("FROM t", con)
        read_sql("FROM t", con, plan="ranges", partition_on="id", npartitions=2)
        read_sql(f"SELECT id FROM '{lake}'", con, plan="files")
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[1] for message in messages] == [
        "plan=spill",
        "plan=ranges",
        "plan=files",
    ]
    assert "partitions=2" in messages[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"plan": "lazy"}, SourceError, "plan to be one of"),
        ({"plan": "ranges"}, SourceError, "partition_on with"),
        ({"partition_on": "id"}, SourceError, "partition_on with"),
        ({"plan": "files", "partition_on": "id"}, SourceError, "partition_on with"),
        ({"plan": "ranges", "partition_on": 3}, InputTypeError, "name of a column"),
        (
            {"plan": "ranges", "partition_on": "id", "spill_to": "x"},
            SourceError,
            "spill_to",
        ),
        ({"plan": "files", "frames": {"a": 1}}, SourceError, "frames"),
    ],
)
def test_arguments_that_do_not_go_together(con, arguments, error, message):
    with pytest.raises(error, match=message):
        read_sql("FROM t", con, **arguments)


def test_training_is_the_same_over_plans_with_the_same_partitions(con, lake):
    from sklearn.linear_model import SGDClassifier

    text = f"SELECT id, u, b IS NOT NULL AS label FROM '{lake}'"
    frames = [
        read_sql(text, con, plan="files", rows_per_partition=1),
        read_sql(text, con),
    ]
    lengths = [len(part) for part in parts_of(frames[0])]
    assert len(lengths) > 3
    coefficients = [
        dfml.Incremental(SGDClassifier(random_state=0))
        .fit(frame.repartition(divisions=frames[0].divisions), y="label")
        .coef_
        for frame in frames
    ]
    assert np.array_equal(*coefficients)


def test_values_that_repeat_come_in_the_same_order_each_time(con):
    """DuckDB's sort is not stable, so that ties come in another order each time."""
    query = "SELECT i % 3 AS k, hash(i)::VARCHAR AS h FROM range(200_000) t(i)"
    frame = read_sql(query, con, plan="ranges", partition_on="k", npartitions=3)
    first = frame.get_partition(1).compute()
    for _ in range(3):
        pd.testing.assert_frame_equal(frame.get_partition(1).compute(), first)
