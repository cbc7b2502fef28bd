"""dask frames as tables of a query, ``read_sql(frames=...)``."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal

import dask
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfml import read_sql
from dfml.exceptions import InputTypeError, QueryError
from dfml.sources import _dask_tables
from dfml.sources._dask_tables import DaskDataset

SETTING = "SELECT current_setting('python_enable_replacements')"


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(autouse=True)
def spills(tmp_path):
    with dask.config.set({"dfml.spill-directory": str(tmp_path / "spills")}):
        yield


@pytest.fixture
def pdf():
    n = 100
    return pd.DataFrame(
        {
            "a": np.arange(n),
            "x": np.where(np.arange(n) % 7 == 3, np.nan, np.arange(n) / 4),
            "s": pd.Series([f"s{i % 5}" for i in range(n)], dtype="str"),
            "b": pd.array([None, True, False, True] * 25, dtype="boolean"),
            "i": pd.array([None, 1, 2, 3] * 25, dtype="Int16"),
            "t": pd.date_range("2020-01-01", periods=n, freq="h", tz="Europe/Berlin"),
            "c": pd.Categorical(
                ["low", "high"] * 50, categories=["high", "low", "mid"]
            ),
        }
    )


@pytest.fixture
def ddf(pdf):
    return dd.from_pandas(pdf, npartitions=4)


def counting(pdf, npartitions):
    """A frame that counts how often its partitions are computed."""
    computed = []

    def part(number, columns=None):
        computed.append((number, columns))
        rows = pdf.iloc[number::npartitions]
        return rows if columns is None else rows[columns]

    return dd.from_map(part, range(npartitions), meta=pdf.iloc[:0]), computed


def test_values(con, ddf, pdf):
    con.execute("SET TimeZone = 'Europe/Berlin'")
    frame = read_sql("FROM d ORDER BY a", con, frames={"d": ddf}).compute()
    expected = pdf.astype({"c": "str", "t": "datetime64[us, Europe/Berlin]"})
    pd.testing.assert_frame_equal(frame, expected, check_index_type=False)


def test_without_a_connection(ddf):
    query = "SELECT s, count(*) AS n FROM d GROUP BY s ORDER BY s"
    assert read_sql(query, frames={"d": ddf}).compute().n.tolist() == [20] * 5
    with pytest.raises(QueryError, match="d does not exist"):
        read_sql(query)


def test_a_self_join_computes_the_frame_again(con, pdf):
    ddf, computed = counting(pdf[["a", "x"]], 3)
    query = "SELECT l.a FROM d l JOIN d r ON l.a = r.a + 1 ORDER BY 1"
    frame = read_sql(query, con, frames={"d": ddf})
    assert frame.compute().a.tolist() == list(range(1, 100))
    assert sorted(number for number, _ in computed) == [0, 0, 1, 1, 2, 2]


def test_only_needed_columns_are_computed(con, pdf):
    ddf, computed = counting(pdf, 2)
    query = "SELECT sum(a) AS s FROM d WHERE x > 3 AND s <> 's1'"
    frame = read_sql(query, con, frames={"d": ddf})
    rows = pdf[(pdf.x > 3) & (pdf.s != "s1")]
    assert frame.compute().s.tolist() == [rows.a.sum()]
    assert all(set(columns) <= {"a", "x", "s"} for _, columns in computed)


predicates = st.lists(
    st.sampled_from(
        ["a > 30", "x <= 10", "x IS NULL", "s = 's2'", "b", "i IN (1, 3)",
         "t < TIMESTAMPTZ '2020-01-03 00:00+01'", "c = 'low'", "a + i > 50"]
    ),
    max_size=3,
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(predicates=predicates, npartitions=st.integers(1, 5), data=st.data())
def test_a_frame_is_the_table(predicates, npartitions, data):
    """The same rows as from the whole table, which DuckDB knows itself."""
    n = 60
    pdf = pd.DataFrame(
        {
            "a": np.arange(n),
            "x": np.where(np.arange(n) % 7 == 3, np.nan, np.arange(n) / 4),
            "s": pd.Series([f"s{i % 5}" for i in range(n)], dtype="str"),
            "b": pd.array([None, True, False, True] * 15, dtype="boolean"),
            "i": pd.array([None, 1, 2, 3] * 15, dtype="Int16"),
            "t": pd.date_range("2020-01-01", periods=n, freq="h", tz="Europe/Berlin"),
            "c": pd.Categorical(["low", "high"] * 30),
        }
    )
    columns = data.draw(st.lists(st.sampled_from(list(pdf)), min_size=1, unique=True))
    where = " AND ".join(["true", *predicates])
    query = f"SELECT {', '.join(columns)} FROM d WHERE {where} ORDER BY a"
    ddf = dd.from_pandas(pdf, npartitions=npartitions)
    with duckdb.connect() as con:
        found = read_sql(query, con, frames={"d": ddf}).compute()
        con.register("d", pdf.astype({"c": "str"}))
        expected = read_sql(query, con).compute()
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_schedulers(con, ddf, scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        frame = read_sql("SELECT sum(a) AS s FROM d", con, frames={"d": ddf})
    assert frame.compute().s.tolist() == [4950]


def test_a_shuffled_frame_is_shuffled_once_for_each_scan(con, pdf):
    ddf, computed = counting(pdf[["a", "x"]], 4)
    with dask.config.set({"dataframe.shuffle.method": "tasks"}):
        shuffled = ddf.shuffle("a")
        frame = read_sql("SELECT a FROM d ORDER BY a", con, frames={"d": shuffled})
    assert frame.compute().a.tolist() == list(range(100))
    assert len(computed) == 4


def test_memory_is_bounded(con):
    """At most a few partitions live at a time, those loaded ahead included."""
    alive = [0]
    most = [0]

    class Part(pd.DataFrame):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    import weakref

    def part(number):
        rows = Part({"a": np.full(1000, number)})
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        weakref.finalize(rows, lambda: alive.__setitem__(0, alive[0] - 1))
        return rows

    ddf = dd.from_map(part, range(40), meta=pd.DataFrame({"a": np.array([], int)}))
    frame = read_sql("SELECT count(*) AS n FROM d", con, frames={"d": ddf})
    assert frame.compute().n.tolist() == [40_000]
    assert most[0] < 12


# Parquet


@pytest.fixture
def lake(tmp_path, pdf):
    (tmp_path / "lake").mkdir()
    for number in range(3):
        rows = pdf.iloc[number * 30 : number * 30 + 30]
        rows.to_parquet(tmp_path / "lake" / f"{number}.parquet")
    return tmp_path / "lake"


def test_a_plain_read_of_parquet_is_scanned_by_duckdb(con, lake, monkeypatch):
    def refuse(*args):
        raise AssertionError("computed by dask")

    monkeypatch.setattr(_dask_tables.DaskDataset, "__init__", refuse)
    ddf = dd.read_parquet(lake)
    for frame in (ddf, ddf[["a", "s"]], dd.read_parquet(lake, columns=["s", "a"])):
        query = "SELECT max(a) AS a, count(DISTINCT s) AS n FROM d"
        rows = read_sql(query, con, frames={"d": frame}).compute()
        assert rows.to_dict("list") == {"a": [89], "n": [5]}
    with pytest.raises(QueryError, match='"x" not found'):
        read_sql("SELECT x FROM d", con, frames={"d": ddf[["a"]]})


@pytest.mark.parametrize(
    "more",
    [
        lambda ddf, path: ddf[ddf.a > 10],
        lambda ddf, path: ddf.partitions[1:],
        lambda ddf, path: ddf.assign(a=ddf.a + 1),
        lambda ddf, path: ddf.rename(columns={"a": "A"}),
        lambda ddf, path: dd.read_parquet(path, filters=[("a", ">", 10)]),
        lambda ddf, path: dd.concat([ddf, ddf]),
        lambda ddf, path: dd.read_parquet(path, split_row_groups=True),
    ],
)
def test_what_does_more_than_read_is_what_dask_makes_of_it(con, lake, more):
    frame = more(dd.read_parquet(lake), lake)
    column = frame.columns[0]
    query = f'SELECT count(*) AS n, sum("{column}") AS s FROM d'
    rows = read_sql(query, con, frames={"d": frame}).compute()
    expected = frame[column].compute()
    assert rows.to_dict("list") == {"n": [len(expected)], "s": [expected.sum()]}


def test_keys_in_folder_names_are_columns(con, tmp_path, pdf):
    pdf[["a", "s"]].to_parquet(tmp_path / "keyed", partition_cols=["s"])
    ddf = dd.read_parquet(tmp_path / "keyed")
    query = "SELECT s, count(*) AS n FROM d GROUP BY s ORDER BY s"
    rows = read_sql(query, con, frames={"d": ddf}).compute()
    assert rows.to_dict("list") == {"s": [f"s{i}" for i in range(5)], "n": [20] * 5}


def test_an_index_that_is_a_column_of_the_file_is_left_out(con, tmp_path, pdf):
    pdf[["a", "x"]].set_index("a").to_parquet(tmp_path / "indexed.parquet")
    ddf = dd.read_parquet(tmp_path / "indexed.parquet")
    assert list(read_sql("FROM d", con, frames={"d": ddf}).columns) == ["x"]


def test_files_of_different_types_are_not_cast_to_the_first(con, tmp_path):
    for number, values in enumerate([[1.0, 2.0], [1, 2], [1.5, None]]):
        rows = pd.DataFrame({"a": values, "b": ["s", "t"]})
        rows.to_parquet(tmp_path / f"{number}.parquet")
    ddf = dd.read_parquet(tmp_path)
    rows = read_sql("SELECT a FROM d", con, frames={"d": ddf}).compute()
    np.testing.assert_array_equal(rows.a, [1, 2, 1, 2, 1.5, np.nan])
    (tmp_path / "0.parquet").unlink()  # whole numbers come first now
    ddf = dd.read_parquet(tmp_path)
    with pytest.raises(QueryError, match=r"(?s)frames=\{'d'.*truncated"):
        read_sql("SELECT a FROM d", con, frames={"d": ddf})
    # Of the columns that are asked for the types are the same.
    rows = read_sql("SELECT b FROM d", con, frames={"d": ddf[["b"]]}).compute()
    assert rows.b.tolist() == ["s", "t"] * 2


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # in dask, of pandas 3.1
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_nan_is_null_in_files_and_in_frames(con, tmp_path, kind):
    """Spark and Arrow write NaN and null as two things; to pandas they are one."""
    values = pa.array([1.0, None, float("nan"), 4.0], kind)
    table = pa.table({"x": values, "a": [0, 1, 2, 3]})
    pq.write_table(table, tmp_path / "p.parquet")
    ddf = dd.read_parquet(tmp_path / "p.parquet", index=False)
    query = """
        SELECT count(x) AS n, sum(x) AS s, count(*) FILTER (x > 2) AS above,
            count(*) FILTER (x IS NULL) AS missing FROM d
    """
    nullable = ddf.assign(x=ddf.x.astype(pd.ArrowDtype(kind)))
    for frame in (ddf, ddf.assign(z=1), nullable):
        rows = read_sql(query, con, frames={"d": frame}).compute()
        assert rows.iloc[0].tolist() == [2, 5, 1, 2]


def test_arrow_dtypes_with_nan(con):
    column = pd.array(pa.array([1.0, None, np.nan]), dtype=pd.ArrowDtype(pa.float64()))
    ddf = dd.from_pandas(pd.DataFrame({"x": column}), npartitions=1)
    rows = read_sql("SELECT count(x) AS n FROM d", con, frames={"d": ddf}).compute()
    assert rows.n.tolist() == [1]


# Names


def test_the_connection_is_as_it_was(con, ddf):
    con.execute("CREATE TABLE d AS SELECT 1 AS mine")
    con.execute("CREATE TEMP VIEW e AS SELECT 2 AS mine")
    con.register("f", pd.DataFrame({"mine": [3]}))
    read_sql("SELECT count(a) AS n FROM d", con, frames={"d": ddf})
    for query in ("SELECT nosuch FROM d", "SELECT error('boom') FROM d"):
        with pytest.raises(QueryError):
            read_sql(query, con, frames={"d": ddf})
    assert con.sql("SELECT d.mine, e.mine, f.mine FROM d, e, f").fetchall() == [
        (1, 2, 3)
    ]
    assert con.execute(SETTING).fetchall() == [(True,)]
    assert con.sql("SHOW TABLES").fetchall() == [("d",), ("e",), ("f",)]


def test_registered_frames_and_temporary_tables_are_not_replaced(con, ddf):
    con.execute("CREATE TEMP VIEW e AS SELECT 2 AS mine")
    con.execute("CREATE TEMP TABLE t AS SELECT 3 AS mine")
    con.register("r", pd.DataFrame({"mine": [4]}))
    for name in "ETR":
        with pytest.raises(QueryError, match=f"Got '{name}'"):
            read_sql(f"FROM {name}", con, frames={"d": ddf, name: ddf})
    assert con.sql("SELECT e.mine, t.mine, r.mine FROM e, t, r").fetchall() == [
        (2, 3, 4)
    ]
    assert con.sql("SHOW TABLES").fetchall() == [("e",), ("r",), ("t",)]


def test_in_an_open_transaction(con, ddf):
    con.begin()
    con.execute("CREATE TABLE t AS SELECT 5 AS a")
    query = "SELECT count(*) AS n FROM d JOIN t USING (a)"
    assert read_sql(query, con, frames={"d": ddf}).compute().n.tolist() == [1]
    with pytest.raises(QueryError, match="boom"):
        read_sql("SELECT error('boom') AS e FROM d", con, frames={"d": ddf})
    con.rollback()
    assert con.sql("SHOW TABLES").fetchall() == []
    assert con.execute(SETTING).fetchall() == [(True,)]


def test_variables_are_not_tables(con, ddf):
    local = ddf
    with pytest.raises(QueryError, match="local does not exist"):
        read_sql("FROM d JOIN local USING (a)", con, frames={"d": local})


@pytest.mark.parametrize(
    ("query", "frames", "message"),
    [
        ("FROM d", [1], "dict of dask DataFrames"),
        ("FROM d", {"d": pd.DataFrame({"a": [1]})}, "'d': DataFrame.*(?s:.*)register"),
        ("FROM d", {"": dd.from_dict({"a": [1]}, 1)}, "a name for each"),
        ("FROM d", {1: dd.from_dict({"a": [1]}, 1)}, "a name for each"),
        ("FROM d", {"d": dd.from_dict({"a": [1]}, 1).a}, "'d': Series"),
        (None, {"d": dd.from_dict({"a": [1]}, 1)}, "frames with SQL text"),
    ],
)
def test_what_is_no_table(con, query, frames, message):
    relation = con.sql("SELECT 1 AS a")
    with pytest.raises(InputTypeError, match=message):
        read_sql(query or relation, con if query else None, frames=frames)


def test_names_that_are_the_same_to_sql(con, ddf):
    with pytest.raises(InputTypeError, match=r"\['d', 'D'\]"):
        read_sql("FROM d", con, frames={"d": ddf, "D": ddf})


# Failures


def test_a_failing_partition_is_told(con, pdf):
    def part(number):
        if number == 2:
            raise ZeroDivisionError("boom in dask")
        return pdf

    ddf = dd.from_map(part, range(4), meta=pdf.iloc[:0])
    with pytest.raises(QueryError, match=r"frames=\{'d': \.\.\.\}.*boom in dask") as e:
        read_sql("SELECT a FROM d", con, frames={"d": ddf})
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    assert any("partition 2 of 4" in note for note in e.value.__notes__)
    assert con.sql("SELECT 1").fetchall() == [(1,)]


def test_a_partition_of_another_type_is_told(con):
    parts = [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1.0, 2.5]})]
    ddf = dd.from_map(lambda part: part, parts, meta=parts[0])
    with pytest.raises(QueryError, match=r"(?s)frames=\{'d'.*truncated"):
        read_sql("FROM d", con, frames={"d": ddf})


@pytest.mark.parametrize("column", [1, ("a", "b")])
def test_columns_without_a_name_are_refused(con, column):
    ddf = dd.from_pandas(pd.DataFrame({column: [1]}), npartitions=1)
    with pytest.raises(InputTypeError, match="no text"):
        read_sql("FROM d", con, frames={"d": ddf})


@pytest.mark.parametrize("columns", [["a", "A"], ["b", ""], ["a", "a"]])
def test_columns_that_duckdb_would_rename_are_refused(con, tmp_path, columns):
    pdf = pd.DataFrame([[1, 2]], columns=columns)
    frames = [dd.from_pandas(pdf, npartitions=1)]
    if columns == ["a", "A"]:
        pdf.to_parquet(tmp_path / "p.parquet")
        frames.append(dd.read_parquet(tmp_path / "p.parquet"))
    named = [""] if "" in columns else columns
    for frame in frames:
        with pytest.raises(InputTypeError, match="'d'") as caught:
            read_sql("FROM d", con, frames={"d": frame})
        assert f"Got {named}" in str(caught.value)


@pytest.mark.parametrize("values", [[1, None, 2], [1.5, None, 2.5], ["a", None, "b"]])
def test_categories_with_a_missing_value(con, values):
    categories = pd.Categorical(values)
    ddf = dd.from_pandas(pd.DataFrame({"c": categories}), npartitions=2)
    query = "SELECT count(c) AS n, max(c) AS m, count(*) AS all FROM d"
    rows = read_sql(query, con, frames={"d": ddf}).compute()
    assert rows.iloc[0].tolist() == [2, values[2], 3]


@pytest.mark.parametrize("value", [Decimal("1.5"), date(2020, 1, 1), True, [1], 7])
def test_objects_that_are_no_text_are_told(con, value):
    pdf = pd.DataFrame({"a": [1], "o": pd.Series([value], dtype=object)})
    with dask.config.set({"dataframe.convert-string": False}):
        ddf = dd.from_pandas(pdf, npartitions=1)
    with pytest.raises(QueryError, match=r"'d'.*column 'o'") as caught:
        read_sql("FROM d", con, frames={"d": ddf})
    assert "Hint: give the column a dtype" in str(caught.value)
    assert "astype({'o': ...})" in str(caught.value)
    assert any("partition 0" in note for note in caught.value.__notes__)
    assert len(read_sql("SELECT a FROM d", con, frames={"d": ddf})) == 1


def test_objects_are_text(con):
    pdf = pd.DataFrame({"o": pd.Series(["a", None], dtype=object)})
    with dask.config.set({"dataframe.convert-string": False}):
        ddf = dd.from_pandas(pdf, npartitions=1)
        assert ddf.dtypes["o"].kind == "O"
        rows = read_sql("FROM d", con, frames={"d": ddf}).compute()
        assert rows.o.tolist()[0] == "a"
        odd = dd.from_pandas(pd.DataFrame({"o": [[1], "a"]}), npartitions=1)
        with pytest.raises(QueryError, match="frames="):
            read_sql("FROM d", con, frames={"d": odd})


def test_unknown_categories(con, pdf):
    ddf = dd.from_pandas(pdf[["s"]], npartitions=3).astype("category")
    assert not ddf.s.cat.known
    query = "SELECT count(DISTINCT s) AS n FROM d"
    assert read_sql(query, con, frames={"d": ddf}).compute().n.tolist() == [5]


def test_the_condition_finds_its_columns(ddf):
    import pyarrow.compute as pc

    dataset = DaskDataset("d", ddf)
    condition = (pc.field("x") > 3) & (pc.field("s") == "s2")
    table = dataset.scanner(columns=["a"], filter=condition).to_reader().read_all()
    rows = ddf[(ddf.x > 3) & (ddf.s == "s2")].compute()
    assert table.to_pydict() == {"a": rows.a.tolist()}


# Types that Arrow has and NumPy has not

ARROW_VALUES = [
    (pa.decimal128(6, 2), [Decimal("9.50"), Decimal("10.25")], "DECIMAL(6,2)"),
    (pa.decimal256(6, 2), [Decimal("9.50"), Decimal("10.25")], "DECIMAL(6,2)"),
    (pa.time64("us"), [time(9), time(10)], "TIME"),
    (pa.binary(), [b"9", b"\xff"], "BLOB"),
    (pa.string(), ["10", "9"], "VARCHAR"),
    (pa.dictionary(pa.int8(), pa.int64()), [9, 10], "BIGINT"),
    (pa.float16(), [np.float16(9), np.float16(10)], "FLOAT"),
]


@pytest.mark.parametrize(("kind", "values", "sql_type"), ARROW_VALUES)
def test_arrow_dtypes_keep_their_types(con, kind, values, sql_type):
    """The larger value comes second; as text it would not always be the larger."""
    column = pd.array(pa.array([*values, None], kind), dtype=pd.ArrowDtype(kind))
    ddf = dd.from_pandas(pd.DataFrame({"v": column}), npartitions=2)
    query = "SELECT typeof(max(v)) AS t, max(v) = $v AS same, count(v) AS n FROM d"
    params = {"v": float(values[1]) if kind == pa.float16() else values[1]}
    rows = read_sql(query, con, params=params, frames={"d": ddf}).compute()
    assert rows.to_dict("list") == {"t": [sql_type], "same": [True], "n": [2]}


def test_decimals_with_more_digits_than_duckdb_has_are_refused(con):
    kind = pa.decimal256(50, 2)
    column = pd.array([Decimal("9.50")], dtype=pd.ArrowDtype(kind))
    ddf = dd.from_pandas(pd.DataFrame({"v": column}), npartitions=1)
    with pytest.raises(InputTypeError, match=r"'v' .*up to 38 digits"):
        read_sql("FROM d", con, frames={"d": ddf})


def test_decimals_of_files_are_the_same_in_a_computed_frame(con, tmp_path):
    pdf = pd.DataFrame({"price": [Decimal("9.50"), Decimal("10.25")]})
    pdf.to_parquet(tmp_path / "p.parquet")
    ddf = dd.read_parquet(tmp_path)
    for frame in (ddf, ddf.assign(x=1)):
        rows = read_sql("SELECT max(price) AS m FROM d", con, frames={"d": frame})
        assert rows.compute().m.tolist() == [10.25]


def test_columns_that_duckdb_tells_apart_stay_what_they_are():
    rows = pd.DataFrame({"maß": [1], "mass": [2]})
    frame = dd.from_pandas(rows, npartitions=1)

    found = read_sql("FROM f", frames={"f": frame}).compute()

    assert found.to_dict("list") == {"maß": [1], "mass": [2]}
