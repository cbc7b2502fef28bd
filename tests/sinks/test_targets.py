"""What every kind of target keeps: all or nothing, once, resumed, and nothing left."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pytest

from dfml.exceptions import (
    DiskFullError,
    InputTypeError,
    SourceError,
    TargetError,
    TargetExistsError,
)
from dfml.sinks._files import FileSystem
from dfml.sinks._targets import MODES, open_target
from tests.sinks.places import PLACES, SCHEMA, in_order, make_part, opened, write_job

A = [make_part(0, 1, 2, 3, 4), make_part(5, 6), make_part()]
B = [make_part(0, 1, 2, 3, 4, scale=-1.0), make_part(5, 6, scale=-1.0)]


def rows_of(*parts):
    return in_order(pa.concat_tables([rows for part in parts for rows in part]))


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    with opened(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=[kind for kind in PLACES if "append" in PLACES[kind].modes])
def appendable(request, tmp_path):
    with opened(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=["delta by day", "iceberg by day"])
def by_day(request, tmp_path):
    with opened(request.param, tmp_path) as found:
        yield found


def test_rows_are_written_once(place):
    report = write_job(place.target(), "a" * 32, A)

    assert place.read().equals(rows_of(A))
    for mode in place.modes:
        again = write_job(place.target(mode), "a" * 32, A)
        assert again == report
    assert place.read().equals(rows_of(A))
    assert place.leftovers() == []


def test_table_with_rows_is_not_touched_unasked(place):
    write_job(place.target(), "a" * 32, A)

    with pytest.raises(TargetExistsError, match=r'mode="overwrite"'):
        write_job(place.target(), "b" * 32, B)

    assert place.read().equals(rows_of(A))
    assert place.leftovers() == []


def test_overwrite(place):
    write_job(place.target(), "a" * 32, A)

    write_job(place.target("overwrite"), "b" * 32, B)
    assert place.read().equals(rows_of(B))
    assert place.target("overwrite").committed("a" * 32) is None

    write_job(place.target("overwrite"), "a" * 32, A)  # another time
    assert place.read().equals(rows_of(A))
    assert place.leftovers() == []


def test_append(appendable):
    write_job(appendable.target("append"), "a" * 32, A)
    write_job(appendable.target("append"), "b" * 32, B)
    write_job(appendable.target("append"), "a" * 32, A)

    assert appendable.read().equals(rows_of(A, B))

    write_job(appendable.target("append"), "a" * 32, A, resume=False)

    assert appendable.read().equals(rows_of(A, A, B))
    assert appendable.leftovers() == []


@pytest.mark.parametrize("mode", ["append", "overwrite"])
@pytest.mark.parametrize("before", [0, 1])
def test_rival_that_commits_between_looking_and_staging_is_noticed(
    appendable, mode, before
):
    job = "a" * 32
    for _ in range(before):
        write_job(appendable.target("append"), "b" * 32, B)
    target = appendable.target(mode)
    assert target.committed(job) is None
    write_job(appendable.target(mode), job, A)  # by somebody without a common lock
    staged = target.stage(job, {}, SCHEMA, resume=True)
    parts = [staged.write_rows(number, [rows]) for number, rows in enumerate(A)]
    records = [staged.finish_part(part) for part in parts]
    target.commit(staged, staged.check_complete(records), {"rows": 7})

    others = [B] * before if mode == "append" else []
    assert appendable.read().equals(rows_of(A, *others))


def test_overwrite_partitions(by_day):
    write_job(by_day.target(), "a" * 32, A)
    some = [make_part(0, 4, scale=-1.0), make_part(1, scale=-1.0)]  # mon, and null

    for _ in range(2):
        write_job(by_day.target("overwrite_partitions"), "b" * 32, some)

    assert by_day.read().equals(rows_of([make_part(2, 3, 6)], some))
    assert by_day.leftovers() == []


def test_rows_of_others_in_a_partition_are_overwritten(by_day):
    some = [make_part(0, 4)]  # mon
    write_job(by_day.target("overwrite_partitions"), "a" * 32, some)
    write_job(by_day.target("append"), "b" * 32, [make_part(8, 1)])  # mon, and null

    write_job(by_day.target("overwrite_partitions"), "a" * 32, some)

    assert by_day.read().equals(rows_of(some, [make_part(1)]))
    assert by_day.leftovers() == []


def test_overwriting_no_partition_changes_nothing(by_day):
    write_job(by_day.target(), "a" * 32, A)

    write_job(by_day.target("overwrite_partitions"), "b" * 32, [make_part()])

    assert by_day.read().equals(rows_of(A))


@pytest.mark.parametrize("mode", MODES)
def test_what_a_target_cannot_do_it_refuses_by_name(place, mode):
    is_whole = mode == "overwrite_partitions" and not place.by_day
    if mode in place.modes and not is_whole:
        place.target(mode).check_early()
        return

    with pytest.raises(TargetError, match=mode):
        place.target(mode).check_early()


@pytest.mark.parametrize("mode", ["error", "overwrite", "append"])
def test_no_rows_make_an_empty_table(place, mode):
    if mode not in place.modes:
        return
    for _ in range(2):
        report = write_job(place.target(mode), "a" * 32, [make_part()])

    assert report["rows"] == 0
    found = place.table()
    assert found.num_rows == 0
    assert sorted(found.column_names) == sorted(SCHEMA.names)
    assert place.leftovers() == []
    write_job(place.target("overwrite"), "b" * 32, B)
    assert place.read().equals(rows_of(B))
    write_job(place.target("overwrite"), "a" * 32, [make_part()])
    assert place.read().num_rows == 0


class Stops(FileSystem):
    """Fails at the commit, whatever that is."""

    def perform(self, *_):
        raise OSError(errno.EIO, "stopped")

    rename = exchange = perform


def test_finished_parts_are_not_written_again(place):
    with pytest.raises(OSError, match="stopped"):
        write_job(place.target(files=Stops()), "a" * 32, A)
    assert place.read() is None

    class Counting(FileSystem):
        names = []  # noqa: RUF012

        def create(self, path):
            self.names.append(os.path.basename(path))
            return super().create(path)

    write_job(place.target(files=Counting()), "a" * 32, A)

    assert place.read().equals(rows_of(A))
    written = [n for n in Counting.names if n.startswith("part-0000")]
    assert not any(name.startswith(("part-00000", "part-00001")) for name in written)
    assert place.leftovers() == []


@pytest.mark.parametrize("resume", [True, False])
def test_work_of_another_job_is_removed_with_the_next_table(place, resume):
    with pytest.raises(OSError, match="stopped"):
        write_job(place.target(files=Stops()), "a" * 32, A)

    write_job(place.target("overwrite"), "b" * 32, B, resume=resume)

    assert place.read().equals(rows_of(B))
    assert place.leftovers() == []


def test_work_of_another_job_outlives_an_append(appendable):
    with pytest.raises(OSError, match="stopped"):
        write_job(appendable.target("append", Stops()), "a" * 32, A)

    write_job(appendable.target("append"), "b" * 32, B)
    staged = appendable.target("append").stage("a" * 32, {}, SCHEMA, resume=True)
    assert len(staged.records()) == 3

    write_job(appendable.target("append"), "a" * 32, A)
    assert appendable.read().equals(rows_of(A, B))
    assert appendable.leftovers() == []


def test_from_nothing(place):
    with pytest.raises(OSError, match="stopped"):
        write_job(place.target(files=Stops()), "a" * 32, A)

    write_job(place.target(), "a" * 32, A, resume=False)

    assert place.read().equals(rows_of(A))
    assert place.leftovers() == []


def test_full_disk_says_so_and_touches_nothing(place):
    write_job(place.target(), "a" * 32, A)

    class FullAtPart(FileSystem):
        def sync(self, file):
            if "part-00001" in file.name:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().sync(file)

    with pytest.raises(DiskFullError, match="bytes free") as caught:
        write_job(place.target("overwrite", FullAtPart()), "b" * 32, B)
    assert caught.value.errno == errno.ENOSPC
    assert "finished parts are kept" in str(caught.value)
    assert place.read().equals(rows_of(A))

    write_job(place.target("overwrite"), "b" * 32, B)
    assert place.read().equals(rows_of(B))
    assert place.leftovers() == []


def test_second_call_of_the_same_job_is_refused(place):
    with (
        place.target().locked("a" * 32),
        pytest.raises(TargetExistsError, match="the only one"),
    ):
        write_job(place.target(), "a" * 32, A)


def test_lost_files_are_noticed(place):
    target = place.target()
    with target.locked("a" * 32):
        staged = target.stage("a" * 32, {}, SCHEMA, resume=True)
        record = staged.finish_part(staged.write_rows(0, [A[0]]))
        os.remove(os.path.join(staged.data, record.files[0].path))

        with pytest.raises(SourceError, match="every worker shares"):
            staged.check_complete([record])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.append(pa.field("more", pa.int64())), "lacks 'more'"),
        (lambda s: s.remove(0), "has 'id' too"),
        (lambda s: s.set(2, pa.field("x", pa.int64())), "has 'x' as"),
    ],
)
def test_append_of_other_columns_lists_the_differences(appendable, change, told):
    write_job(appendable.target(), "a" * 32, A)
    schema = change(SCHEMA)

    with pytest.raises(TargetError, match=told):
        write_job(
            appendable.target("append"), "b" * 32, [schema.empty_table()], schema=schema
        )

    assert appendable.read().equals(rows_of(A))


def test_columns_in_another_order_are_found_by_name(appendable):
    write_job(appendable.target(), "a" * 32, A)
    names = ["x", "day", "id"]
    schema = pa.schema([SCHEMA.field(name) for name in names])

    write_job(
        appendable.target("append"),
        "b" * 32,
        [part.select(names) for part in B],
        schema=schema,
    )

    assert appendable.read().equals(rows_of(A, B))


# What is no target


@pytest.mark.parametrize("target", [3, None, object(), pa.table({"x": [1]})])
def test_no_target(target):
    with pytest.raises(InputTypeError, match="a target that is a path"):
        open_target("write", target)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"table": "scored"}, "leave table= out"),
        ({"format": "duckdb"}, "pass the name"),
        ({"format": "delta", "table": "scored"}, "leave table= out"),
    ],
)
def test_name_of_a_table_goes_with_what_holds_many(tmp_path, options, match):
    with pytest.raises(TargetError, match=match):
        open_target("write", tmp_path / "out", **options)


@pytest.mark.parametrize("format", [None, "parquet", "delta"])
def test_object_stores_and_empty_paths_are_refused(format):
    with pytest.raises(TargetError, match="on a file system that all workers share"):
        open_target("write", "s3://bucket/out", format=format)
    with pytest.raises(TargetError, match="an empty text"):
        open_target("write", "", format=format)


def test_format_of_an_object_is_what_it_is(tmp_path):
    place = PLACES["delta"](tmp_path)
    write_job(place.target(), "a" * 32, A)

    with pytest.raises(InputTypeError, match="DeltaTable with format='parquet'"):
        open_target("write", place.opened(), format="parquet")


def test_folder_with_a_log_is_delta(tmp_path):
    place = PLACES["delta"](tmp_path)
    write_job(place.target(), "a" * 32, A)

    found = open_target("write", tmp_path / "delta", mode="overwrite")
    write_job(found, "b" * 32, B)

    assert place.read().equals(rows_of(B))


def test_partitions_that_a_table_does_not_have(appendable):
    if appendable.by_day:
        write_job(appendable.target(), "a" * 32, A)
        other = {**appendable.options(), "partition_by": ["id"]}
        with pytest.raises(TargetError, match=r"partition_by=\['day'\]"):
            open_target("write", **other).check_early()
        return
    options = {**appendable.options(), "partition_by": ["nope"]}
    with pytest.raises(TargetError, match=r"nope|no partitions"):
        open_target("write", **options).stage("a" * 32, {}, SCHEMA, resume=True)
