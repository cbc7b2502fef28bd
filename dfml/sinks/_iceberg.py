"""Iceberg tables on a file system, through ``pyiceberg`` and whatever catalog it has.

Iceberg has no transaction ids: a job is noted in its snapshot, and looked for there.
``pyiceberg`` must not repeat a commit by itself, or rivals would commit a job each.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import pyarrow as pa

from dfml._optional import import_optional
from dfml.exceptions import TargetError
from dfml.sinks._column_types import iceberg_type, retype
from dfml.sinks._writing import checked_footer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from dfml.sinks._lake import LakeTable
    from dfml.sinks._writing import Layout, WrittenFile

__all__ = ["IcebergLog"]

_RETRIES = "commit.retry.num-retries"
_METRICS = "write.metadata.metrics."
_ID = b"PARQUET:field_id"


class IcebergLog:
    """The snapshots of one Iceberg table, there already or not.

    Parameters
    ----------
    where : str
        The call, for messages.
    catalog : pyiceberg Catalog
        Where the table is, or will be.
    name : tuple of str
        Namespace and name.

    Raises
    ------
    TargetError
        If the name is none, there is no such namespace, or the table is not on a file
        system.
    """

    format = "iceberg"
    in_files = True

    def __init__(self, where: str, catalog: Any, name: tuple[str, ...]) -> None:
        self.where, self._catalog, self._name = where, catalog, name
        self.path = ".".join(name)
        if len(name) < 2 or not all(name):
            raise TargetError.expecting(
                where,
                "the namespace and name of an Iceberg table",
                repr(self.path),
                'pass both, as in table="marts.scored"',
            )
        self._location = self._find_location().rstrip("/")
        if urlparse(self._location).scheme not in ("", "file"):
            raise TargetError.expecting(
                where,
                "an Iceberg table on a file system that all workers share",
                repr(self._location),
                "use a catalog whose warehouse is a local folder",
            )

    def _import(self, module: str) -> ModuleType:
        name = f"pyiceberg.{module}"
        return import_optional(name, extra="iceberg", needed_by=self.where)

    def _find_location(self) -> str:
        table = self.open()
        if table is not None:
            return table.location
        # Any columns will do: nothing is made before the commit.
        columns = pa.schema([("x", pa.int64())])
        try:
            new = self._catalog.create_table_transaction(self._name, columns)
        except self._import("exceptions").NoSuchNamespaceError as err:
            raise TargetError.expecting(
                self.where,
                "a namespace that the catalog has",
                repr(".".join(self._name[:-1])),
                "create it with catalog.create_namespace",
            ) from err
        return str(new.table_metadata.location)

    def open(self) -> IcebergSnapshot | None:
        """Read the newest version; None if there is no table."""
        try:
            table = self._catalog.load_table(self._name)
        except self._import("exceptions").NoSuchTableError:
            return None
        return IcebergSnapshot(self.where, table)

    def check_new(self) -> None:
        """Do nothing: no table will ever find what is in the folder already."""

    def root(self) -> str:
        """Name the folder of the table."""
        return urlparse(self._location).path  # pyiceberg takes it for not quoted

    def data(self) -> str:
        """Name the folder of data files."""
        return os.path.join(self.root(), "data")

    def retype(self, schema: Any) -> Any:
        """Give columns the types that Iceberg holds them as."""
        return retype(self.where, "Iceberg", schema, iceberg_type)

    def numbered(self, table: LakeTable | None, schema: Any) -> Any:
        """Give columns the identifiers that files know them by.

        A file without them is read by the names of today: a column that was dropped
        would come back with another one of its name.
        """
        if table is None:  # they are given in the order of the columns
            new = self._catalog.create_table_transaction(self._name, schema)
            columns = new.table_metadata.schema()
        else:
            assert isinstance(table, IcebergSnapshot)
            columns = table.columns()
        known = self._import("io.pyarrow").schema_to_pyarrow(columns)
        return pa.schema([_numbered(each, known.field(each.name)) for each in schema])

    def commit(
        self,
        table: LakeTable | None,
        mode: str,
        layout: Layout,
        written: Sequence[WrittenFile],
        noted: dict[str, Any],
    ) -> bool:
        """Commit on top of what was read; False if somebody else was faster."""
        for file in written:
            self._check(layout, file)
        paths = [f"{self._location}/data/{file.path}" for file in written]
        errors = self._import("exceptions")
        try:
            if table is None:
                transaction = self._create(layout)
            else:
                assert isinstance(table, IcebergSnapshot)
                transaction = table.begin()
                gone = self._gone(table, mode, layout, written)
                if gone is not None:
                    transaction.delete(gone, snapshot_properties=noted)
            if paths:
                # No other file has such a name, and to look takes long.
                transaction.add_files(
                    paths, snapshot_properties=noted, check_duplicate_files=False
                )
            else:  # which not all versions can add
                with transaction.update_snapshot(noted).fast_append():
                    pass
            transaction.commit_transaction()
        except (errors.CommitFailedException, errors.TableAlreadyExistsError):
            return False
        return True

    def _create(self, layout: Layout) -> Any:
        transaction = self._catalog.create_table_transaction(
            self._name, layout.schema, location=self._location
        )
        with transaction.update_spec() as spec:
            for name in layout.partition_by:
                spec.add_identity(name)
        return transaction

    def _gone(
        self,
        table: IcebergSnapshot,
        mode: str,
        layout: Layout,
        written: Sequence[WrittenFile],
    ) -> Any:
        """Say which rows the new ones take the place of; None if there are none."""
        if mode not in ("overwrite", "overwrite_partitions") or not table.files():
            return None
        if mode == "overwrite":
            return self._import("expressions").AlwaysTrue()
        partitions = {file.values for file in written}
        chosen = [
            self._equals(layout, values) for values in sorted(partitions, key=str)
        ]
        return _joined(self._import("expressions").Or, chosen) if chosen else None

    def _equals(self, layout: Layout, values: tuple[str | None, ...]) -> Any:
        tests = self._import("expressions")
        chosen = []
        for name, text in zip(layout.partition_by, values, strict=True):
            value = pa.scalar(text, pa.string()).cast(layout.schema.field(name).type)
            is_null = value.as_py() is None
            chosen.append(
                tests.IsNull(name) if is_null else tests.EqualTo(name, value.as_py())
            )
        return _joined(tests.And, chosen)

    def _check(self, layout: Layout, file: WrittenFile) -> None:
        """Check that pyiceberg will find the partition: it takes the least value."""
        footer = checked_footer(self.where, self.data(), file)
        positions = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
        for name, text in zip(layout.partition_by, file.values, strict=True):
            for i in range(footer.num_row_groups):
                found = footer.row_group(i).column(positions[name]).statistics
                if found is None or found.has_min_max == (text is None):
                    raise TargetError.expecting(
                        self.where,
                        f"statistics of the partition column {name!r}",
                        f"none in {file.path!r}",
                        "partition by another column",
                    )


class IcebergSnapshot:
    """An Iceberg table at one moment.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : pyiceberg Table
        Loaded for nobody else.
    """

    def __init__(self, where: str, table: Any) -> None:
        self._where, self._table = where, table
        self.location = str(table.location())

    def columns(self) -> Any:
        """Give the columns as pyiceberg has them."""
        return self._table.schema()

    @property
    def schema(self) -> Any:
        """The columns, with Arrow's types."""
        return pa.schema(
            [
                pa.field(each.name, iceberg_type(each.type) or each.type, each.nullable)
                for each in self.columns().as_arrow()
            ]
        )

    @property
    def partition_by(self) -> tuple[str, ...]:
        """The columns it is partitioned by."""
        schema = self._table.schema()
        return tuple(
            schema.find_column_name(field.source_id)
            for field in self._table.spec().fields
        )

    def check_writable(self, mode: str) -> None:  # noqa: ARG002
        """Refuse a table that asks of its writers what is not done here.

        Raises
        ------
        TargetError
            Naming the demand.
        """
        demands = [
            f"the partition field {field.name!r} by {field.transform}"
            for field in self._table.spec().fields
            if str(field.transform) != "identity"
        ]
        used = self._table.properties
        default = used.get(f"{_METRICS}default", "full")
        for name in self.partition_by:
            metrics = used.get(f"{_METRICS}column.{name}", default)
            if metrics.lower() in ("none", "counts"):
                demands.append(f"{_METRICS}* = {metrics} for {name!r}")
        if demands:
            raise TargetError.expecting(
                self._where,
                "an Iceberg table partitioned by values of columns, or not at all",
                f"one with {', '.join(demands)}",
                "write to a table of its own, and let the owner of this one merge it",
            )

    def files(self) -> dict[str, Any]:
        """Give the partition of each data file, by its name without the folders."""
        files = [task.file for task in self._table.scan().plan_files()]
        return {
            os.path.basename(file.file_path): (file.spec_id, repr(file.partition))
            for file in files
        }

    def _snapshots(self) -> Iterator[Any]:
        """Give the snapshots that led to the newest, from there backwards."""
        snapshot = self._table.current_snapshot()
        while snapshot is not None:
            yield snapshot
            parent = snapshot.parent_snapshot_id
            snapshot = None if parent is None else self._table.snapshot_by_id(parent)

    def _find(self, key: str, value: str) -> Any:
        for snapshot in self._snapshots():
            summary = snapshot.summary
            if summary is not None and summary.get(key) == value:
                return snapshot
        return None

    def mark_of(self, job: str) -> int | None:
        """Give the last snapshot of the job, or None."""
        snapshot = self._find("dfml.job", job)
        return None if snapshot is None else int(snapshot.snapshot_id)

    def noted_of(self, job: str) -> dict[str, Any]:
        """Give what the last commit of a job has noted; nothing if it was removed."""
        snapshot = self._find("dfml.job", job)
        return {} if snapshot is None else snapshot.summary.additional_properties

    def has_attempt(self, attempt: str) -> bool:
        """Tell whether there was a commit of an attempt."""
        if self._find("dfml.attempt", attempt) is not None:
            return True
        return any(attempt in name for name in self.files())

    def begin(self) -> Any:
        """Begin a transaction that is tried just once."""
        # Of this object only: a commit sends what has changed, not all properties.
        self._table.metadata.properties[_RETRIES] = "0"
        return self._table.transaction()


def _numbered(field: Any, known: Any) -> Any:
    """Give a field, and those inside it, the identifiers of another one."""
    type_, other = field.type, known.type
    if pa.types.is_list(type_):
        type_ = pa.list_(_numbered(type_.value_field, other.value_field))
    elif pa.types.is_map(type_):
        key = _numbered(type_.key_field, other.key_field)
        type_ = pa.map_(key, _numbered(type_.item_field, other.item_field))
    elif pa.types.is_struct(type_):
        fields = [_numbered(each, other.field(each.name)) for each in type_]
        type_ = pa.struct(fields)
    return pa.field(field.name, type_, field.nullable, {_ID: known.metadata[_ID]})


def _joined(operator: Any, tests: list[Any]) -> Any:
    return operator(*tests) if len(tests) > 1 else tests[0]
