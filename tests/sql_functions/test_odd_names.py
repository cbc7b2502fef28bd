"""Names that are SQL themselves: whatever they say, nothing of it is run."""

from __future__ import annotations

import string

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

import dfml

HOSTILE = [
    'x"; DROP TABLE canary; --',
    "x'; DROP TABLE canary; --",
    "x') AS DOUBLE)); DROP TABLE canary; --",
    'x" AS DOUBLE)); DROP TABLE canary; --',
    "$$; DROP TABLE canary; $$",
    "*/ DROP TABLE canary; /*",
    "e'\\'; DROP TABLE canary; --",
    "'||(SELECT error('run'))||'",
    "\"||(SELECT error('run'))||\"",
    "(SELECT error('run'))",
    "t.*, error('run') AS x",
    "x, error('run')",
    "{error('run')}",
    "select",
    "two words",
    " ",
    "  leading",
    "trailing ",
    "Größe",
    "größe2",
    "ΣΑΣ",
    "a.b",
    '"a"."b"',
    "main.t",
    "{}",
    "{0}",
    "%s",
    "%(x)s",
    "\\",
    "\\'",
    "$1",
    "$x",
    "?",
    ":x",
    "/*",
    "--",
    ";",
    "\n",
    "\t",
    "\r\n",
    "\x01",
    "\x7f",
    '"',
    '""',
    "'",
    "''",
    "dfml: the row",
    "dfml: the table",
    "dfml: 0",
    "a struct with the fields x",
    "the name of a table",
    "struct_pack",
    "prediction_",
    "f0",
    "_dfml_0",
    "1",
    "1e5",
    "0x10",
    "null",
    "TRUE",
    "DEFAULT",
    "rowid",
    "*",
    "COLUMNS(*)",
    "t",
    "temp",
    "main",
    "表",
    "🦆",
    "e\u0301",
    "\ufeffbom",
    "a\u00a0b",
    "\u202eright to left",
    "x" * 1000,
]
with duckdb.connect() as _connection:
    KEYWORDS = [
        word
        for (word,) in _connection.sql(
            "SELECT keyword_name FROM duckdb_keywords() "
            "WHERE keyword_category = 'reserved' ORDER BY 1"
        ).fetchall()
    ]
    TAKEN = {
        name.casefold()
        for (name,) in _connection.sql(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
        ).fetchall()
    }
NAMES = list(
    {
        name.casefold(): name
        for name in [
            *HOSTILE,
            *KEYWORDS,
            *string.punctuation,
            *[f"a{sign}b" for sign in string.punctuation],
        ]
    }.values()
)
BATCHES = [tuple(NAMES[i : i + 20]) for i in range(0, len(NAMES), 20)]


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def free(name):
    """Return a name that is no function of DuckDB yet."""
    is_taken = {name.casefold(), f"{name}_table".casefold()} & TAKEN
    return f"{name} " if is_taken else name


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE canary AS SELECT 'alive' AS state")
        connection.execute("CREATE TABLE plain AS SELECT 1 AS id, 2.0 AS x, 3.0 AS y")
        yield connection
        check_canary(connection)


def check_canary(connection):
    assert connection.sql("FROM canary").fetchall() == [("alive",)]
    statement = "SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY 1"
    tables = [name for (name,) in connection.sql(statement).fetchall()]
    assert {"canary", "plain"} <= set(tables)
    assert dfml.registered(connection) == []
    return tables


def linear(names):
    """Return a model that answers with the weighted sum of its columns."""
    rows = pd.DataFrame(np.eye(len(names)), columns=list(names))
    model = LinearRegression(fit_intercept=False)
    return model.fit(rows, np.arange(1.0, len(names) + 1))


def test_there_are_enough_of_them():
    assert len(NAMES) > 200


@pytest.mark.parametrize("names", BATCHES, ids=range(len(BATCHES)))
def test_functions(con, names):
    model = linear(["x", "y"])
    for name in map(free, names):
        dfml.register(con, name, model)

        assert [each.name for each in dfml.registered(con)] == [name]
        query = f"SELECT round({quoted(name)}(p)) FROM plain p"
        assert con.sql(query).fetchall() == [(8,)]
        from_table = f"SELECT round(prediction) FROM {quoted(name + '_table')}('plain')"
        assert con.sql(from_table).fetchall() == [(8,)]
        dfml.register(con, name, model, replace=True)
        dfml.unregister(con, name)
        assert check_canary(con) == ["canary", "plain"]


@pytest.mark.parametrize("names", BATCHES, ids=range(len(BATCHES)))
def test_columns(con, names):
    model = linear(names)
    values = np.arange(2.0, len(names) + 2)
    con.register("rows", pd.DataFrame([values], columns=list(names)).assign(extra=0))
    expected = [
        (round(float(model.predict(pd.DataFrame([values], columns=names))[0])),)
    ]
    con.execute("CREATE TABLE odd AS FROM rows")
    con.unregister("rows")

    dfml.register(con, "f", model)
    assert con.sql("SELECT round(f(o)) FROM odd o").fetchall() == expected
    missing = f"SELECT f({{{', '.join(f'{quoted(n)}: 1' for n in names[1:])}}})"
    with pytest.raises(duckdb.BinderException, match="Could not find key"):
        con.sql(missing)
    with pytest.raises(duckdb.BinderException, match="a struct with the fields"):
        con.sql("SELECT f(1, 2)")
    dfml.unregister(con, "f")
    answered = dfml.predict_sql(model, con.table("odd"), name="answer")
    assert answered.project("round(answer)").fetchall() == expected
    assert answered.filter(f"{quoted(names[0])} = 2").fetchall() != []
    sql = dfml.export_sql(model, "odd", name="answer", keep=[*names, "extra"])
    assert con.sql(sql).columns == [*names, "extra", "answer"]
    assert con.sql(sql).project("round(answer)").fetchall() == expected
    sql = dfml.export_sql(model, "odd", name="answer")
    assert con.sql(sql).project("round(answer)").fetchall() == expected


@pytest.mark.parametrize("names", BATCHES, ids=range(len(BATCHES)))
def test_tables_and_outputs(con, names):
    model = linear(["x", "y"])
    dfml.register(con, "f", model)
    for name in names:
        if name.casefold() in ("canary", "plain", "id", "x", "y"):
            continue
        con.execute(f"CREATE TABLE {quoted(name)} AS FROM plain")

        exported = con.sql(dfml.export_sql(model, ("main", name), name=name))
        from_table = con.sql(f"FROM f_table({literal(quoted(name))})")

        for each in (exported, from_table):
            (row,) = each.fetchall()
            assert (*row[:3], round(row[3])) == (1, 2.0, 3.0, 8)
        assert exported.columns == ["id", "x", "y", name]
        con.execute(f"DROP TABLE {quoted(name)}")
    dfml.unregister(con, "f")


def literal(text):
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize("names", BATCHES, ids=range(len(BATCHES)))
def test_labels_and_categories(con, names):
    rows = pd.DataFrame({"category": pd.Series(names, dtype="str"), "x": 1.0})
    labels = np.array(names[::-1], dtype=object)
    encoder = make_column_transformer((OneHotEncoder(), ["category"]))
    con.register("registered", rows.assign(id=range(len(rows))))
    con.execute("CREATE TABLE odd AS FROM registered")
    con.unregister("registered")
    for last in (DecisionTreeClassifier(), LogisticRegression(C=1e6)):
        model = make_pipeline(encoder, last).fit(rows, labels)
        expected = [(label,) for label in labels]
        answered = dfml.predict_sql(model, con.table("odd"), name="p")
        assert answered.order("id").project("p").fetchall() == expected
        exported = con.sql(dfml.export_sql(model, "odd", name="p"))
        assert exported.order("id").project("p").fetchall() == expected
        dfml.register(con, "f", model)
        got = con.sql("SELECT f(o) FROM odd o ORDER BY id").fetchall()
        assert got == expected
        dfml.unregister(con, "f")

        how = {"method": "predict_proba"}
        columns = [f"probability_{label}" for label in model.classes_]
        exported = con.sql(dfml.export_sql(model, "odd", keep=["id"], **how))
        assert exported.columns == ["id", *columns]
        dfml.register(con, "f", model, **how)
        structs = con.sql("SELECT f(o) FROM odd o ORDER BY id").fetchall()
        assert [list(each) for (each,) in structs] == [columns] * len(rows)
        dfml.unregister(con, "f")


@pytest.mark.parametrize("keep", [None, ["dfml: 0", "id"]])
def test_columns_named_as_those_of_the_sql(con, keep):
    con.execute(
        'CREATE TABLE odd AS SELECT 7 AS id, 100.0 AS "dfml: 0", 100.0 AS "dfml: 3", '
        "2.0 AS x, 3.0 AS y"
    )

    sql = dfml.export_sql(linear(["x", "y"]), "odd", keep=keep)

    assert con.sql(sql).project("id, round(prediction)").fetchall() == [(7, 8)]
    assert con.sql(sql).columns.count("dfml: 0") == (keep is not None)
    assert 100.0 in con.sql(sql).fetchall()[0]


def test_the_number_of_a_row_is_no_feature(con):
    con.execute("CREATE TABLE odd AS SELECT 2.0 AS x")

    with pytest.raises(duckdb.BinderException, match="rowid"):
        con.sql(dfml.export_sql(linear(["x", "rowid"]), "odd"))


def test_a_column_of_rows_is_not_the_row(con):
    con.execute(
        "CREATE TABLE odd AS SELECT {'x': 100.0, 'y': 100.0} AS \"dfml: the table\", "
        "2.0 AS x, 3.0 AS y"
    )

    dfml.register(con, "f", linear(["x", "y"]))
    answered = con.sql("FROM f_table('odd')")
    assert answered.project("round(prediction)").fetchall() == [(8,)]
    dfml.unregister(con, "f")


ANY_NAME = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    min_size=1,
    max_size=8,
).filter(lambda name: name.casefold() not in ("canary", "plain"))


@settings(max_examples=25, deadline=None)
@given(
    name=ANY_NAME,
    columns=st.lists(
        st.one_of(st.sampled_from(HOSTILE), ANY_NAME),
        min_size=2,
        max_size=3,
        unique_by=str.casefold,
    ),
)
def test_any_names(name, columns):
    model = linear(columns)
    row = pd.DataFrame([[1.0] * len(columns)], columns=columns)
    expected = [(sum(range(1, len(columns) + 1)),)]
    with duckdb.connect() as con:
        con.execute("CREATE TABLE canary AS SELECT 'alive' AS state")
        con.execute("CREATE TABLE plain AS SELECT 1")
        con.register("rows", row)
        function = free(name)

        dfml.register(con, function, model)
        query = f'SELECT round({quoted(function)}("the row")) FROM rows AS "the row"'
        assert con.sql(query).fetchall() == expected
        dfml.unregister(con, function)
        answered = dfml.predict_sql(model, con.table("rows"), name="the answer")
        assert answered.project('round("the answer")').fetchall() == expected
        exported = con.sql(dfml.export_sql(model, "rows", name="the answer"))
        assert exported.project('round("the answer")').fetchall() == expected
        assert check_canary(con) == ["canary", "plain"]
