"""Tables with random histories are read as they should be, in every version."""

from __future__ import annotations

import json
import os
import random

import pandas as pd
import pyarrow as pa
import pytest

import dfml
from dfml.sources._open import open_table
from tests import delta_log as log

SEEDS = range(8)
KEYS = ["a/b", "ü", "%2e", "x=1", None]


def read_all(table, names):
    schema = table.schema(names)
    read = [each for part in table.parts for each in part.read("read", schema)]
    return pa.concat_tables([schema.empty_table(), *read])


def in_any_order(rows):
    return sorted(repr(sorted(row.items())) for row in rows)


def check_frame(frame, n_rows):
    parts = [frame.partitions[i].compute() for i in range(frame.npartitions)]
    assert sum(map(len, parts)) == len(frame) == n_rows
    for part in parts:
        pd.testing.assert_series_equal(part.dtypes, frame.dtypes)


# Delta, against deltalake's own engine


def make_delta_rows(rng):
    n_rows = rng.randint(0, 30)
    columns = {
        "k": pa.array(rng.choices(KEYS, k=n_rows), pa.string()),
        "x": pa.array(rng.choices([None, *range(-5, 6)], k=n_rows), pa.int64()),
    }
    for name in "abc":
        if rng.random() < 0.4:
            values = [rng.choice([None, rng.random()]) for _ in range(n_rows)]
            columns[name] = pa.array(values, pa.float64())
    return pa.table(columns)


def delete_by_vector(rng, root, table):
    """Delete some rows of a file that has no deletion vector yet."""
    actions = [action for action in logged(root) if "add" in action]
    live = set(pa.table(table.get_add_actions()).column("path").to_pylist())
    files = {each["add"]["path"]: each["add"] for each in actions}
    plain = [f for path, f in files.items() if path in live and f.get("stats")]
    plain = [f for f in plain if not f.get("deletionVector")]
    plain = [f for f in plain if json.loads(f["stats"])["numRecords"]]
    if not plain:
        return
    file = rng.choice(plain)
    n_rows = json.loads(file["stats"])["numRecords"]
    rows = sorted(rng.sample(range(n_rows), rng.randint(1, n_rows)))
    vector = rng.choice([log.deleted_inline(rows), log.deleted_file(root, rows)])
    kept = ("path", "partitionValues", "size")
    removed = {name: file[name] for name in kept}
    removed |= {"dataChange": True, "deletionTimestamp": 1}
    log.commit(
        root,
        table.version() + 1,
        log.protocol("deletionVectors", "timestampNtz"),
        {"remove": removed},
        {"add": file | {"deletionVector": vector}},
    )


def logged(root):
    folder = os.path.join(root, "_delta_log")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json"):
            with open(os.path.join(folder, name)) as file:
                yield from map(json.loads, file)


def change_delta(rng, root):
    from deltalake import DeltaTable, write_deltalake

    table = DeltaTable(root)
    change = rng.choice(["append", "append", "delete", "compact", "check", "vector"])
    if change == "append":
        write_deltalake(root, make_delta_rows(rng), mode="append", schema_mode="merge")
    elif change == "delete":
        table.delete(f"x = {rng.randint(-5, 5)}")
    elif change == "compact":
        table.optimize.compact()
    elif change == "check":
        table.create_checkpoint()
    else:
        delete_by_vector(rng, root, table)


@pytest.mark.parametrize("seed", SEEDS)
def test_delta(tmp_path, seed):
    deltalake = pytest.importorskip("deltalake")
    rng, root = random.Random(seed), str(tmp_path / "table")
    by = rng.choice([None, ["k"]])
    deltalake.write_deltalake(root, make_delta_rows(rng), partition_by=by)
    for _ in range(rng.randint(1, 8)):
        change_delta(rng, root)

    for version in range(deltalake.DeltaTable(root).version() + 1):
        loaded = deltalake.DeltaTable(root, version=version)
        engine = deltalake.QueryBuilder().register("t", loaded)
        expected = pa.table(engine.execute("SELECT * FROM t")).to_pylist()
        table = open_table("read", loaded)
        rows = read_all(table, table.names).to_pylist()
        assert in_any_order(rows) == in_any_order(expected)
    check_frame(dfml.read_delta(root), len(rows))


# Iceberg, against what was written, by field id


class IcebergHistory:
    def __init__(self, folder, seed):
        from tests.iceberg_table import load_or_create

        self.rng = random.Random(seed)
        schema = pa.schema([("id", pa.int64()), ("x", pa.int32())])
        self.table = load_or_create(folder, schema)
        self.files = {}

    def change(self):
        change = self.rng.choice(["append", "append", "delete", "evolve"])
        getattr(self, change)()
        self.table.refresh()

    def append(self):
        schema = open_table("read", self.table).schema()
        n_rows = self.rng.randint(1, 20)
        columns = [
            self.rng.choices(
                [None, "s"] if pa.types.is_large_string(t) else [None, 7], k=n_rows
            )
            for t in schema.types
        ]
        arrays = [pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)]
        before = {task.file.file_path for task in self.table.scan().plan_files()}
        self.table.append(pa.Table.from_arrays(arrays, schema=schema))
        after = {task.file.file_path for task in self.table.scan().plan_files()}
        ids = [field.field_id for field in self.table.schema().fields]
        (new,) = after - before
        self.files[new] = [
            dict(zip(ids, row, strict=True)) for row in zip(*columns, strict=True)
        ]

    def delete(self):
        from tests.iceberg_table import delete_positions

        if not self.files:
            return
        chosen = self.rng.sample(
            sorted(self.files), self.rng.randint(1, len(self.files))
        )
        positions = {
            path: self.rng.sample(range(n), self.rng.randint(1, n))
            for path, n in ((path, len(self.files[path])) for path in chosen)
        }
        delete_positions(self.table, positions)
        for path, rows in positions.items():
            for row in rows:
                self.files[path][row] = None

    def evolve(self):
        from pyiceberg.types import IntegerType, LongType, StringType

        fields = self.table.schema().fields[1:]
        change = self.rng.choice(["add", "rename", "drop", "widen"])
        name = f"c{self.rng.randint(0, 9_999)}"
        with self.table.update_schema() as update:
            if change == "add" or not fields:
                update.add_column(name, self.rng.choice([LongType(), StringType()]))
                return
            field = self.rng.choice(fields)
            if change == "rename":
                update.rename_column(field.name, name)
            elif change == "drop":
                update.delete_column(field.name)
            elif isinstance(field.field_type, IntegerType):
                update.update_column(field.name, LongType())

    def rows(self):
        fields = self.table.schema().fields
        return [
            {field.name: row.get(field.field_id) for field in fields}
            for rows in self.files.values()
            for row in rows
            if row is not None
        ]


@pytest.mark.parametrize("seed", SEEDS)
def test_iceberg(tmp_path, seed):
    pytest.importorskip("pyiceberg")
    history = IcebergHistory(tmp_path / "lake", seed)
    for _ in range(6):
        history.change()

    table, expected = open_table("read", history.table), history.rows()

    rows = read_all(table, table.names).to_pylist()
    assert in_any_order(rows) == in_any_order(expected)
    for name in table.names:
        values = read_all(table, [name])[name].to_pylist()
        assert sorted(map(repr, values)) == sorted(repr(row[name]) for row in expected)
    check_frame(dfml.read_iceberg(history.table), len(expected))
