"""Iceberg tables in a catalog of sqlite, and deletes that pyiceberg does not write."""

from __future__ import annotations

import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.typedef import Record
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool


def make_catalog(folder, warehouse):
    """A catalog that keeps no connection open: its tables outlive any ``close``."""
    uri = f"sqlite:///{folder}/catalog.db"
    catalog = SqlCatalog("lake", uri=uri, warehouse=f"file://{warehouse}")
    catalog.close()
    catalog.engine = create_engine(uri, poolclass=NullPool)
    return catalog


def open_catalog(folder):
    folder.mkdir(exist_ok=True)
    catalog = make_catalog(folder, folder)
    catalog.create_namespace_if_not_exists("db")
    return catalog


def load_or_create(folder, schema):
    """The table ``db.t`` of the catalog in a folder."""
    catalog = open_catalog(folder)
    return catalog.create_table_if_not_exists("db.t", schema)


def paths(table):
    """The data files of a table, in the order of its rows if each was one append."""
    tasks = table.scan().plan_files()
    return [task.file.file_path for task in reversed(list(tasks))]


def delete_positions(table, positions):
    """Delete rows as engines that merge on read do: ``{path: [position, ...]}``."""
    rows = [(path, at) for path, ats in sorted(positions.items()) for at in sorted(ats)]
    content = pa.table(
        {
            "file_path": pa.array([path for path, _ in rows], pa.string()),
            "pos": pa.array([at for _, at in rows], pa.int64()),
        }
    )
    return _commit(table, content, DataFileContent.POSITION_DELETES)


def delete_by_value(table, column, values):
    """Delete the rows that have one of the values: an equality delete."""
    content = pa.table({column: values})
    ids = [table.schema().find_field(column).field_id]
    return _commit(table, content, DataFileContent.EQUALITY_DELETES, equality_ids=ids)


class _DeletesWriter(ManifestWriterV2):
    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return {**super()._meta, "content": "deletes"}


def _commit(table, content, kind, **options):
    """Write a delete file, a manifest of deletes and a snapshot with it."""
    metadata, io, name = table.metadata, table.io, uuid.uuid4()
    parent, snapshot_id = table.current_snapshot(), metadata.new_snapshot_id()
    place = f"{table.location()}/metadata"
    file = _write_deletes(table, content, content=kind, **options)
    writer = _DeletesWriter(
        metadata.spec(),
        table.schema(),
        io.new_output(f"{place}/{name}-m0.avro"),
        snapshot_id,
        "null",
    )
    with writer:
        entry = ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED, snapshot_id=snapshot_id, data_file=file
        )
        writer.add(entry)
    listed = f"{place}/snap-{snapshot_id}-{name}.avro"
    number = metadata.last_sequence_number + 1
    with write_manifest_list(
        2, io.new_output(listed), snapshot_id, parent.snapshot_id, number, "null"
    ) as manifests:
        manifests.add_manifests([*parent.manifests(io), writer.to_manifest_file()])
    snapshot = Snapshot(
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent.snapshot_id,
        sequence_number=number,
        manifest_list=listed,
        summary=Summary(Operation.DELETE),
        schema_id=table.schema().schema_id,
    )
    updates = (
        AddSnapshotUpdate(snapshot=snapshot),
        SetSnapshotRefUpdate(
            ref_name="main",
            type="branch",
            snapshot_id=snapshot_id,
            parent_snapshot_id=parent.snapshot_id,
        ),
    )
    table.catalog.commit_table(table, (), updates)
    return table.refresh()


def _write_deletes(table, rows, **options):
    path = f"{table.location()}/data/{uuid.uuid4()}-deletes.parquet"
    with table.io.new_output(path).create() as sink:
        pq.write_table(rows, sink)
    file = DataFile.from_args(
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=rows.num_rows,
        file_size_in_bytes=len(table.io.new_input(path)),
        **options,
    )
    file.spec_id = table.metadata.default_spec_id
    return file
