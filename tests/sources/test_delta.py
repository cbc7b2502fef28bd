from __future__ import annotations

import datetime as dt
import os
import shutil
from decimal import Decimal

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dfml
from dfml.exceptions import ColumnMismatchError, InputTypeError, SourceError
from dfml.sources import _row_groups
from dfml.sources._open import open_table
from tests import delta_log as log

deltalake = pytest.importorskip("deltalake")


def read_all(source, names=None):
    table = open_table("read", source)
    schema = table.schema(table.names if names is None else names)
    read = [each for part in table.parts for each in part.read("read", schema)]
    assert sum(each.num_rows for each in read) == table.n_rows
    return pa.concat_tables([schema.empty_table(), *read])


def scan(source):
    """The same rows by deltalake's own engine, which has no order."""
    table = deltalake.DeltaTable(source)
    query = deltalake.QueryBuilder().register("t", table).execute("SELECT * FROM t")
    return pa.table(query)


def in_order(table):
    return sorted(map(repr, table.select(sorted(table.column_names)).to_pylist()))


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "a table")


# What the log says


def test_partition_values_have_their_types(root):
    day, moment = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3, 4)
    table = pa.table(
        {
            "x": pa.array([1, 2, 3, 4], pa.int32()),
            "text": ["a/b", "../x", "%2e ü", None],
            "day": [day, None, dt.date(1960, 1, 1), dt.date(9999, 12, 31)],
            "when": pa.array([moment, None, moment, moment], pa.timestamp("us", "UTC")),
            "local": pa.array([moment, moment, None, moment], pa.timestamp("us")),
            "flag": [True, False, None, True],
            "part": pa.array([0.5, -1.5, None, 2.0], pa.float64()),
            "price": pa.array([Decimal("1.25"), None, 2, 3], pa.decimal128(5, 2)),
            "small": pa.array([1, -1, None, 127], pa.int8()),
        }
    )
    deltalake.write_deltalake(root, table, partition_by=table.column_names[1:])

    read = read_all(root)

    assert read.schema == table.schema
    assert in_order(read) == in_order(table) == in_order(scan(root))


def test_parts_keep_their_order_and_names_through_a_checkpoint(root, monkeypatch):
    monkeypatch.setattr(_row_groups, "PART_BYTES", 1)
    for number in range(3):
        rows = pa.table({"x": range(10 * number, 10 * number + 10)})
        deltalake.write_deltalake(root, rows, mode="append")
    before = open_table("read", root)
    deltalake.DeltaTable(root).create_checkpoint()
    after = open_table("read", root)

    assert [part.key for part in before.parts] == [part.key for part in after.parts]
    assert read_all(root)["x"].to_pylist() == list(range(30))
    assert before.version() == after.version()


def test_removed_and_older_files(root):
    for number in range(3):
        deltalake.write_deltalake(root, pa.table({"x": [number]}), mode="append")
    table = deltalake.DeltaTable(root)
    table.delete("x = 1")
    table.optimize.compact()

    assert sorted(read_all(root)["x"].to_pylist()) == [0, 2]
    assert read_all(deltalake.DeltaTable(root, version=1))["x"].to_pylist() == [0, 1]


def test_column_added_later_is_null_in_older_files(root):
    deltalake.write_deltalake(root, pa.table({"x": [1]}))
    more = pa.table({"x": [2], "new": ["a"], "flag": [True]})
    deltalake.write_deltalake(root, more, mode="append", schema_mode="merge")

    assert read_all(root).to_pydict() == {
        "x": [1, 2],
        "new": [None, "a"],
        "flag": [None, True],
    }
    assert read_all(root, ["new"])["new"].to_pylist() == [None, "a"]


def test_instants_of_old_writers(root):
    """They are kept in 96 bits, and end in 2262 if they are read as nanoseconds."""
    moments = [dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), dt.datetime(1, 1, 1)]
    rows = pa.table({"t": pa.array([*moments, None], pa.timestamp("us"))})
    old = log.add(root, "0.parquet", rows, use_deprecated_int96_timestamps=True)
    log.commit(
        root,
        0,
        log.protocol(reader=1),
        log.metadata([log.field("t", "timestamp")]),
        old,
    )

    wanted = pa.timestamp("us", "UTC")
    assert (
        read_all(root)["t"].combine_chunks().equals(rows["t"][:].cast(wanted).chunk(0))
    )


def test_nested_columns_and_fields_added_to_them(root):
    inner = {
        "type": "struct",
        "fields": [log.field("a", "long"), log.field("b", "string")],
    }
    numbers = {"type": "array", "elementType": "long", "containsNull": True}
    first = {"s": [{"a": 1}], "l": pa.array([[1, None]], pa.list_(pa.int32()))}
    second = {"s": [{"b": "x", "a": 2}], "l": pa.array([None], pa.list_(pa.int64()))}
    log.commit(
        root,
        0,
        log.protocol(reader=1),
        log.metadata([log.field("s", inner), log.field("l", numbers)]),
        log.add(root, "0.parquet", pa.table(first), time=1),
        log.add(root, "1.parquet", pa.table(second), time=2),
    )

    assert read_all(root).to_pylist() == [
        {"s": {"a": 1, "b": None}, "l": [1, None]},
        {"s": {"a": 2, "b": "x"}, "l": None},
    ]


def test_paths_outside_the_folder(tmp_path, root):
    elsewhere = log.add(str(tmp_path), "b c.parquet", pa.table({"x": [1]}))
    elsewhere["add"]["path"] = f"file://{tmp_path}/b%20c.parquet"
    fields = [log.field("x", "long")]
    log.commit(root, 0, log.protocol(reader=1), log.metadata(fields), elsewhere)

    assert read_all(root)["x"].to_pylist() == [1]
    assert open_table("read", root).overlaps(str(tmp_path))


def test_checkpoint_of_version_2(root):
    fields, version = [log.field("x", "long")], log.protocol("v2Checkpoint")
    for number in range(2):
        rows = pa.table({"x": [number]})
        new = log.add(root, f"{number}.parquet", rows, time=number)
        first = [version, log.metadata(fields, checkpointPolicy="v2")]
        log.commit(root, number, *([] if number else first), new)
    deltalake.DeltaTable(root).create_checkpoint()
    os.remove(os.path.join(root, "_delta_log", f"{0:020}.json"))

    assert read_all(root)["x"].to_pylist() == [0, 1]


def test_table_without_rows(root):
    schema = pa.schema([("x", pa.int64()), ("k", pa.string())])
    deltalake.DeltaTable.create(root, schema, partition_by=["k"])

    table = open_table("read", root)

    assert (table.parts, table.n_rows) == ([], 0)
    assert read_all(root).schema.names == ["x", "k"]


@pytest.mark.parametrize("name", ["sp ace", "ü", "a#b", "k=1"])
def test_odd_folder_names(tmp_path, name):
    root = str(tmp_path / name)
    deltalake.write_deltalake(
        root, pa.table({"x": [1], "p": ["a b"]}), partition_by="p"
    )

    assert read_all(root).to_pydict() == {"x": [1], "p": ["a b"]}


# Deletion vectors


@pytest.fixture
def vectors(root):
    """Two files of 10 rows in row groups of 4, and 1 of 4 rows that are all deleted."""
    rows = [pa.table({"x": pa.array(range(s, s + 10))}) for s in (0, 10)]
    os.makedirs(root)
    log.commit(
        root,
        0,
        log.protocol("deletionVectors"),
        log.metadata([log.field("x", "long")], enableDeletionVectors="true"),
        log.add(root, "a.parquet", rows[0], deleted=log.deleted_inline([1, 5])),
        log.add(
            root,
            "b c%.parquet",
            rows[1],
            deleted=log.deleted_file(root, [0, 4, 5, 6, 7, 9]),
            row_group_size=4,
        ),
        log.add(
            root, "d.parquet", rows[0][:4], deleted=log.deleted_inline([0, 1, 2, 3])
        ),
    )
    return root


@pytest.mark.parametrize("part_bytes", [1, 2**20])
def test_deleted_rows_are_gone(vectors, monkeypatch, part_bytes):
    monkeypatch.setattr(_row_groups, "PART_BYTES", part_bytes)

    read = read_all(vectors)

    assert read["x"].to_pylist() == [0, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 18]
    assert in_order(read) == in_order(scan(vectors))
    counts = [part.n_rows for part in open_table("read", vectors).parts]
    assert counts == ([8, 3, 1] if part_bytes == 1 else [8, 4])


def test_deleted_rows_are_gone_in_slices(vectors, monkeypatch):
    monkeypatch.setattr(_row_groups, "SLICE_BYTES", 16)

    assert in_order(read_all(vectors)) == in_order(scan(vectors))


def test_deleted_rows_of_text_as_views(root):
    """As deltalake writes it when it compacts; Arrow does not filter such columns."""
    rows = pa.table({"t": pa.array(["a", None, "c" * 20, "d"], pa.string_view())})
    deleted = log.add(root, "0.parquet", rows, deleted=log.deleted_inline([0, 3]))
    features, fields = log.protocol("deletionVectors"), [log.field("t", "string")]
    log.commit(root, 0, features, log.metadata(fields), deleted)

    assert read_all(root)["t"].to_pylist() == [None, "c" * 20]


def test_missing_deletion_vector_is_an_error(vectors):
    (file,) = [f for f in os.listdir(vectors) if f.startswith("deletion_vector")]
    os.remove(os.path.join(vectors, file))

    with pytest.raises(SourceError, match="deletion_vector_"):
        open_table("read", vectors)


# Column mapping


@pytest.fixture(params=[2, 3], ids=["by version", "by feature"])
def renamed(request, root):
    """A table that maps names, with a partition column and a structure."""
    inner = {"type": "struct", "fields": [log.mapped("u", "long", 5)]}
    fields = [
        log.mapped("now x", "long", 1),
        log.mapped("p.q", "date", 2),
        log.mapped("s", inner, 3),
        log.mapped("new", "string", 4),
    ]
    rows = pa.table({"col-3": [{"col-5": 1}, None], "col-1": [1, 2]})
    log.commit(
        root,
        0,
        log.protocol("columnMapping", reader=request.param),
        log.metadata(fields, ["p.q"], **{"columnMapping.mode": "name"}),
        log.add(root, "ab/x.parquet", rows, values={"col-2": "2024-01-02"}),
    )
    return root


def test_mapped_names(renamed):
    read = read_all(renamed, ["now x", "p.q", "new"])

    day = dt.date(2024, 1, 2)
    assert read.to_pydict() == {
        "now x": [1, 2],
        "p.q": [day, day],
        "new": [None, None],
    }
    assert in_order(read) == in_order(scan(renamed).select(["now x", "p.q", "new"]))


def test_structures_of_a_table_that_maps_names_are_refused(renamed):
    with pytest.raises(SourceError, match=r"struct<u: int64> in column 's'"):
        read_all(renamed)


# What is refused

X = log.field("x", "long")


@pytest.mark.parametrize(
    ("actions", "match"),
    [
        ([log.protocol("typeWidening"), log.metadata([X])], "typeWidening"),
        ([log.protocol("nonsense"), log.metadata([X])], "nonsense"),
        ([log.protocol(reader=4), log.metadata([X])], "version 4"),
        (
            [
                log.protocol("columnMapping"),
                log.metadata(
                    [log.mapped("x", "long", 1)], **{"columnMapping.mode": "id"}
                ),
            ],
            "columnMapping by id",
        ),
    ],
)
def test_unknown_features_are_refused_by_name(root, actions, match):
    log.commit(root, 0, *actions)

    with pytest.raises(SourceError, match=match):
        open_table("read", root)


def test_features_that_change_nothing_are_taken(root):
    features = ["v2Checkpoint", "vacuumProtocolCheck", "variantType", "timestampNtz"]
    rows = pa.table({"x": [1]})
    fields = [log.field("x", "long"), log.field("v", "variant")]
    log.commit(
        root,
        0,
        log.protocol(*features),
        log.metadata(fields),
        log.add(root, "x.parquet", rows),
    )

    assert read_all(root, ["x"])["x"].to_pylist() == [1]
    with pytest.raises(SourceError, match="types other than variant"):
        read_all(root)


def test_bytes_that_partition_a_table_are_refused(root):
    rows = pa.table({"x": [1, 2], "k": pa.array([b"a", b"\x01\xff"])})
    deltalake.write_deltalake(root, rows, partition_by="k")

    assert sorted(read_all(root, ["x"])["x"].to_pylist()) == [1, 2]
    with pytest.raises(SourceError, match=r"partition columns .* binary in 'k'"):
        read_all(root)


@pytest.mark.parametrize("source", ["*.parquet", "k=1", "k=1/*"])
def test_files_of_a_delta_table_are_no_table(root, source):
    rows = pa.table({"x": [1], "k": [1]})
    deltalake.write_deltalake(root, rows, partition_by="k")
    deltalake.write_deltalake(root, rows, mode="overwrite")
    shutil.copy(next(iter_parquet(root)), os.path.join(root, "x.parquet"))

    with pytest.raises(SourceError, match="files of the Delta table"):
        open_table("read", os.path.join(root, source))


def iter_parquet(root):
    for folder, _, names in os.walk(root):
        yield from (os.path.join(folder, n) for n in names if n.endswith(".parquet"))


@pytest.mark.parametrize("source", ["s3://bucket/table", "nowhere"])
def test_no_table(source):
    with pytest.raises(SourceError):
        dfml.read_delta(source)


def test_other_objects():
    with pytest.raises(InputTypeError, match="Got list"):
        dfml.read_delta([1])
    with pytest.raises(InputTypeError, match="DataFrame"):
        open_table("read", pd.DataFrame())


# Broken files


def only_file(root):
    (path,) = iter_parquet(root)
    return path


@pytest.mark.parametrize("how", ["removed", "truncated"])
def test_broken_file_is_named_before_any_work(root, how):
    deltalake.write_deltalake(root, pa.table({"x": range(100)}))
    path = only_file(root)
    os.remove(path) if how == "removed" else os.truncate(path, 100)

    with pytest.raises(SourceError, match=os.path.basename(path)):
        open_table("read", root)


@pytest.mark.parametrize("how", ["removed", "truncated"])
def test_file_that_breaks_later_is_named_with_its_part(root, how):
    deltalake.write_deltalake(root, pa.table({"x": range(100)}))
    frame, path = dfml.read_delta(root), only_file(root)
    os.remove(path) if how == "removed" else os.truncate(path, 100)

    with pytest.raises(SourceError, match=rf"{os.path.basename(path)}' \(part 0\)"):
        frame.compute()


# Versions


def test_versions_and_moments(root):
    for number, day in enumerate(["2024-01-01", "2024-01-03"]):
        deltalake.write_deltalake(root, pa.table({"x": [number]}), mode="append")
        seconds = dt.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
        commit = os.path.join(root, "_delta_log", f"{number:020}.json")
        os.utime(commit, (seconds, seconds))
    moment = dt.datetime(2024, 1, 2)

    assert len(dfml.read_delta(root)) == 2
    assert len(dfml.read_delta(root, version=0)) == 1
    assert len(dfml.read_delta(deltalake.DeltaTable(root, version=0))) == 1
    assert len(dfml.read_delta(deltalake.DeltaTable(root, version=0), version=1)) == 2
    assert len(dfml.read_delta(root, timestamp="2024-01-02T00:00:00Z")) == 1
    assert len(dfml.read_delta(root, timestamp=moment)) == 1
    assert len(dfml.read_delta(root, timestamp="2024-01-05")) == 2
    with pytest.raises(SourceError, match="before version 0, the first"):
        dfml.read_delta(root, timestamp="2023-12-31")
    with pytest.raises(SourceError, match="log can be read"):
        dfml.read_delta(root, version=9)
    with pytest.raises(SourceError, match="one of version and timestamp"):
        dfml.read_delta(root, version=0, timestamp=moment)


def test_times_inside_the_log(root):
    features = log.protocol()
    features["protocol"]["writerFeatures"] = ["inCommitTimestamp"]
    table = log.metadata([X], enableInCommitTimestamps="true")
    rows = log.add(root, "0.parquet", pa.table({"x": [0]}))
    times = {"commitInfo": {"inCommitTimestamp": 1_704_067_200_000}}
    log.commit(root, 0, times, features, table, rows)

    assert len(dfml.read_delta(root)) == 1
    with pytest.raises(SourceError, match="times of its own"):
        dfml.read_delta(root, timestamp="2024-01-02")


# As a dask DataFrame


@pytest.fixture
def flights(root):
    """Three files, of which the second has nulls and the first lacks a column."""
    parts = [
        {"id": [0, 1, 2], "n": [5, 6, 7], "ok": [True, False, True]},
        {"id": [3, 4], "n": [None, 9], "ok": [None, True], "t": ["a", None]},
        {"id": [5, 6, 7], "n": [1, 2, 3], "ok": [True] * 3, "t": ["b", "c", "d"]},
    ]
    for part in parts:
        rows = pa.table(part | {"x": np.arange(len(part["id"])) / 2})
        deltalake.write_deltalake(root, rows, mode="append", schema_mode="merge")
    return root


def test_frame(flights):
    frame = dfml.read_delta(flights)

    assert frame.npartitions == 3
    assert frame.divisions == (0, 3, 5, 7)
    assert frame.compute().index.tolist() == list(range(8))
    assert frame.dtypes.astype(str).to_dict() == {
        "id": "int64",
        "n": "Int64",
        "ok": "boolean",
        "x": "float64",
        "t": "str",
    }
    assert frame["id"].compute().tolist() == list(range(8))
    assert frame["n"].isna().sum().compute() == 1
    assert len(frame) == 8


def test_chosen_columns(flights):
    frame = dfml.read_delta(flights, columns=["x", "id"])

    assert frame.columns.tolist() == ["x", "id"]
    pd.testing.assert_frame_equal(
        frame.compute(), dfml.read_delta(flights)[["x", "id"]].compute()
    )
    with pytest.raises(ColumnMismatchError, match="nope"):
        dfml.read_delta(flights, columns=["nope"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"columns": "id"}, "Got 'id'"),
        ({"columns": ["x", "x"]}, "different names"),
        ({"version": "0"}, "Got '0'"),
        ({"version": True}, "Got True"),
        ({"version": -1}, "Got -1"),
        ({"timestamp": "yesterday"}, "Got 'yesterday'"),
        ({"timestamp": 5}, "Got 5"),
        ({"timestamp": pd.NaT}, "Got NaT"),
    ],
)
def test_arguments_that_say_nothing(flights, options, match):
    with pytest.raises(InputTypeError, match=match):
        dfml.read_delta(flights, **options)


def test_versions_and_moments_of_all_types(flights):
    newest = deltalake.DeltaTable(flights).version()
    whole = dfml.read_delta(flights).compute()
    for options in (
        {"version": np.int64(newest)},
        {"timestamp": dt.date(9999, 1, 1)},
        {"timestamp": pd.Timestamp("2200-01-01 00:00:00.123456789", tz="Asia/Tokyo")},
    ):
        found = dfml.read_delta(flights, **options)
        pd.testing.assert_frame_equal(found.compute(), whole)
    with pytest.raises(SourceError, match="2000-01-01T00:00:00"):
        dfml.read_delta(flights, timestamp=dt.date(2000, 1, 1))


def test_only_columns_that_are_used_are_read(root):
    """Ruin the pages of one column: it is not looked at unless it is asked for."""
    rows = pa.table({"a": range(1000), "b": range(1000)})
    action = log.add(root, "0.parquet", rows, write_page_checksum=True)
    fields = [log.field("a", "long"), log.field("b", "long")]
    log.commit(root, 0, log.protocol(reader=1), log.metadata(fields), action)
    path = os.path.join(root, "0.parquet")
    at = pq.read_metadata(path).row_group(0).column(1).data_page_offset
    with open(path, "r+b") as file:
        file.seek(at + 40)
        file.write(b"\xff" * 40)
    frame = dfml.read_delta(root)

    assert frame["a"].sum().compute() == 499_500
    with pytest.raises(SourceError, match=r"0\.parquet' \(part 0\)"):
        frame["b"].sum().compute()


def test_keys_of_the_graph_belong_to_the_version(flights):
    first, again = dfml.read_delta(flights), dfml.read_delta(flights)
    older = dfml.read_delta(flights, version=1)

    assert first._name == again._name != older._name
    assert sorted(map(str, first.dask)) == sorted(map(str, again.dask))


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(flights, scheduler):
    frame = dfml.read_delta(flights)
    expected = frame.compute()
    with dask.config.set(scheduler=scheduler, num_workers=2):
        pd.testing.assert_frame_equal(frame.compute(), expected)
