from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import threading

import pyarrow as pa
import pytest

from dfml.exceptions import SourceError, TargetError, TargetExistsError
from dfml.sinks._files import FileSystem
from dfml.sinks._targets import open_target
from tests.sinks.places import IcebergPlace, make_part, opened, write_job
from tests.sinks.test_delta import ODD, Before, elsewhere
from tests.sinks.test_targets import A, B, rows_of

pytest.importorskip("pyiceberg")

ONE = pa.schema([("x", pa.int64())])


@pytest.fixture
def place(tmp_path):
    with opened("iceberg", tmp_path) as found:
        yield found


@pytest.fixture
def by_day(tmp_path):
    with opened("iceberg by day", tmp_path) as found:
        yield found


def write_one(place, mode="append", name="ns.one"):
    target = open_target("write", place.catalog, table=name, mode=mode)
    return write_job(target, "a" * 32, [pa.table({"x": [1]})], schema=ONE)


def rows_in(place, name="ns.one"):
    return place.catalog.load_table(name).scan().to_arrow()


# What is in the snapshot


def test_snapshot_names_the_job(place):
    report = write_job(place.target(), "a" * 32, A)

    table = place.opened()
    (snapshot,) = table.snapshots()
    assert snapshot.summary["dfml.job"] == "a" * 32
    assert json.loads(snapshot.summary["dfml.report"]) == report
    assert snapshot.summary["added-records"] == "7"
    assert "commit.retry.num-retries" not in table.properties
    paths = [task.file.file_path for task in table.scan().plan_files()]
    assert all(path.startswith(f"{table.location()}/data/part-0000") for path in paths)
    assert table.scan(row_filter="id > 3 and day = 'tue'").to_arrow().num_rows == 1


def test_retries_of_the_table_stay_its_own(place):
    write_job(place.target(), "a" * 32, A)
    with place.opened().transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "7"})

    write_job(place.target("overwrite"), "b" * 32, B)

    assert place.opened().properties["commit.retry.num-retries"] == "7"


def test_odd_partition_values_come_back(place):
    values = [*ODD, "z" * 300, None]
    table = pa.table({"day": pa.array(values), "x": range(len(values))})
    options = {"table": "ns.odd", "partition_by": ["day"]}

    write_job(
        open_target("write", place.catalog, **options),
        "a" * 32,
        [table],
        schema=table.schema,
    )

    found = rows_in(place, "ns.odd").to_pydict()
    assert dict(zip(found["x"], found["day"], strict=True)) == dict(enumerate(values))
    written = place.catalog.load_table("ns.odd")
    assert len(written.inspect.partitions()) == len(values)
    scan = written.scan(row_filter="day = 'a/b'")
    assert [task.file.record_count for task in scan.plan_files()] == [1]


def test_partitions_by_numbers_flags_and_dates(place):
    day = dt.date(2024, 2, 29)
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int16()),
            "b": [True, None],
            "d": pa.array([day, None]),
            "x": [1, 2],
        }
    )
    options = {"table": "ns.t", "partition_by": ["i", "b", "d"]}
    target = open_target("write", place.catalog, **options)
    write_job(target, "a" * 32, [table], schema=table.schema)
    target = open_target(
        "write", place.catalog, table="ns.t", mode="overwrite_partitions"
    )
    again = table.set_column(3, "x", pa.array([3, 4])).slice(1)
    write_job(target, "b" * 32, [again], schema=table.schema)

    found = rows_in(place, "ns.t").sort_by("x").to_pydict()
    assert found == {"i": [1, None], "b": [True, None], "d": [day, None], "x": [1, 4]}


def test_columns_are_known_by_their_identifiers(place):
    from pyiceberg.types import StringType

    table = pa.table(
        {
            "x": [1.0],
            "note": ["old"],
            "l": pa.array([[{"u": "a", "v": 1}]]),
            "m": pa.array([[("k", 2)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    names = {"table": "ns.t", "mode": "append"}
    write_job(
        open_target("write", place.catalog, **names),
        "a" * 32,
        [table],
        schema=table.schema,
    )
    with place.catalog.load_table("ns.t").update_schema() as change:
        change.delete_column("note")
        change.rename_column(("l", "element", "u"), "w")
    with place.catalog.load_table("ns.t").update_schema() as change:
        change.add_column("note", StringType())

    (row,) = rows_in(place, "ns.t").to_pylist()
    assert row == {"x": 1.0, "note": None, "l": [{"w": "a", "v": 1}], "m": [("k", 2)]}
    pair = pa.struct([("w", pa.string()), ("v", pa.int64())])
    column = pa.array([[{"w": "b", "v": 3}]], pa.list_(pair))
    again = table.set_column(2, "l", column)
    write_job(
        open_target("write", place.catalog, **names),
        "b" * 32,
        [again],
        schema=again.schema,
    )
    rows = rows_in(place, "ns.t").to_pylist()
    assert sorted([row["note"] or "" for row in rows]) == ["", "old"]
    assert sorted([row["l"][0]["w"] for row in rows]) == ["a", "b"]


def test_parts_of_columns_that_were_made_anew_are_written_again(place):
    from pyiceberg.types import DoubleType

    write_job(place.target(), "a" * 32, A)
    with pytest.raises(OSError, match="late"):
        write_job(place.target("append", files=_NeverCommits()), "b" * 32, B)
    with place.opened().update_schema() as change:
        change.delete_column("x")
    with place.opened().update_schema() as change:
        change.add_column("x", DoubleType())

    write_job(place.target("append"), "b" * 32, B)

    found = place.read().to_pylist()
    assert [row["x"] for row in found if row["x"] is not None] == sorted(
        (row["x"] for row in rows_of(B).to_pylist()), reverse=True
    )
    assert len(found) == 14


class _NeverCommits(FileSystem):
    def perform(self, commit):
        raise OSError("too late")


def test_column_types_are_held_without_loss(place):
    table = pa.table(
        {
            "u8": pa.array([255], pa.uint8()),
            "u32": pa.array([2**32 - 1], pa.uint32()),
            "half": pa.array([0.5], pa.float16()),
            "kind": pa.array(["a"]).dictionary_encode(),
            "text": pa.array(["a"], pa.large_string()),
            "second": pa.array([1], pa.timestamp("s")),
            "nano": pa.array([1000], pa.timestamp("ns", "Europe/Vienna")),
            "time": pa.array([1], pa.time32("s")),
            "day": pa.array([86_400_000], pa.date64()),
            "fixed": pa.array([b"ab"], pa.binary(2)),
            "price": pa.array([1], pa.decimal128(20, 2)),
            "tags": pa.array([[1]], pa.list_(pa.uint8())),
            "point": pa.array([{"x": 1}], pa.struct([("x", pa.uint16())])),
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
        }
    )
    for job, mode in [("a", "error"), ("b", "append")]:
        target = open_target("write", place.catalog, table="ns.t", mode=mode)
        write_job(target, job * 32, [table], schema=table.schema)

    found = rows_in(place, "ns.t")
    assert found.num_rows == 2
    first = found.slice(0, 1).to_pydict()
    assert first == {**table.to_pydict(), "nano": first["nano"]}
    assert first["nano"][0] == dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "type_", [pa.uint64(), pa.null(), pa.duration("us"), pa.time64("ns")]
)
def test_column_types_that_iceberg_lacks(place, type_):
    schema = pa.schema([("ok", pa.int64()), ("wrong", type_)])
    target = open_target("write", place.catalog, table="ns.t")

    with pytest.raises(TargetError, match=r"Iceberg has a type for. Got wrong: "):
        write_job(target, "a" * 32, [schema.empty_table()], schema=schema)

    assert not place.catalog.table_exists("ns.t")


def test_columns_that_are_required_stay_so(place):
    required = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    place.catalog.create_table("ns.one", required)
    write_one(place)

    nulls = pa.table({"x": pa.array([None], pa.int64())})
    target = open_target("write", place.catalog, table="ns.one", mode="append")
    with pytest.raises(TargetError, match="no null in column 'x'"):
        write_job(target, "b" * 32, [nulls], schema=ONE)

    assert rows_in(place).to_pydict() == {"x": [1]}


# What a table may ask of those who write to it


def test_partitions_by_more_than_values_are_refused(place):
    table = place.catalog.create_table("ns.one", ONE)
    with table.update_spec() as spec:
        spec.add_field("x", "bucket[4]")

    with pytest.raises(TargetError, match=r"'x_bucket_4' by bucket\[4\]"):
        write_one(place)


@pytest.mark.parametrize("key", ["default", "column.x"])
def test_partitions_that_pyiceberg_would_not_find_are_refused(place, key):
    """Without metrics it would take every partition for null."""
    properties = {f"write.metadata.metrics.{key}": "counts"}
    table = place.catalog.create_table("ns.one", ONE, properties=properties)
    with table.update_spec() as spec:
        spec.add_identity("x")

    with pytest.raises(TargetError, match="counts for 'x'"):
        write_one(place)


# Rivals


def test_rows_that_a_rival_appends_meanwhile_are_not_mixed_in(place):
    write_job(place.target(), "a" * 32, A)
    files = Before(lambda: place.opened().append(make_part(99)))

    write_job(place.target("overwrite", files), "b" * 32, B)

    assert place.read().equals(rows_of(B))


def test_append_goes_on_after_the_append_of_a_rival(place):
    write_job(place.target(), "a" * 32, A)
    theirs = make_part(99)
    target = place.target("append")
    commit = target.log.commit
    happen = [theirs, theirs]

    def rival_comes_first(table, *rest):
        if happen:  # after the table was read
            place.opened().append(happen.pop())
        return commit(table, *rest)

    target.log.commit = rival_comes_first
    write_job(target, "b" * 32, B)

    assert not happen
    assert place.read().equals(rows_of(A, [theirs, theirs], B))
    assert place.leftovers() == []


def test_table_that_a_rival_makes_in_the_same_moment(place):
    theirs = make_part(99)

    def make():
        place.catalog.create_table("ns.scored", theirs.schema).append(theirs)

    with pytest.raises(TargetExistsError, match="has not written"):
        write_job(place.target(files=Before(make)), "a" * 32, A)

    assert place.read().equals(rows_of([theirs]))
    write_job(place.target("append"), "a" * 32, A)
    assert place.read().equals(rows_of([theirs], A))
    assert place.leftovers() == []


@pytest.mark.parametrize("mode", ["error", "append", "overwrite"])
def test_rival_that_does_the_same_job_is_noticed(place, mode):
    if mode != "error":
        write_job(place.target(), "a" * 32, A)
    files = Before(lambda: write_job(elsewhere(place.target(mode), 1), "b" * 32, B))

    write_job(place.target(mode, files), "b" * 32, B)

    assert place.read().equals(rows_of(A if mode == "append" else [], B))
    assert place.leftovers() == []


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_four_rivals_commit_a_job_once(place, mode):
    """By itself, pyiceberg repeats a failed commit: the job would be there 4 times."""
    write_job(place.target(), "a" * 32, A)
    n_snapshots = len(place.opened().snapshots())
    barrier = threading.Barrier(4)

    class Together(FileSystem):
        def perform(self, commit):
            if not barrier.broken:
                with contextlib.suppress(threading.BrokenBarrierError):
                    barrier.wait(10)
                barrier.abort()
            return super().perform(commit)

    def run(number):
        with contextlib.closing(IcebergPlace(place.folder)) as own:
            write_job(elsewhere(own.target(mode, Together()), number), "b" * 32, B)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    new = len(place.opened().snapshots()) - n_snapshots
    assert new == (1 if mode == "append" else 2)  # an overwrite deletes, and adds
    assert place.read().equals(rows_of(A if mode == "append" else [], B))
    assert place.leftovers() == []


# What becomes of the table afterwards


def test_job_is_forgotten_with_a_rollback(place):
    write_job(place.target(), "a" * 32, A)
    first = place.opened().current_snapshot().snapshot_id
    write_job(place.target("append"), "b" * 32, B)
    place.opened().manage_snapshots().rollback_to_snapshot(first).commit()
    assert place.read().equals(rows_of(A))

    write_job(place.target("append"), "b" * 32, B)

    assert place.read().equals(rows_of(A, B))


def test_files_are_looked_at_before_they_are_named(place):
    class Torn(FileSystem):
        def perform(self, commit):
            for path in place.folder.rglob("data/part-00000*"):
                os.truncate(path, path.stat().st_size - 1)
            return super().perform(commit)

    with pytest.raises(SourceError, match="nothing was committed"):
        write_job(place.target(files=Torn()), "a" * 32, A)

    assert place.read() is None
    write_job(place.target(), "a" * 32, A)
    assert place.read().equals(rows_of(A))


# How a table is named


def test_table_objects(place):
    write_job(place.target(), "a" * 32, A)
    old = place.opened()
    for _ in range(2):
        write_job(open_target("write", old, mode="append"), "b" * 32, B)

    assert place.read().equals(rows_of(A, B))


@pytest.mark.parametrize("name", ["sp ace", "ü%"])
def test_odd_paths(tmp_path, name):
    (tmp_path / name).mkdir()
    with opened("iceberg by day", tmp_path / name) as place:
        write_job(place.target(), "a" * 32, A)
        write_job(place.target("overwrite_partitions"), "b" * 32, B)

        assert place.read()["x"].to_pylist().count(-5.0) == 1
        assert place.leftovers() == []
    assert os.listdir(tmp_path) == [name]


def test_namespace_that_is_not_there(place):
    with pytest.raises(TargetError, match="create_namespace"):
        open_target("write", place.catalog, table="nowhere.t")


def test_name_without_a_namespace(place):
    with pytest.raises(TargetError, match="namespace and name"):
        open_target("write", place.catalog, table="t")


def test_partitions_of_the_table_are_taken(by_day):
    write_job(by_day.target(), "a" * 32, A)
    target = open_target("write", by_day.opened(), mode="append")
    assert target.options() == {"format": "iceberg", "partition_by": ["day"]}

    write_job(target, "b" * 32, B)

    assert by_day.read().equals(rows_of(A, B))


def test_warehouse_that_is_no_file_system(tmp_path):
    from pyiceberg.catalog.sql import SqlCatalog

    uri, warehouse = f"sqlite:///{tmp_path}/c.db", "s3://bucket/warehouse"
    with contextlib.closing(SqlCatalog("c", uri=uri, warehouse=warehouse)) as catalog:
        catalog.create_namespace("ns")
        with pytest.raises(TargetError, match="on a file system that all workers"):
            open_target("write", catalog, table="ns.t")
