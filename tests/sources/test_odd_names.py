"""Odd and hostile names: nothing runs that was not asked for."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import duckdb
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dfml import read_sql
from dfml.exceptions import InputTypeError, QueryError

HOSTILE = [
    '"; DROP TABLE canary; --',
    "'; DROP TABLE canary; --",
    '") AS x; INSERT INTO canary VALUES (2); SELECT ("',
    "canary'); DELETE FROM canary; --",
    "\"); COPY canary TO 'stolen.csv'; --",
    "a AS SELECT 1; DROP TABLE canary; --",
    "/* canary */ DROP TABLE canary",
    "$1",
    "?",
    "a.b",
    'a"."b',
    "select",
    "table",
    "order by",
    "*",
    "%s",
    "{0}",
    "\\",
    "\n",
    " ",
    "ä 日本 \u202e",
    "dfml: row",
    "__duckdb_source_1",
    "unnamed_relation_0123456789abcdef",
    "Columns",
    "rowid",
]
names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        min_size=1,
        max_size=12,
    ),
)


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "base.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE canary AS SELECT 1 AS a")
        yield connection


@pytest.fixture(autouse=True)
def spills(tmp_path):
    with dask.config.set({"dfml.spill-directory": str(tmp_path)}):
        yield


def state(con):
    """All that a statement could have changed."""
    return [
        con.sql(query).fetchall()
        for query in (
            "FROM canary",
            "SELECT database_name, schema_name, table_name FROM duckdb_tables()",
            "SELECT view_name FROM duckdb_views() WHERE NOT internal",
            "SELECT name, value FROM duckdb_settings() ORDER BY name",
        )
    ]


# Each example has six names: of a table, two columns, a macro, a view and a frame.
@settings(deadline=None, max_examples=60)
@given(
    table=names,
    columns=st.tuples(names, names).filter(
        lambda pair: (
            pair[0].casefold() != pair[1].casefold()
            and pair[0].lower() != pair[1].lower()
        )
    ),
    frame=names,
    value=names,
)
@example(HOSTILE[0], ("a", "b"), HOSTILE[1], "x")
def test_names(con, table, columns, frame, value):
    key, other = map(quoted, columns)
    macro = quoted(f"m {table}")
    # The catalog's own tables are named like this.
    table = f"t {table}"
    con.execute(
        f"CREATE TABLE {quoted(table)} AS "
        f"SELECT i AS {key}, i::VARCHAR || ? AS {other} FROM range(6) r(i)",
        [value],
    )
    con.execute(f"CREATE MACRO {macro}(x) AS x")
    con.execute(f"CREATE VIEW {quoted('v' + table)} AS FROM {quoted(table)}")
    before = state(con)
    try:
        query = f"SELECT {key}, {macro}({other}) AS {other} FROM {quoted('v' + table)}"
        spilled = read_sql(query, con).compute()
        assert spilled.columns.tolist() == list(columns)
        assert spilled[columns[1]].tolist() == [f"{i}{value}" for i in range(6)]
        for on in columns:
            ranges = read_sql(
                query, con, plan="ranges", partition_on=on, npartitions=2
            ).compute()
            pd.testing.assert_frame_equal(ranges.reset_index(drop=True), spilled)
        frames = {f"f {frame}": dd.from_pandas(spilled, npartitions=2)}
        joined = read_sql(
            f"SELECT l.{other} FROM {quoted(f'f {frame}')} l JOIN {quoted(table)} r "
            f"USING ({key}) WHERE l.{other} >= ? ORDER BY l.{key}",
            con,
            params=[""],
            frames=frames,
        ).compute()
        assert joined[columns[1]].tolist() == spilled[columns[1]].tolist()
        assert state(con) == before
    finally:
        con.execute(f"DROP VIEW {quoted('v' + table)}")
        con.execute(f"DROP MACRO {macro}")
        con.execute(f"DROP TABLE {quoted(table)}")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_is_no_name(con, text, tmp_path):
    """What is passed in the place of a name is never run."""
    before = state(con)
    frames = {"d": dd.from_dict({"a": [1]}, npartitions=1)}
    for arguments in [
        {"plan": "ranges", "partition_on": text},
        {"plan": "files"},
    ]:
        with pytest.raises(QueryError):
            read_sql("FROM canary", con, **arguments)
    with pytest.raises((QueryError, InputTypeError)):
        read_sql(text, con)
    read_sql("SELECT ? AS a FROM d", con, params=[text], frames=frames)
    path = tmp_path / text.replace("/", "-")
    read_sql("FROM canary", con, spill_to=path)
    assert len(read_sql("FROM canary", con, spill_to=path)) == 1
    assert state(con) == before
