from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import threading
import time

import pyarrow as pa
import pytest

from dfml.exceptions import SourceError, TargetError, TargetExistsError
from dfml.sinks import _lake
from dfml.sinks._files import FileSystem
from dfml.sinks._targets import open_target
from tests.delta_log import commit, deleted_inline
from tests.sinks.places import DeltaByDay, DeltaPlace, make_part, write_job
from tests.sinks.test_targets import A, B, rows_of

deltalake = pytest.importorskip("deltalake")

ODD = ["../../x", "a/b", "%2F", "a=b", " ", "é", "'", "__HIVE_DEFAULT_PARTITION__"]


@pytest.fixture
def place(tmp_path):
    return DeltaPlace(tmp_path)


@pytest.fixture
def by_day(tmp_path):
    return DeltaByDay(tmp_path)


def create(path, schema, configuration=None, partition_by=None):
    return deltalake.DeltaTable.create(
        path,
        deltalake.Schema.from_arrow(schema),
        configuration=configuration,
        partition_by=partition_by,
    )


def scan(path):
    return pa.table(deltalake.DeltaTable(path).scan())


class Before(FileSystem):
    """Lets something happen between the last look at the table and the commit."""

    def __init__(self, *happen):
        self.happen = list(happen)

    def perform(self, commit):
        if self.happen:
            self.happen.pop(0)()
        return super().perform(commit)


# What is in the log


def test_commit_names_the_job(place):
    report = write_job(place.target(), "a" * 32, A)

    table = place.opened()
    assert table.version() == 0
    assert table.transaction_version("dfml:" + "a" * 32) == 1
    (noted,) = table.history()
    assert json.loads(noted["dfml.report"]) == report
    assert noted["dfml.job"] == "a" * 32
    actions = pa.table(table.get_add_actions(flatten=True)).sort_by("path").to_pylist()
    assert [each["num_records"] for each in actions] == [5, 2]
    assert [each["max.id"] for each in actions] == [4, 6]
    assert [each["min.day"] for each in actions] == ["a/b", "tue"]
    assert [each["null_count.day"] for each in actions] == [1, 1]
    assert "min.x" not in actions[0] or actions[0]["min.x"] is None  # of floats: none
    assert "aaaaaaaa" in actions[0]["path"]


def test_readers_may_trust_the_statistics(place):
    write_job(place.target(), "a" * 32, A)

    found = deltalake.QueryBuilder().register("t", place.opened())
    rows = pa.table(found.execute("SELECT x FROM t WHERE id >= 5 AND day = 'mon'"))
    assert rows.num_rows == 0
    rows = pa.table(found.execute("SELECT x FROM t WHERE id > 3 AND day = 'mon'"))
    assert rows["x"].to_pylist() == [4.0]


def test_odd_partition_values_come_back(tmp_path):
    values = [*ODD, "z" * 300, None]
    table = pa.table({"day": pa.array(values), "x": range(len(values))})
    target = open_target("write", tmp_path / "t", format="delta", partition_by=["day"])

    write_job(target, "a" * 32, [table], schema=table.schema)

    found = scan(tmp_path / "t").to_pydict()
    assert dict(zip(found["x"], found["day"], strict=True)) == dict(enumerate(values))
    assert os.listdir(tmp_path) == ["t"]
    assert not any(os.path.isdir(path) for path in tmp_path.glob("t/[!_]*"))


def test_empty_partition_value_is_refused(tmp_path):
    table = pa.table({"day": ["a", ""], "x": [1, 2]})
    target = open_target("write", tmp_path / "t", format="delta", partition_by=["day"])

    with pytest.raises(TargetError, match="an empty text"):
        write_job(target, "a" * 32, [table], schema=table.schema)


def test_partitions_by_numbers_flags_and_dates(tmp_path):
    day = dt.date(2024, 2, 29)
    table = pa.table(
        {"i": [1, None], "b": [True, None], "d": pa.array([day, None]), "x": [1, 2]}
    )
    options = {"format": "delta", "partition_by": ["i", "b", "d"]}
    target = open_target("write", tmp_path / "t", **options)
    write_job(target, "a" * 32, [table], schema=table.schema)
    target = open_target("write", tmp_path / "t", mode="overwrite_partitions")
    again = table.set_column(3, "x", pa.array([3, 4])).slice(0, 1)
    write_job(target, "b" * 32, [again], schema=table.schema)

    found = scan(tmp_path / "t").sort_by("x").to_pydict()
    assert found == {"i": [None, 1], "b": [None, True], "d": [None, day], "x": [2, 3]}


def test_partitions_that_others_wrote_are_overwritten(tmp_path):
    values = ["a b/%2F", "ü*", None, "kept"]
    theirs = pa.table({"day": values, "x": range(4)})
    deltalake.write_deltalake(tmp_path / "t", theirs, partition_by=["day"])
    ours = pa.table({"day": values[:3], "x": [10, 11, 12]})
    target = open_target("write", tmp_path / "t", mode="overwrite_partitions")

    write_job(target, "a" * 32, [ours], schema=ours.schema)

    assert sorted(scan(tmp_path / "t")["x"].to_pylist()) == [3, 10, 11, 12]


def test_column_types_are_held_without_loss(tmp_path):
    table = pa.table(
        {
            "u8": pa.array([255], pa.uint8()),
            "u32": pa.array([2**32 - 1], pa.uint32()),
            "half": pa.array([0.5], pa.float16()),
            "kind": pa.array(["a"]).dictionary_encode(),
            "text": pa.array(["a"], pa.large_string()),
            "second": pa.array([1], pa.timestamp("s")),
            "nano": pa.array([1000], pa.timestamp("ns", "Europe/Vienna")),
            "day": pa.array([86_400_000], pa.date64()),
            "fixed": pa.array([b"ab"], pa.binary(2)),
            "price": pa.array([1], pa.decimal128(20, 2)),
            "tags": pa.array([[1]], pa.list_(pa.uint8())),
            "point": pa.array([{"x": 1}], pa.struct([("x", pa.uint16())])),
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
        }
    )
    target = open_target("write", tmp_path / "t", format="delta")
    for job in "ab":
        write_job(target, job * 32, [table], schema=table.schema)
        target = open_target("write", tmp_path / "t", mode="append")

    found = scan(tmp_path / "t")
    assert found.num_rows == 2
    first = found.slice(0, 1).to_pydict()
    assert first == {**table.to_pydict(), "nano": first["nano"]}
    assert first["nano"][0] == dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)
    assert str(found.schema.field("u8").type) == "int16"
    assert str(found.schema.field("u32").type) == "int64"


@pytest.mark.parametrize(
    "type_",
    [
        pa.uint64(),
        pa.null(),
        pa.duration("us"),
        pa.time64("us"),
        pa.decimal256(50, 3),
        pa.list_(pa.uint64()),
        pa.struct([("a", pa.null())]),
    ],
)
def test_column_types_that_delta_lacks(tmp_path, type_):
    schema = pa.schema([("ok", pa.int64()), ("wrong", type_)])
    target = open_target("write", tmp_path / "t", format="delta")

    with pytest.raises(TargetError, match=r"Delta has a type for. Got wrong: "):
        write_job(target, "a" * 32, [schema.empty_table()], schema=schema)

    assert os.listdir(tmp_path) == []


def test_values_are_not_rounded(tmp_path):
    table = pa.table({"t": pa.array([1], pa.timestamp("ns"))})
    target = open_target("write", tmp_path / "t", format="delta")

    with pytest.raises(TargetError, match="'t' that fit the table's timestamp"):
        write_job(target, "a" * 32, [table], schema=table.schema)


def test_columns_without_nulls_stay_so(tmp_path):
    schema = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    create(tmp_path / "t", schema)
    target = open_target("write", tmp_path / "t", mode="append")
    write_job(
        target, "a" * 32, [pa.table({"x": [1]})], schema=pa.table({"x": [1]}).schema
    )

    nulls = pa.table({"x": pa.array([None], pa.int64())})
    with pytest.raises(TargetError, match=r"no null in column 'x'.*Got 1 nulls"):
        write_job(target, "b" * 32, [nulls], schema=nulls.schema)

    assert scan(tmp_path / "t").to_pydict() == {"x": [1]}


# What a table may ask of those who write to it

ONE = pa.schema([("x", pa.int64())])


def write_one(path, mode="append"):
    rows = pa.table({"x": [1]})
    write_job(open_target("write", path, mode=mode), "a" * 32, [rows], schema=ONE)


@pytest.mark.parametrize(
    ("configuration", "mode", "match"),
    [
        ({"delta.enableChangeDataFeed": "true"}, "append", "a change data feed"),
        ({"delta.columnMapping.mode": "name"}, "append", "column mapping"),
        ({"delta.appendOnly": "true"}, "overwrite", "rows that stay"),
    ],
)
def test_demands_of_a_table_are_refused_by_name(tmp_path, configuration, mode, match):
    create(tmp_path / "t", ONE, configuration)

    with pytest.raises(TargetError, match=match):
        open_target("write", tmp_path / "t", mode=mode).check_early()
    with pytest.raises(TargetError, match=match):
        write_one(tmp_path / "t", mode)
    assert scan(tmp_path / "t").num_rows == 0


def test_constraints_generated_columns_and_invariants(tmp_path):
    table = create(tmp_path / "a", ONE)
    table.alter.add_constraint({"positive": "x > 0"})
    made = {"delta.generationExpression": "x + 1"}
    create(tmp_path / "b", ONE.append(pa.field("y", pa.int64(), metadata=made)))
    rule = {"delta.invariants": '{"expression": {"expression": "x > 3"}}'}
    create(tmp_path / "c", pa.schema([pa.field("x", pa.int64(), metadata=rule)]))

    for name, match in [
        ("a", "check constraints"),
        ("b", "generated columns"),
        ("c", "invariants"),
    ]:
        with pytest.raises(TargetError, match=match):
            open_target("write", tmp_path / name, mode="append").check_early()


def test_unknown_features_are_refused_by_name(tmp_path):
    create(tmp_path / "t", ONE, {"delta.enableDeletionVectors": "true"})
    log = tmp_path / "t" / "_delta_log" / "00000000000000000000.json"
    text = log.read_text()
    log.write_text(text.replace('"appendOnly"', '"appendOnly","rowTracking"'))

    with pytest.raises(TargetError, match="rowTracking"):
        open_target("write", tmp_path / "t", mode="append").check_early()


def test_append_only_tables_are_appended_to(tmp_path):
    create(tmp_path / "t", ONE, {"delta.appendOnly": "true"})
    write_one(tmp_path / "t")

    assert scan(tmp_path / "t").to_pydict() == {"x": [1]}


def delete_rows_of(path, numbers):
    """Write a commit that deletes some rows of the only file by a deletion vector."""
    log = path / "_delta_log"
    version = len(list(log.glob("*.json")))
    lines = (log / f"{version - 1:020}.json").read_text().splitlines()
    (add,) = (json.loads(line)["add"] for line in lines if '"add"' in line)
    gone = {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}
    again = {**add, "deletionVector": deleted_inline(numbers)}
    commit(path, version, {"remove": gone}, {"add": again})


# Rivals


def test_rows_that_a_rival_appends_meanwhile_are_not_mixed_in(place):
    write_job(place.target(), "a" * 32, A)
    theirs = make_part(99)
    files = Before(
        lambda: deltalake.write_deltalake(place.opened(), theirs, mode="append")
    )

    write_job(place.target("overwrite", files), "b" * 32, B)

    assert place.read().equals(rows_of(B))
    assert place.opened().version() == 2


def test_append_goes_on_after_the_append_of_a_rival(place):
    write_job(place.target(), "a" * 32, A)
    theirs = make_part(99)
    files = Before(
        *2 * [lambda: deltalake.write_deltalake(place.opened(), theirs, mode="append")]
    )

    write_job(place.target("append", files), "b" * 32, B)

    assert place.read().equals(rows_of(A, [theirs, theirs], B))


def test_columns_that_a_rival_adds_are_noticed(place):
    write_job(place.target(), "a" * 32, A)

    def add():
        more = deltalake.Schema.from_arrow(pa.schema([("more", pa.int64())]))
        place.opened().alter.add_columns(list(more.fields))

    with pytest.raises(TargetError, match="has 'more' too"):
        write_job(place.target("append", Before(add)), "b" * 32, B)

    assert place.opened().version() == 1


def test_table_that_a_rival_makes_in_the_same_moment(place):
    theirs = make_part(99)
    files = Before(lambda: deltalake.write_deltalake(place.folder / "delta", theirs))
    with pytest.raises(TargetExistsError, match="has not written"):
        write_job(place.target(files=files), "a" * 32, A)

    assert place.read().equals(rows_of([theirs]))
    write_job(place.target("append"), "a" * 32, A)
    assert place.read().equals(rows_of([theirs], A))
    assert place.leftovers() == []


@pytest.mark.parametrize("change", ["partitions", "nulls"])
def test_table_that_a_rival_makes_in_another_way(place, change):
    theirs = make_part(99)

    def make():
        path = place.folder / "delta"
        if change == "partitions":
            deltalake.write_deltalake(path, theirs, partition_by=["day"])
        else:
            fields = [field.with_nullable(False) for field in theirs.schema]
            create(path, pa.schema(fields))

    with pytest.raises(TargetError, match="to stay what they were"):
        write_job(place.target("append", Before(make)), "a" * 32, A)

    assert place.opened().version() == 0
    if change == "partitions":
        write_job(place.target("append"), "a" * 32, A, resume=False)
        assert place.read().equals(rows_of([theirs], A))
        assert place.leftovers() == []


def elsewhere(target, number):
    """Stage as on another machine, where nobody sees the lock."""
    target._home.path += f"-{number}"
    return target


@pytest.mark.parametrize("mode", ["error", "append", "overwrite"])
def test_rival_that_does_the_same_job_is_noticed(place, mode):
    if mode != "error":
        write_job(place.target(), "a" * 32, A)
    files = Before(lambda: write_job(elsewhere(place.target(mode), 1), "b" * 32, B))

    write_job(place.target(mode, files), "b" * 32, B)

    old = A if mode == "append" else []
    assert place.read().equals(rows_of(old, B))
    assert place.opened().version() == (0 if mode == "error" else 1)
    assert place.leftovers() == []


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_four_rivals_commit_a_job_once(place, mode):
    write_job(place.target(), "a" * 32, A)
    barrier = threading.Barrier(4)

    class Together(FileSystem):
        def perform(self, commit):
            if not barrier.broken:
                with contextlib.suppress(threading.BrokenBarrierError):
                    barrier.wait(10)
                barrier.abort()
            return super().perform(commit)

    rivals = [elsewhere(place.target(mode, Together()), n) for n in range(4)]
    threads = [
        threading.Thread(target=write_job, args=(rival, "b" * 32, B))
        for rival in rivals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert place.opened().version() == 1
    assert place.read().equals(rows_of(A if mode == "append" else [], B))
    assert place.leftovers() == []


def test_jobs_that_append_at_once_all_do(place):
    write_job(place.target(), "0" * 32, [make_part(0)])
    parts = {f"{n:032}": [make_part(n)] for n in range(1, 7)}
    threads = [
        threading.Thread(target=write_job, args=(place.target("append"), job, rows))
        for job, rows in parts.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert place.read()["id"].to_pylist() == list(range(7))
    assert place.leftovers() == []


def test_rivals_without_end_are_given_up_on(place, monkeypatch):
    monkeypatch.setattr(_lake, "_TRIES", 3)
    monkeypatch.setattr(_lake, "_MAX_SECONDS", 0.0)
    write_job(place.target(), "a" * 32, A)
    theirs = make_part(99)
    files = Before(
        *5 * [lambda: deltalake.write_deltalake(place.opened(), theirs, mode="append")]
    )

    with pytest.raises(TargetExistsError, match="succeed in 3 tries"):
        write_job(place.target("append", files), "b" * 32, B)

    write_job(place.target("append"), "b" * 32, B)
    assert place.read().equals(rows_of(A, 3 * [theirs], B))
    assert place.leftovers() == []


# What becomes of the table afterwards


@pytest.mark.parametrize("by_moment", [False, True])
def test_what_a_restore_has_undone_is_appended_again(place, by_moment):
    write_job(place.target(), "a" * 32, A)
    time.sleep(0.01)
    moment = dt.datetime.now(dt.UTC)
    time.sleep(0.01)
    write_job(place.target("append"), "b" * 32, B)

    place.opened().restore(moment if by_moment else 0)
    assert place.read().equals(rows_of(A))
    assert place.target("append").committed("a" * 32) is not None
    assert place.target("append").committed("b" * 32) is None

    for _ in range(2):
        write_job(place.target("append"), "b" * 32, B)
        assert place.read().equals(rows_of(A, B))

    place.opened().restore(1)  # what it was before the first restore
    assert place.target("append").committed("b" * 32) is not None
    assert place.leftovers() == []


def test_a_job_of_which_a_restore_has_left_one_copy_is_known(place):
    write_job(place.target(), "a" * 32, A)
    write_job(place.target("append"), "a" * 32, A, resume=False)
    assert place.read().equals(rows_of(A, A))

    place.opened().restore(0)

    assert place.target("append").committed("a" * 32) is not None
    write_job(place.target("append"), "a" * 32, A, resume=False)
    assert place.read().equals(rows_of(A, A))


def test_names_that_delta_takes_for_the_same(place):
    schema = pa.schema([("x", pa.int64()), ("X", pa.int64())])
    target = place.target()

    with pytest.raises(TargetError, match=r"\['x', 'X'\]"):
        target.stage("a" * 32, {}, schema, resume=True)


def test_compacted_and_vacuumed_tables_know_their_jobs(place):
    write_job(place.target(), "a" * 32, A)
    write_job(place.target("append"), "b" * 32, B)
    place.opened().optimize.compact()
    place.opened().vacuum(
        retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True
    )

    write_job(place.target("append"), "b" * 32, B)
    assert place.read().equals(rows_of(A, B))

    write_job(place.target("overwrite"), "b" * 32, B)
    assert place.read().equals(rows_of(B))


def test_vacuum_does_not_touch_what_is_staged(place):
    write_job(place.target(), "a" * 32, A)

    def vacuum():
        place.opened().vacuum(
            retention_hours=0, enforce_retention_duration=False, dry_run=False
        )

    write_job(place.target("append", Before(vacuum)), "b" * 32, B)

    assert place.read().equals(rows_of(A, B))


def test_job_is_known_when_its_report_is_gone(place):
    write_job(place.target(), "a" * 32, A)
    log = place.folder / "delta" / "_delta_log"
    place.opened().create_checkpoint()
    lines = (log / f"{0:020}.json").read_text().splitlines()
    kept = [line for line in lines if '"commitInfo"' not in line]
    (log / f"{0:020}.json").write_text("\n".join(kept) + "\n")

    assert place.target("append").committed("a" * 32) == {}
    assert place.target("overwrite").committed("a" * 32) is None  # cannot be sure


def test_files_are_looked_at_before_they_are_named(place):
    class Torn(FileSystem):
        def perform(self, commit):
            for path in (place.folder / "delta").glob("part-00000*"):
                os.truncate(path, path.stat().st_size - 1)
            return super().perform(commit)

    with pytest.raises(SourceError, match="nothing was committed"):
        write_job(place.target(files=Torn()), "a" * 32, A)

    assert place.read() is None
    write_job(place.target(), "a" * 32, A)
    assert place.read().equals(rows_of(A))


def test_rows_that_were_deleted_do_not_come_back(tmp_path):
    create(tmp_path / "t", ONE, {"delta.enableDeletionVectors": "true"})
    rows = pa.table({"x": range(10)})
    deltalake.write_deltalake(tmp_path / "t", rows, mode="append")
    delete_rows_of(tmp_path / "t", [0, 1, 2])
    assert scan(tmp_path / "t")["x"].to_pylist() == list(range(3, 10))

    write_one(tmp_path / "t", "overwrite")

    assert scan(tmp_path / "t").to_pydict() == {"x": [1]}


def test_partitions_with_deleted_rows_are_refused(tmp_path):
    schema = pa.schema([("day", pa.string()), ("x", pa.int64())])
    create(tmp_path / "t", schema, {"delta.enableDeletionVectors": "true"}, ["day"])
    rows = pa.table({"day": ["a", "a"], "x": [1, 2]})
    deltalake.write_deltalake(tmp_path / "t", rows, mode="append")
    delete_rows_of(tmp_path / "t", [0])
    target = open_target("write", tmp_path / "t", mode="overwrite_partitions")

    with pytest.raises(TargetError, match="without deleted rows"):
        write_job(target, "a" * 32, [rows], schema=schema)

    assert scan(tmp_path / "t").to_pydict() == {"day": ["a"], "x": [2]}
    other = pa.table({"day": ["b"], "x": [3]})
    write_job(target, "b" * 32, [other], schema=schema)
    assert sorted(scan(tmp_path / "t")["x"].to_pylist()) == [2, 3]


# How a table is named


@pytest.mark.parametrize("name", ["plain", "sp ace", "ü%", "a#b?"])
def test_table_objects_and_odd_paths(tmp_path, name):
    place = DeltaPlace(tmp_path / name)
    (tmp_path / name).mkdir()
    write_job(place.target(), "a" * 32, A)
    old = place.opened()
    write_job(open_target("write", old, mode="append"), "b" * 32, B)
    write_job(open_target("write", old, mode="append"), "b" * 32, B)  # at version 0

    assert place.read().equals(rows_of(A, B))
    assert os.listdir(tmp_path) == [name]


def test_paths_that_deltalake_does_not_find_are_refused(tmp_path):
    with pytest.raises(TargetError, match="without a percent sign"):
        open_target("write", tmp_path / "a%20b", format="delta")


def test_folder_of_other_things_is_no_place_for_a_table(tmp_path):
    """A vacuum of the new table would remove them."""
    import pyarrow.parquet as pq

    (tmp_path / "mine").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "mine" / "0.parquet")
    for mode in ["error", "append", "overwrite"]:
        target = open_target("write", tmp_path / "mine", format="delta", mode=mode)
        with pytest.raises(TargetExistsError, match=r"with \['0.parquet'\]"):
            target.check_early()
        with pytest.raises(TargetExistsError, match="empty or not there yet"):
            write_job(target, "a" * 32, A)
    (tmp_path / "file").write_text("mine")
    target = open_target("write", tmp_path / "file", format="delta")
    with pytest.raises(TargetExistsError, match="file', a file"):
        target.check_early()
    (tmp_path / "empty").mkdir()
    target = open_target("write", tmp_path / "empty", format="delta")
    assert write_job(target, "a" * 32, A)["rows"] == 7


def test_partitions_of_the_table_are_taken(by_day):
    write_job(by_day.target(), "a" * 32, A)
    target = open_target("write", by_day.folder / "delta", mode="append")
    assert target.options() == {"format": "delta", "partition_by": ["day"]}

    write_job(target, "b" * 32, B)

    assert by_day.read().equals(rows_of(A, B))


def test_table_on_a_file_system_of_its_own(place, monkeypatch):
    """A mounted volume: files cannot be renamed to it from beside it."""
    write_job(place.target(), "a" * 32, A)
    root = os.path.realpath(place.folder / "delta")
    stat = os.stat

    def mounted(path, *args, **options):
        found = stat(path, *args, **options)
        if path != root:
            return found
        return os.stat_result([*found[:2], found.st_dev + 1, *found[3:10]])

    monkeypatch.setattr(_lake.os, "stat", mounted)
    assert _lake._home_of(root) == os.path.join(root, ".dfml")
