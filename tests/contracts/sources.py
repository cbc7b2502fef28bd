"""The sources that must keep the contract, each made from the same files of rows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import dfml
from tests import delta_log as log

if TYPE_CHECKING:
    from collections.abc import Callable

DELTA_TYPES = {
    pa.int64(): "long",
    pa.int32(): "integer",
    pa.int16(): "short",
    pa.int8(): "byte",
    pa.float64(): "double",
    pa.float32(): "float",
    pa.bool_(): "boolean",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp_ntz",
    pa.timestamp("us", "UTC"): "timestamp",
    pa.decimal128(9, 2): "decimal(9,2)",
}


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    Parameters
    ----------
    name : str
        For the ids of tests.
    make : callable
        From a folder, a schema and tables, each of which becomes a file. It may be
        called again, with the same tables or with others.
    read : callable, optional
        Gives the source as a dask DataFrame.
    """

    name: str
    make: Callable[[Any, Any, list[Any]], Any]
    read: Callable[[Any], Any] | None = None


def make_parquet(folder, schema, tables):
    lake = folder / "parquet"
    lake.mkdir(exist_ok=True)
    for number, rows in enumerate(tables):
        path = lake / f"{number}.parquet"
        if not path.exists() or not pq.read_table(path).equals(rows):
            pq.write_table(rows, path)
    return str(lake)


def make_delta(folder, schema, tables):
    """A table whose files are what they are: nobody has looked at their types."""
    root = str(folder / "delta")
    if not os.path.exists(root):
        fields = [log.field(each.name, DELTA_TYPES[each.type]) for each in schema]
        features = ["timestampNtz"]
        log.commit(root, 0, log.protocol(*features), log.metadata(fields))
    version = len(os.listdir(f"{root}/_delta_log")) - 1
    for number, rows in enumerate(tables[version:], version):
        added = log.add(root, f"{number}.parquet", rows, time=number)
        log.commit(root, number + 1, added)
    return root


def make_iceberg(folder, schema, tables):
    from tests.iceberg_table import load_or_create

    table = load_or_create(folder / "iceberg", schema)
    done = len(table.snapshots())
    for number, rows in enumerate(tables[done:], done):
        path = f"{table.location().removeprefix('file://')}/data/{number}.parquet"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pq.write_table(rows, path)
        table.add_files([f"file://{path}"])
    return table


def make_query(folder, schema, tables):
    connection = duckdb.connect()
    rows = pa.concat_tables([each.cast(schema) for each in tables])
    return connection.from_arrow(rows)


KINDS = [
    Kind("parquet", make_parquet),
    Kind("delta", make_delta, dfml.read_delta),
    Kind("iceberg", make_iceberg, dfml.read_iceberg),
    Kind("query", make_query, dfml.read_sql),
]
