"""A snapshot of an Iceberg table, read file by file.

``pyiceberg`` plans the files, finds columns by their field ids and applies positional
deletes. It reads a data file as a whole, so a part here is a data file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dfml._optional import import_optional
from dfml.exceptions import InputTypeError, SourceError
from dfml.sources._base import BROKEN, reading, unreadable
from dfml.sources._files import is_inside, local_path
from dfml.sources._row_groups import to_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyiceberg.io import FileIO
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, Table
    from pyiceberg.table.metadata import TableMetadata

__all__ = ["IcebergPart", "IcebergSnapshot"]

_RESTORE = "bring the file back, or read an earlier snapshot"
# Not needed to read a planned file, and as long as the history of the table.
_HISTORY: dict[str, Any] = {
    "snapshots": [],
    "snapshot_log": [],
    "metadata_log": [],
    "statistics": [],
    "partition_statistics": [],
    "refs": {},
    "current_snapshot_id": None,
}


@dataclass(frozen=True)
class _Reading:
    """What all parts of a snapshot need to read; it pickles."""

    metadata: TableMetadata
    io: FileIO
    schema: Schema

    def read(self, task: FileScanTask, names: Sequence[str]) -> Iterator[Any]:
        """Read columns of a data file as record batches, without deleted rows."""
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.io.pyarrow import ArrowScan
        from pyiceberg.schema import Schema

        fields = [each for each in self.schema.fields if each.name in names]
        scan = ArrowScan(self.metadata, self.io, Schema(*fields), AlwaysTrue())
        yield from scan.to_record_batches([task])


@dataclass(frozen=True)
class IcebergPart:
    """A data file without the rows that are deleted.

    Parameters
    ----------
    number : int
        Position in the table.
    n_rows : int
        Rows that are not deleted.
    task : FileScanTask
        The file and its deletes, as pyiceberg has planned them.
    reading : _Reading
        How to read it.
    """

    number: int
    n_rows: int
    task: FileScanTask
    reading: _Reading

    @property
    def key(self) -> tuple[Any, ...]:
        """The file's path and the rows left in it."""
        return self.task.file.file_path, self.n_rows

    def describe(self) -> str:
        """Name the file, for messages."""
        return repr(self.task.file.file_path)

    def read(self, where: str, schema: Any) -> Iterator[Any]:
        """Read some columns; see :class:`dfml.sources._base.Part`."""
        n_rows = 0
        with reading(where, self, _RESTORE):
            for batch in self.reading.read(self.task, schema.names):
                n_rows += batch.num_rows
                yield to_schema(where, self, batch, schema)
            if n_rows != self.n_rows:
                raise OSError(f"{n_rows} rows where the table says {self.n_rows}")


@dataclass(frozen=True)
class IcebergSnapshot:
    """The data files of a snapshot of an Iceberg table, and its columns.

    Parameters
    ----------
    where : str
        The call, for messages.
    name : str
        What the catalog calls the table.
    table_id : str
        The UUID of the table.
    snapshot_id : int or None
        None if nothing was ever written.
    location : str
        The folder of the table.
    reading : _Reading
        How its parts are read.
    parts : tuple of IcebergPart
        Sorted by path.
    without_nulls : frozenset of str
        Whole numbers and flags without a null, by the statistics of all files.
    """

    where: str
    name: str
    table_id: str
    snapshot_id: int | None
    location: str
    reading: _Reading
    parts: tuple[IcebergPart, ...]
    without_nulls: frozenset[str]

    @classmethod
    def open(
        cls, where: str, source: Any, snapshot_id: int | None = None
    ) -> IcebergSnapshot:
        """Plan the files of a snapshot; no data file is read but for counting deletes.

        Raises
        ------
        SourceError
            If there is no such snapshot, or rows of it were deleted by value.
        """
        table = _load(where, source)
        name = ".".join(table.name())
        try:
            scan = table.scan(snapshot_id=snapshot_id)
            snapshot, schema = scan.snapshot(), scan.projection()
            tasks = sorted(scan.plan_files(), key=lambda task: task.file.file_path)
        except (*BROKEN, NotImplementedError) as err:
            raise _unplanned(where, name, err) from err
        trimmed = table.metadata.model_copy(update=_HISTORY)
        reading = _Reading(trimmed, table.io, schema)
        return cls(
            where=where,
            name=name,
            table_id=str(table.metadata.table_uuid),
            snapshot_id=None if snapshot is None else snapshot.snapshot_id,
            location=table.location(),
            reading=reading,
            parts=tuple(_make_parts(where, tasks, reading)),
            without_nulls=_without_nulls(schema, tasks),
        )

    @property
    def names(self) -> list[str]:
        """All column names, in the order of the schema."""
        return [each.name for each in self.reading.schema.fields]

    @property
    def keys(self) -> list[str]:
        """None: partition values have types of their own here."""
        return []

    @property
    def n_rows(self) -> int:
        """Count the rows that are not deleted."""
        return sum(part.n_rows for part in self.parts)

    def schema(self, names: Sequence[str] | None = None) -> Any:
        """Give the schema that each part has; see `SourceTable`."""
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        every = schema_to_pyarrow(self.reading.schema, include_field_ids=False)
        chosen = every.names if names is None else names
        return pa.schema([every.field(name).remove_metadata() for name in chosen])

    def version(self) -> dict[str, Any]:
        """Give the table's id, the snapshot and the schema it is read with."""
        return {
            "format": "iceberg",
            "table": self.table_id,
            "snapshot": self.snapshot_id,
            "schema": self.reading.schema.schema_id,
        }

    def overlaps(self, folder: str) -> bool:
        """Tell if a folder is in the table's, or holds any of its files."""
        files = [part.task.file.file_path for part in self.parts]
        places = [self.location, *map(os.path.dirname, files)]
        local = {local_path(place) for place in places} - {None}
        real = {os.path.realpath(place) for place in local if place is not None}
        root = local_path(self.location)
        return any(is_inside(place, folder) for place in real) or (
            root is not None and is_inside(folder, os.path.realpath(root))
        )

    def describe(self) -> str:
        """Name the table and the snapshot."""
        return f"snapshot {self.snapshot_id} of the Iceberg table {self.name!r}"


def _load(where: str, source: Any) -> Table:
    module = import_optional("pyiceberg.table", extra="iceberg", needed_by=where)
    if isinstance(source, module.Table):
        given: Table = source
        return given
    if not isinstance(source, str | os.PathLike):
        raise InputTypeError.expecting(
            where,
            "a table of a pyiceberg catalog, or the path of its metadata file",
            type(source).__name__,
            "pass catalog.load_table(name)",
        )
    path = os.path.expanduser(os.fspath(source))
    try:
        loaded: Table = module.StaticTable.from_metadata(path)
    except BROKEN as err:
        raise SourceError.expecting(
            where,
            "the metadata file of an Iceberg table",
            f"{path!r}: {type(err).__name__}: {err}",
            "pass catalog.load_table(name), or the newest *.metadata.json file",
        ) from err
    return loaded


def _unplanned(where: str, name: str, err: BaseException) -> SourceError:
    if "equality delete" in str(err):
        return SourceError.expecting(
            where,
            "an Iceberg table whose rows were deleted by position",
            f"equality deletes in {name!r}, which pyiceberg does not apply",
            "compact the table with the engine that writes it",
        )
    return SourceError.expecting(
        where,
        "an Iceberg table whose metadata can be read",
        f"{name!r}: {type(err).__name__}: {err}",
        "look at the table and the snapshot",
    )


def _make_parts(
    where: str, tasks: Sequence[FileScanTask], reading: _Reading
) -> Iterator[IcebergPart]:
    number = 0
    for task in tasks:
        n_rows = task.file.record_count
        if task.delete_files:
            n_rows = _count_rows(where, task, reading)
        if n_rows:
            yield IcebergPart(number, n_rows, task, reading)
            number += 1


def _count_rows(where: str, task: FileScanTask, reading: _Reading) -> int:
    """Count what the deletes of a file leave, by one column of it."""
    name = reading.schema.fields[0].name
    try:
        return sum(batch.num_rows for batch in reading.read(task, [name]))
    except BROKEN as err:
        raise unreadable(where, repr(task.file.file_path), err, _RESTORE) from err


def _without_nulls(schema: Schema, tasks: Sequence[FileScanTask]) -> frozenset[str]:
    return frozenset(
        each.name
        for each in schema.fields
        if each.required
        or all(
            (task.file.null_value_counts or {}).get(each.field_id) == 0
            for task in tasks
        )
    )
