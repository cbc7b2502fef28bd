from __future__ import annotations

import datetime as dt
import glob
import os
import pickle
from decimal import Decimal

import dask
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dfml
from dfml.exceptions import ColumnMismatchError, InputTypeError, SourceError
from dfml.sources._open import open_table

pytest.importorskip("pyiceberg")

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from tests.iceberg_table import (
    delete_by_value,
    delete_positions,
    open_catalog,
    paths,
)


@pytest.fixture
def catalog(tmp_path):
    return open_catalog(tmp_path / "lake")


def make(catalog, *files, name="db.t"):
    table = catalog.create_table(name, files[0].schema)
    for rows in files:
        table.append(rows)
    return table


def read_all(source, names=None):
    table = open_table("read", source)
    schema = table.schema(table.names if names is None else names)
    read = [each for part in table.parts for each in part.read("read", schema)]
    assert sum(each.num_rows for each in read) == table.n_rows
    return pa.concat_tables([schema.empty_table(), *read])


def in_order(table):
    return sorted(map(repr, table.to_pylist()))


@pytest.fixture
def numbers(catalog):
    """Three files of 4 rows: 0 to 11, in the order of ``paths``."""
    rows = [pa.table({"x": pa.array(range(s, s + 4))}) for s in (0, 4, 8)]
    return make(catalog, *rows)


# What is read


def test_types(catalog):
    day, moment = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3, 4)
    fields = [
        (IntegerType(), [1, None], pa.int32()),
        (LongType(), [2**60 + 1, None], pa.int64()),
        (FloatType(), [0.5, None], pa.float32()),
        (DoubleType(), [0.5, None], pa.float64()),
        (BooleanType(), [True, None], pa.bool_()),
        (StringType(), ["ü", None], pa.large_string()),
        (BinaryType(), [b"\0", None], pa.large_binary()),
        (DateType(), [day, None], pa.date32()),
        (TimeType(), [moment.time(), None], pa.time64("us")),
        (TimestampType(), [moment, None], pa.timestamp("us")),
        (TimestamptzType(), [moment, None], pa.timestamp("us", "UTC")),
        (DecimalType(9, 2), [Decimal("1.25"), None], pa.decimal128(9, 2)),
        (UUIDType(), [bytes(range(16)), None], pa.uuid()),
        (ListType(99, IntegerType(), False), [[1, None], None], None),
    ]
    schema = Schema(*(NestedField(i + 1, f"c{i}", f[0]) for i, f in enumerate(fields)))
    table = catalog.create_table("db.types", schema)
    wanted = open_table("read", table).schema()
    rows = pa.Table.from_arrays(
        [pa.array(values, wanted.types[i]) for i, (_, values, _) in enumerate(fields)],
        schema=wanted,
    )
    table.append(rows)

    read = read_all(table)

    expected = [type_ for _, _, type_ in fields[:-1]]
    assert read.schema.types[:-1] == expected
    assert read.equals(rows)
    frame = dfml.read_iceberg(table)
    pd.testing.assert_series_equal(frame.compute().dtypes, frame.dtypes)


def test_schema_that_has_changed(catalog):
    table = make(catalog, pa.table({"a": pa.array([1], pa.int32()), "b": ["x"]}))
    with table.update_schema() as update:
        update.rename_column("a", "was_a")
    with table.update_schema() as update:
        update.add_column("a", DoubleType()).add_column("flag", BooleanType())
        update.update_column("was_a", LongType()).move_first("flag")
    table.append(pa.table({"flag": [True], "was_a": [2**40], "b": ["y"], "a": [0.5]}))

    read = read_all(table)

    assert read.schema.names == ["flag", "was_a", "b", "a"]
    expected = [
        {"flag": None, "was_a": 1, "b": "x", "a": None},
        {"flag": True, "was_a": 2**40, "b": "y", "a": 0.5},
    ]
    assert in_order(read) == sorted(map(repr, expected))
    for name in read.schema.names:
        assert in_order(read_all(table, [name])) == in_order(read.select([name]))
    assert read_all(table, ["a", "flag"]).schema.names == ["a", "flag"]


def test_dropped_column_that_comes_back_is_another(catalog):
    table = make(catalog, pa.table({"a": [1], "b": ["x"]}))
    with table.update_schema() as update:
        update.delete_column("a")
    with table.update_schema() as update:
        update.add_column("a", LongType())

    assert read_all(table).to_pylist() == [{"b": "x", "a": None}]


def test_partitions(catalog):
    schema = Schema(
        NestedField(1, "x", LongType()),
        NestedField(2, "day", DateType()),
        NestedField(3, "text", StringType()),
    )
    by = [(2, "day"), (3, "text")]
    spec = PartitionSpec(
        *(
            PartitionField(source, 1000 + source, IdentityTransform(), name)
            for source, name in by
        )
    )
    table = catalog.create_table("db.p", schema, partition_spec=spec)
    rows = pa.table(
        {
            "x": [1, 2, 3],
            "day": [dt.date(2024, 1, 1), None, dt.date(1960, 1, 1)],
            "text": ["a/b", "../%2e ü", None],
        }
    )
    table.append(rows)

    assert len(open_table("read", table).parts) == 3
    assert in_order(read_all(table)) == in_order(rows)


def test_parts_have_one_order(numbers, catalog):
    names = [part.key for part in open_table("read", numbers).parts]

    again = open_table("read", catalog.load_table("db.t"))

    assert names == sorted(names) == [part.key for part in again.parts]
    assert [part.number for part in again.parts] == [0, 1, 2]


def test_snapshots(numbers):
    first, *_ = numbers.snapshots()

    assert len(dfml.read_iceberg(numbers)) == 12
    assert len(dfml.read_iceberg(numbers, snapshot_id=first.snapshot_id)) == 4
    with pytest.raises(SourceError, match="Snapshot not found: 5"):
        dfml.read_iceberg(numbers, snapshot_id=5)


def test_metadata_file_is_a_table(numbers):
    path = numbers.metadata_location.removeprefix("file://")

    assert in_order(read_all(path)) == in_order(read_all(numbers))
    with pytest.raises(SourceError, match="files of the Iceberg table"):
        open_table("read", numbers.location().removeprefix("file://"))
    with pytest.raises(SourceError, match="metadata file of an Iceberg table"):
        open_table("read", "nothing.metadata.json")


def test_table_without_rows(catalog):
    table = catalog.create_table("db.e", pa.schema([("x", pa.int64())]))

    assert open_table("read", table).version()["snapshot"] is None
    assert len(dfml.read_iceberg(table)) == 0
    assert dfml.read_iceberg(table).compute().dtypes.astype(str).tolist() == ["int64"]


# Deletes


def test_positional_deletes(numbers):
    first, second, third = paths(numbers)
    delete_positions(numbers, {first: [0, 3], third: [1]})
    delete_positions(numbers, {second: [0, 1, 2, 3], first: [0, 1]})

    assert sorted(read_all(numbers)["x"].to_pylist()) == [2, 8, 10, 11]
    table = open_table("read", numbers)
    assert sorted(part.n_rows for part in table.parts) == [1, 3]
    frame = dfml.read_iceberg(numbers)
    assert frame.compute().index.tolist() == list(range(4))
    assert numbers.scan().count() == 4


def test_equality_deletes_are_refused(numbers):
    delete_by_value(numbers, "x", [3])

    with pytest.raises(SourceError, match=r"equality deletes in 'db\.t'"):
        open_table("read", numbers)


def test_missing_delete_file_is_an_error(numbers):
    delete_positions(numbers, {paths(numbers)[0]: [0]})
    (path,) = glob.glob(f"{numbers.location().removeprefix('file://')}/*/*deletes.*")
    os.remove(path)

    with pytest.raises(SourceError, match=r"deletes\.parquet"):
        open_table("read", numbers)


# What is refused


@pytest.mark.parametrize("how", ["removed", "truncated", "other rows"])
def test_broken_file_is_named_with_its_part(numbers, how):
    frame = dfml.read_iceberg(numbers)
    path = open_table("read", numbers).parts[1].key[0].removeprefix("file://")
    if how == "removed":
        os.remove(path)
    elif how == "truncated":
        os.truncate(path, 100)
    else:
        pq.write_table(pq.read_table(path).slice(1), path)

    with pytest.raises(SourceError, match=rf"{os.path.basename(path)}' \(part 1\)"):
        frame.compute()


def test_null_that_the_statistics_do_not_know_is_an_error(numbers):
    frame = dfml.read_iceberg(numbers)
    path = open_table("read", numbers).parts[0].key[0].removeprefix("file://")
    rows = pq.read_table(path)
    nulls = pa.Table.from_arrays([pa.nulls(4, pa.int64())], schema=rows.schema)
    pq.write_table(nulls, path)
    assert frame.dtypes["x"] == "int64"

    with pytest.raises(SourceError, match=r"no null in \['x'\].*\(part 0\)"):
        frame.compute()


def test_other_objects(numbers):
    with pytest.raises(InputTypeError, match="Got int"):
        dfml.read_iceberg(5)
    with pytest.raises(ColumnMismatchError, match="nope"):
        dfml.read_iceberg(numbers, columns=["nope"])


# As a dask DataFrame


def test_frame(catalog):
    rows = pa.table({"id": [0, 1], "n": [5, None], "ok": [True, False]})
    table = make(catalog, rows, rows)
    with table.update_schema() as update:
        update.add_column("t", StringType())

    frame = dfml.read_iceberg(table)

    assert (frame.npartitions, frame.divisions) == (2, (0, 2, 3))
    assert frame.dtypes.astype(str).to_dict() == {
        "id": "int64",
        "n": "Int64",
        "ok": "bool",
        "t": "str",
    }
    assert frame["n"].sum().compute() == 10
    assert len(frame) == 4
    assert frame._name == dfml.read_iceberg(catalog.load_table("db.t"))._name
    assert dfml.read_iceberg(table, columns=["t", "id"]).columns.tolist() == ["t", "id"]


def test_parts_are_small_to_send(numbers):
    for number in range(20):
        numbers.append(pa.table({"x": [number]}))
    part = open_table("read", numbers).parts[0]

    assert len(pickle.dumps(part)) < 8_000


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(numbers, scheduler):
    delete_positions(numbers, {paths(numbers)[0]: [0]})
    frame = dfml.read_iceberg(numbers)
    expected = frame.compute()
    with dask.config.set(scheduler=scheduler, num_workers=2):
        pd.testing.assert_frame_equal(frame.compute(), expected)
