"""Partitions in folders: what stands in a name comes back, or is an error by name."""

from __future__ import annotations

import datetime as dt
import os

import dask.dataframe as dd
import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dfml.exceptions import DfmlWarning, TargetError
from dfml.sinks import _partition_values, _writing
from dfml.sinks._files import FileSystem
from dfml.sinks._targets import open_target
from dfml.sources._open import open_table
from tests.sinks.places import write_job

ODD = [
    "../../x",
    "a/b",
    "%2F",
    "a=b",
    " x ",
    "é ü",
    "'",
    '"',
    "a\\b",
    "x:y",
    "a*b?[c]",
    "#&",
    "\n",
    ".",
    "..",
    "None",
    "nan",
    "y" * 250,
]


def write(folder, columns, by, *, parts=1, files=None, mode="error"):
    table = pa.table(columns)
    target = open_target("write", folder, partition_by=by, files=files, mode=mode)
    step = -(-table.num_rows // parts)
    slices = [table.slice(i * step, step) for i in range(parts)]
    write_job(target, "a" * 32, slices, schema=table.schema)
    return folder


def pairs_by_dask(path):
    # A folder of nulls alone has no type, which dask has to be told.
    keys = {"flavor": "hive", "schema": pa.schema([("day", pa.string())])}
    frame = dd.read_parquet(path, dataset={"partitioning": keys}).compute()
    texts = frame["day"].astype(object).where(frame["day"].notna(), None)
    return set(zip(texts, frame["x"], strict=True))


def pairs_by_pyarrow(path):
    table = pq.read_table(path)
    return set(zip(table["day"].to_pylist(), table["x"].to_pylist(), strict=True))


def pairs_by_duckdb(path):
    sql = "SELECT day, x FROM read_parquet(?, hive_partitioning = true)"
    return set(duckdb.execute(sql, [f"{path}/**/*.parquet"]).fetchall())


def pairs_by_dfml(path):
    table = open_table("read", path)
    schema = table.schema(["day", "x"])
    rows = [row for part in table.parts for row in part.read("read", schema)]
    found = pa.concat_tables(rows).to_pydict()
    return set(zip(found["day"], found["x"], strict=True))


READERS = [pairs_by_dask, pairs_by_pyarrow, pairs_by_duckdb, pairs_by_dfml]


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # in dask, of pandas 3.1
@pytest.mark.parametrize("read", READERS)
def test_odd_values_come_back_and_stay_inside(tmp_path, read):
    values = [*ODD, None]
    path = write(tmp_path / "out", {"day": values, "x": range(len(values))}, ["day"])

    assert read(path) == {(value, x) for x, value in enumerate(values)}
    assert sorted(os.listdir(tmp_path)) == [".out.dfml", "out"]
    folders = [name for name in os.listdir(path) if name.startswith("day=")]
    assert len(folders) == len(values) == len(os.listdir(path))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("", "an empty text"),
        ("__HIVE_DEFAULT_PARTITION__", "come back as null"),
        ("z" * 300, "too long a name"),
        ("é" * 60, "too long a name"),
        ("z" * 2000, "2000 characters"),
    ],
)
def test_values_that_would_not_come_back(tmp_path, value, match):
    with pytest.raises(TargetError, match=match) as caught:
        write(tmp_path / "out", {"day": ["a", value], "x": [1, 2]}, ["day"])

    assert "'day'" in str(caught.value)
    assert os.listdir(tmp_path) == [".out.dfml"]


def test_numbers_flags_and_dates(tmp_path):
    days = [dt.date(2024, 2, 29), dt.date(1, 1, 1)]
    columns = {
        "n": pa.array([-5, None], pa.int16()),
        "u": pa.array([2**64 - 1, 0], pa.uint64()),
        "b": [True, False],
        "d": pa.array(days),
        "x": [1, 2],
    }
    path = write(tmp_path / "out", columns, ["n", "u", "b", "d"])

    table = pa.table(columns)
    keys = pa.schema([table.schema.field(name) for name in "nbd"])
    found = ds.dataset(path, partitioning=ds.partitioning(keys, flavor="hive"))
    found = found.to_table(columns=["n", "b", "d", "x"]).sort_by("x")
    assert found.equals(table.select(["n", "b", "d", "x"]))
    assert os.path.isdir(path / "n=-5" / f"u={2**64 - 1}" / "b=true" / "d=2024-02-29")


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # in dask, of pandas 3.1
def test_text_that_readers_take_for_numbers_is_told(tmp_path):
    columns = {"day": ["007", "08", None], "x": [1, 2, 3]}
    with pytest.warns(DfmlWarning, match="'day' look like numbers, such as '007'"):
        path = write(tmp_path / "out", columns, ["day"])

    assert pairs_by_pyarrow(path) == {(7, 1), (8, 2), (None, 3)}
    with pytest.warns(DfmlWarning, match="Some .*'007': dask will read these as miss"):
        path = write(tmp_path / "mixed", {"day": ["007", "x"], "x": [1, 2]}, ["day"])

    assert pairs_by_pyarrow(path) == {("007", 1), ("x", 2)}
    assert pairs_by_dask(path) == {("007", 1), ("x", 2)}  # as it is told the type
    write(tmp_path / "plain", {"day": ["7", "x"], "x": [1, 2]}, ["day"])  # no warning


def test_categories_are_text(tmp_path):
    days = pa.array(["b", None, "a", "b"]).dictionary_encode()
    path = write(tmp_path / "out", {"day": days, "x": range(4)}, ["day"])

    assert pairs_by_dfml(path) == {("b", 0), (None, 1), ("a", 2), ("b", 3)}


def test_several_columns_and_parts(tmp_path):
    columns = {
        "a": [i % 3 for i in range(30)],
        "b": ["uv"[i % 2] for i in range(30)],
        "x": list(range(30)),
    }
    path = write(tmp_path / "out", columns, ["a", "b"], parts=4)

    found = pq.read_table(path).to_pandas().sort_values("x")
    for name in columns:
        assert found[name].tolist() == columns[name]
    assert sorted(os.listdir(path / "a=0")) == ["b=u", "b=v"]
    assert pq.read_schema(next((path / "a=0" / "b=u").iterdir())).names == ["x"]


class Watching(FileSystem):
    """Counts the files that are open at once."""

    def __init__(self):
        self.opened = []
        self.most = 0

    def create(self, path):
        file = super().create(path)
        if "part-0" in os.path.basename(path):
            self.opened = [each for each in self.opened if not each.closed] + [file]
            self.most = max(self.most, len(self.opened))
        return file


def test_few_files_are_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_writing, "_MAX_OPEN", 8)
    files = Watching()
    rows = {"day": [f"d{i % 50}" for i in range(200)], "x": list(range(200))}
    target = open_target("write", tmp_path / "out", partition_by=["day"], files=files)
    table = pa.table(rows)

    write_job(target, "a" * 32, [table, table.slice(0, 0)], schema=table.schema)

    assert files.most == 8
    assert pairs_by_dfml(tmp_path / "out") == set(
        zip(rows["day"], rows["x"], strict=True)
    )


def test_rows_of_one_partition_go_on_in_another_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_writing, "_MAX_OPEN", 2)
    target = open_target("write", tmp_path / "out", partition_by=["day"])
    table = pa.table({"day": ["a", "b", "c"] * 2, "x": range(6)})
    with target.locked("a" * 32):
        staged = target.stage("a" * 32, {}, table.schema, resume=True)
        record = staged.finish_part(
            staged.write_rows(0, [table, table])
        )  # as two slices of a part

    assert len(record.files) == 6
    assert record.n_rows == 12
    assert len({file.path for file in record.files}) == 6


def test_too_many_partitions(tmp_path, monkeypatch):
    monkeypatch.setattr(_writing, "MAX_PARTITIONS", 20)
    with pytest.raises(TargetError, match="at most 20 partitions in a part"):
        write(tmp_path / "out", {"day": range(21), "x": range(21)}, ["day"])

    write(tmp_path / "out", {"day": range(21), "x": range(21)}, ["day"], parts=2)
    assert _partition_values.MAX_PARTITIONS == 1024


@pytest.mark.parametrize(
    ("by", "match"),
    [
        (["nope"], r"different columns of \['_h', 'a/b', 'f', 't', 'x'\]"),
        (["x", "x"], "different columns"),
        (["_h"], "readers find in names of folders"),
        (["a/b"], "readers find in names of folders"),
        (["f"], "column 'f' of type double"),
        (["t"], "column 't' of type timestamp"),
        (["_h", "a/b", "f", "t", "x"], "a column beside those"),
    ],
)
def test_columns_that_cannot_be_partitioned_by(tmp_path, by, match):
    columns = {
        "_h": ["a"],
        "a/b": ["a"],
        "f": [0.5],
        "t": [dt.datetime(2024, 1, 1)],
        "x": [1],
    }
    with pytest.raises(TargetError, match=match):
        write(tmp_path / "out", columns, by)


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("name", ["größe", "a b", "x-y.z"])
def test_names_of_columns_come_back(tmp_path, name):
    path = write(tmp_path / "out", {name: ["a", "b"], "x": [1, 2]}, [name])

    found = pq.read_table(path)
    assert sorted(found.column_names) == sorted([name, "x"])
    assert open_table("read", path).names == ["x", name]
    sql = duckdb.sql(f"FROM read_parquet('{path}/**/*.parquet')")
    assert sorted(sql.columns) == sorted([name, "x"])
    assert sorted(dd.read_parquet(path).columns) == sorted([name, "x"])


def test_partitioned_takes_the_place_of_plain_and_back(tmp_path):
    columns = {"day": ["a", "b"], "x": [1, 2]}
    path = write(tmp_path / "out", columns, ["day"])
    table = pa.table(columns)

    for job, by, n in [("b", None, 1), ("c", ["day"], 2)]:
        target = open_target("write", path, partition_by=by, mode="overwrite")
        write_job(target, job * 32, [table], schema=table.schema)
        assert len(os.listdir(path)) == n
        assert sorted(pq.read_table(path)["x"].to_pylist()) == [1, 2]
