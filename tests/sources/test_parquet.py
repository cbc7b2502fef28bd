from __future__ import annotations

import errno
import os

import dask.dataframe as dd
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfml.exceptions import DfmlWarning, InputTypeError, SourceError
from dfml.sources import _row_groups
from dfml.sources._arrow_types import merge_types
from dfml.sources._open import open_table as open_source
from dfml.sources._parquet import ParquetTable

WIDENED = [
    (pa.int32(), pa.int64(), pa.int64()),
    (pa.int8(), pa.uint8(), pa.int16()),
    (pa.uint16(), pa.uint32(), pa.uint32()),
    (pa.uint32(), pa.int8(), pa.int64()),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.int16(), pa.float32(), pa.float32()),
    (pa.int32(), pa.float32(), pa.float64()),
    (pa.int64(), pa.float64(), pa.float64()),
    (pa.null(), pa.string(), pa.string()),
    (pa.null(), pa.decimal128(5, 2), pa.decimal128(5, 2)),
    (pa.string(), pa.large_string(), pa.large_string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
    (
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int32(), pa.string()),
    ),
    (pa.decimal128(5, 2), pa.decimal128(6, 1), pa.decimal128(7, 2)),
    (pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("ns")),
]
REFUSED = [
    (pa.int64(), pa.string()),
    (pa.bool_(), pa.int64()),
    (pa.uint64(), pa.int64()),
    (pa.timestamp("ns"), pa.timestamp("ns", "UTC")),
    (pa.timestamp("ns"), pa.date32()),
    (pa.decimal256(76, 0), pa.decimal256(76, 76)),
]


def write(path, n_rows=4, *, row_group_size=None, **columns):
    columns = columns or {"x": list(range(n_rows))}
    os.makedirs(path.parent, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def read_all(table, names=None):
    schema = table.schema(table.names if names is None else names)
    return pa.concat_tables(
        each for part in table.parts for each in part.read("read", schema)
    )


def open_table(source):
    return ParquetTable.open("read", source)


@pytest.mark.parametrize(("left", "right", "expected"), WIDENED)
def test_types_are_widened_both_ways(left, right, expected):
    assert merge_types(left, right) == expected
    assert merge_types(right, left) == expected
    assert merge_types(left, left) == left


@pytest.mark.parametrize(("left", "right"), REFUSED)
def test_types_that_lose_values_are_refused(left, right):
    assert merge_types(left, right) is None
    assert merge_types(right, left) is None


@pytest.mark.parametrize(("left", "right", "expected"), WIDENED)
def test_values_survive_widening(tmp_path, left, right, expected):
    write(tmp_path / "0.parquet", x=pa.array([None], left))
    write(tmp_path / "1.parquet", x=pa.array([None], right))
    table = open_table(tmp_path)

    assert read_all(table).schema.field("x").type == expected


def test_parts_follow_row_groups_and_do_not_join_files(tmp_path, monkeypatch):
    monkeypatch.setattr(_row_groups, "PART_BYTES", 2 * 10 * 8)
    write(tmp_path / "b.parquet", 50, row_group_size=10)
    write(tmp_path / "a.parquet", 5)

    parts = open_table(tmp_path).parts

    assert [part.number for part in parts] == list(range(len(parts)))
    assert [os.path.basename(p.groups.file.path) for p in parts][:2] == [
        "a.parquet",
        "b.parquet",
    ]
    assert [p.n_rows for p in parts] == [5, 10, 10, 10, 10, 10]
    assert [(p.groups.first, p.groups.stop) for p in parts[1:]] == [
        (i, i + 1) for i in range(5)
    ]


def test_large_row_group_is_read_in_slices(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", 1000)
    monkeypatch.setattr(_row_groups, "SLICE_BYTES", 1000)
    table = open_table(tmp_path)
    (part,) = table.parts

    slices = list(part.read("read", table.schema(["x"])))

    assert len(slices) > 5
    assert pa.concat_tables(slices)["x"].to_pylist() == list(range(1000))


def test_glob_file_and_folder_are_the_same_table(tmp_path):
    path = write(tmp_path / "a.parquet")

    tables = [read_all(open_table(s)) for s in (path, tmp_path, tmp_path / "*.parquet")]

    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_hidden_files_and_other_extensions_are_left_out(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "_b.parquet")
    write(tmp_path / ".c.parquet")
    write(tmp_path / "_temporary" / "d.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.txt").touch()

    assert len(open_table(tmp_path).files) == 1


def test_parquet_files_with_other_extensions_are_left_out_aloud(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.PARQUET")
    write(tmp_path / "k=1" / "c.parquet.1")
    (tmp_path / "d.txt").touch()
    os.mkfifo(tmp_path / "pipe")

    with pytest.warns(DfmlWarning, match=r"leaves out 2 Parquet files.*b\.PARQUET"):
        assert len(open_table(tmp_path).files) == 1


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        (["1", "02"], pa.int64(), [1, 2]),
        (["1", "__HIVE_DEFAULT_PARTITION__"], pa.int64(), [1, None]),
        (["a%2Fb", "2"], pa.string(), ["2", "a/b"]),
        ([str(2**63), "1"], pa.string(), ["1", str(2**63)]),
    ],
)
def test_folder_keys_become_columns(tmp_path, values, type_, expected):
    for value in values:
        write(tmp_path / f"k={value}" / "0.parquet", x=[1])

    table = read_all(open_table(tmp_path))

    assert table.schema.names == ["x", "k"]
    assert table.schema.field("k").type == type_
    assert sorted(table["k"].to_pylist(), key=str) == sorted(expected, key=str)
    assert read_all(open_table(tmp_path), ["k"]).num_rows == 2


@pytest.mark.parametrize(
    "source",
    ["", "y=1", "y=1/m=2", "y=1/m=2/0.parquet", "y=1/m=2/*", "*/m=2/*.parquet"],
)
@pytest.mark.filterwarnings("ignore:The inplace keyword")  # in dask, of pandas 3.1
def test_keys_above_the_source_count_as_in_dask(tmp_path, source):
    for y, m in [(1, 1), (1, 2), (2, 1), (2, 2)]:
        write(tmp_path / "lake" / f"y={y}" / f"m={m}" / "0.parquet", x=[10 * y + m])
    lake = tmp_path / "lake" / source

    table = read_all(open_table(lake)).to_pandas()

    expected = dd.read_parquet(lake).compute().astype("int64")
    pd.testing.assert_frame_equal(table, expected.reset_index(drop=True))


def test_key_that_is_a_column_too_is_the_column(tmp_path):
    write(tmp_path / "k=1" / "0.parquet", k=[7], x=[1])

    assert read_all(open_table(tmp_path))["k"].to_pylist() == [7]


def test_columns_are_matched_by_name(tmp_path):
    write(tmp_path / "0.parquet", a=[1], b=["x"])
    write(tmp_path / "1.parquet", b=["y"], a=[2])

    assert read_all(open_table(tmp_path)).to_pydict() == {
        "a": [1, 2],
        "b": ["x", "y"],
    }


def test_missing_column_is_an_error_only_where_it_is_needed(tmp_path):
    write(tmp_path / "0.parquet", a=[1], b=[1])
    write(tmp_path / "1.parquet", a=[2], c=[2])
    table = open_table(tmp_path)

    assert read_all(table, ["a"])["a"].to_pylist() == [1, 2]
    with pytest.raises(SourceError, match=r"'b'.*0\.parquet.*1\.parquet' without it"):
        table.schema(["b"])
    with pytest.raises(SourceError, match=r"'c'.*1\.parquet.*0\.parquet' without it"):
        table.schema(["c"])
    with pytest.raises(SourceError, match=r"with the column;.*left out with keep="):
        table.schema(["b"])


def test_column_that_is_a_key_of_one_file_only_is_an_error(tmp_path):
    write(tmp_path / "k=1" / "0.parquet", k=[1], x=[1])
    write(tmp_path / "k=2" / "0.parquet", x=[2])

    with pytest.raises(SourceError, match=r"k=2.*without it(.|\n)*names of folders"):
        open_table(tmp_path).schema(["k"])


def test_types_that_do_not_fit_name_column_and_files(tmp_path):
    write(tmp_path / "0.parquet", a=[1])
    write(tmp_path / "1.parquet", a=["text"])

    with pytest.raises(SourceError, match=r"'a'.*int64 in .*0\.parq.*string in .*1\.p"):
        open_table(tmp_path).schema(["a"])


def test_integer_that_a_float_cannot_hold_is_refused(tmp_path):
    write(tmp_path / "0.parquet", a=[2**53 + 1])
    write(tmp_path / "1.parquet", a=[0.5])
    table = open_table(tmp_path)

    with pytest.raises(SourceError, match=r"0\.parquet' \(part 0\)"):
        read_all(table)


def break_file(path, how):
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:middle],
            "empty": b"",
            "not Parquet": b"a,b\n1,2\n" * 10,
            "footer": content[:-20] + b"\xff" * 12 + content[-8:],
        }[how]
    )


@pytest.mark.parametrize("how", ["truncated", "empty", "not Parquet", "footer"])
def test_broken_file_is_named_before_any_work(tmp_path, how):
    write(tmp_path / "0.parquet", 100)
    break_file(write(tmp_path / "1.parquet", 100), how)

    with pytest.raises(SourceError, match=r"1\.parquet"):
        open_table(tmp_path)


def test_broken_page_is_named_when_it_is_read(tmp_path):
    path = tmp_path / "0.parquet"
    table = pa.table({"x": list(range(10_000))})
    pq.write_table(table, path, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[2000:2010] = b"\xff" * 10
    path.write_bytes(bytes(content))

    with pytest.raises(SourceError, match=r"row group 0 of .*0\.parquet' \(part 0\)"):
        read_all(open_table(tmp_path))


@pytest.mark.parametrize("change", ["rewritten", "removed"])
def test_file_that_changes_after_the_listing_is_refused(tmp_path, change):
    path = write(tmp_path / "0.parquet", 10)
    table = open_table(tmp_path)
    path.unlink()
    if change == "rewritten":
        write(path, 11)

    with pytest.raises(SourceError, match=r"0\.parquet' \(part 0\)"):
        read_all(table)


ODD_FILES = {
    "dangling link": (lambda path: path.symlink_to("gone"), r"'gone': .*mend the link"),
    "loop": (lambda path: path.symlink_to(path), "Too many levels.*mend the link"),
    "pipe": (os.mkfifo, "no regular file.*move it out"),
}


@pytest.mark.parametrize(("make", "message"), ODD_FILES.values(), ids=ODD_FILES)
@pytest.mark.parametrize("source", [".", "*.parquet", "1.parquet"])
def test_what_only_has_the_name_of_a_file_is_an_error(tmp_path, source, make, message):
    write(tmp_path / "0.parquet")
    make(tmp_path / "1.parquet")

    with pytest.raises(SourceError, match=f"(?s)/1.parquet'.*{message}"):
        open_table(tmp_path / source)


def test_link_to_a_folder_that_it_is_in_is_an_error(tmp_path):
    write(tmp_path / "0.parquet")
    (tmp_path / "sub").symlink_to(tmp_path)

    with pytest.raises(SourceError, match="/sub', a link to a folder that it is in"):
        open_table(tmp_path)


def test_folder_that_may_not_be_listed_is_an_error(tmp_path, monkeypatch):
    write(tmp_path / "0.parquet")
    write(tmp_path / "sub" / "0.parquet")
    scan = os.scandir

    def refuse(path):
        if os.path.basename(path) == "sub":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(SourceError, match=r"(?s)/sub'.*let this user read it"):
        open_table(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "there is no '/.*nothing'"),
        ("*.parquet", "which no file matches"),
        ("folder", "a folder with .'a.csv', 'empty'"),
        ("folder/empty", "an empty folder"),
        ("s3://bucket/key", "an address.*\n.*a copy on a disk"),
        ("file:///folder", "an address"),
        ("", "an empty text"),
        (".", r"a folder with .'folder'"),
    ],
)
def test_no_file_is_an_error(tmp_path, source, message, monkeypatch):
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    (tmp_path / "folder" / "a.csv").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SourceError, match=f"(?s)a glob, or a folder.*{message}"):
        open_table(source)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (["a.parquet", "b.parquet"], "pass a glob"),
        (duckdb.default_connection(), r"con\.sql\(query\)"),
        (pd.DataFrame({"a": [1]}), "response methods"),
        (dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1), "response methods"),
        (pa.table({"a": [1]}), "write it to Parquet"),
        (None, "write it to Parquet"),
    ],
)
def test_what_is_no_source(source, hint):
    with pytest.raises(InputTypeError, match=f"{type(source).__name__}.\n\n.*{hint}"):
        open_source("t", source)


def test_folders_of_different_keys_are_refused(tmp_path):
    write(tmp_path / "k=1" / "0.parquet")
    write(tmp_path / "j=1" / "0.parquet")

    with pytest.raises(SourceError, match="folders of the same keys"):
        open_table(tmp_path)


@pytest.mark.parametrize("source", ["", "k=1/k=2/0.parquet"])
def test_a_key_twice_in_a_path_is_refused(tmp_path, source):
    write(tmp_path / "k=1" / "k=2" / "0.parquet")

    with pytest.raises(SourceError, match=r"each key once.*\['k', 'k'\] for '.*0\.par"):
        open_table(tmp_path / source)


def test_repeated_column_name_is_refused(tmp_path):
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "0.parquet")

    with pytest.raises(SourceError, match=r"\['a'\] twice"):
        open_table(tmp_path)


def test_no_rows_give_no_parts_but_a_schema(tmp_path):
    write(tmp_path / "0.parquet", x=pa.array([], pa.int8()))
    table = open_table(tmp_path)

    assert table.parts == []
    assert table.n_rows == 0
    assert table.schema(["x"]).field("x").type == pa.int8()
