"""A version of a Delta table, read from its data files part by part.

The log says which files are rows, which rows of them are deleted, and what the columns
are called; the rows are read as those of any Parquet file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dfml.exceptions import SourceError
from dfml.sources._arrow_types import fits
from dfml.sources._base import reading, unreadable
from dfml.sources._delta_log import (
    DeltaColumn,
    LoggedFile,
    iter_files,
    load_delta,
    local_root,
    read_columns,
)
from dfml.sources._files import SourceFile, is_inside
from dfml.sources._row_groups import (
    RowGroups,
    columns_without_nulls,
    cut_row_groups,
    read_footers,
    to_schema,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

__all__ = ["DeltaPart", "DeltaSnapshot"]

_RESTORE = "bring the file back, or restore an earlier version of the table"


@dataclass(frozen=True)
class DeltaPart:
    """A range of row groups of one data file, without the rows that are deleted.

    Parameters
    ----------
    number : int
        Position in the table.
    groups : RowGroups
        Where the rows are.
    logged : str
        The file's path as the log has it.
    stored : dict of str to str
        Names of columns in the file, where they are others than in the table.
    values : dict of str to pyarrow Scalar
        Of the partition columns.
    n_rows : int
        Rows that are not deleted.
    keep : bytes, optional
        A bit for each row of the row groups, 0 for deleted ones.
    """

    number: int
    groups: RowGroups
    logged: str
    stored: dict[str, str]
    values: dict[str, Any]
    n_rows: int
    keep: bytes | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """The file's path in the log, its row groups, and the rows left in them."""
        return self.logged, self.groups.first, self.groups.stop, self.n_rows

    def describe(self) -> str:
        """Name the file and the row groups, for messages."""
        return self.groups.describe()

    def read(self, where: str, schema: Any) -> Iterator[Any]:
        """Read some columns; see :class:`dfml.sources._base.Part`."""
        null = {each.name: pa.scalar(None, each.type) for each in schema}
        names = [name for name in schema.names if name not in self.values]
        with reading(where, self, _RESTORE):
            batches = self.groups.read([self.stored.get(n, n) for n in names], "us")
            values = null | self.values
            tables = (
                to_schema(where, self, each, schema, values, self.stored)
                for each in batches
            )
            yield from self._undeleted(tables)

    def _undeleted(self, tables: Iterator[Any]) -> Iterator[Any]:
        if self.keep is None:
            yield from tables
            return
        mask = np.unpackbits(np.frombuffer(self.keep, np.uint8)).astype(bool)
        start = 0
        for table in tables:
            stop = start + table.num_rows
            kept = table.filter(pa.array(mask[start:stop]))
            start = stop
            if kept.num_rows:
                yield kept


@dataclass
class DeltaSnapshot:
    """The data files of a version of a Delta table, and its columns.

    Parameters
    ----------
    where : str
        The call, for messages.
    root : str
        The folder of the table.
    table_id : str
        What the log calls the table.
    number : int
        The version.
    columns : dict
        A DeltaColumn for each name.
    parts : list of DeltaPart
        By the time at which their files were added.
    without_nulls : frozenset of str
        Whole numbers and flags without a null, by the statistics of all files.
    problems : dict
        Columns that cannot be read: what is expected of them, and what came.
    """

    where: str
    root: str
    table_id: str
    number: int
    columns: dict[str, DeltaColumn]
    parts: list[DeltaPart] = field(default_factory=list)
    without_nulls: frozenset[str] = frozenset()
    problems: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        where: str,
        source: Any,
        version: int | None = None,
        timestamp: str | datetime | None = None,
    ) -> DeltaSnapshot:
        """Read the log at a version, and the footers of the version's files.

        Raises
        ------
        SourceError
            If the log or a footer cannot be read, or the log asks for what dfml does
            not know.
        """
        loaded = load_delta(where, source, version, timestamp)
        root = local_root(where, loaded.table_uri)
        columns = {each.field.name: each for each in read_columns(loaded)}
        table = cls(where, root, str(loaded.metadata().id), loaded.version(), columns)
        table.problems = {
            name: each.problem for name, each in columns.items() if each.problem
        }
        table._add_files(list(iter_files(where, loaded, root)))
        return table

    @property
    def names(self) -> list[str]:
        """All column names, in the order of the table."""
        return list(self.columns)

    @property
    def renamed(self) -> dict[str, str]:
        """Names in the files of those columns that have another one there."""
        columns = self.columns.items()
        return {name: each.stored for name, each in columns if each.stored != name}

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
        for name in names or ():
            problem = self.problems.get(name)
            if problem is not None:
                raise SourceError.expecting(
                    self.where,
                    problem[0],
                    f"{problem[1]}, {self.describe()}",
                    "leave the column out, or write the table again",
                )
        chosen = self.names if names is None else names
        return pa.schema([self.columns[name].field for name in chosen])

    def version(self) -> dict[str, Any]:
        """Give the table's id and its version."""
        return {"format": "delta", "table": self.table_id, "version": self.number}

    def overlaps(self, folder: str) -> bool:
        """Tell if a folder is in the table's, or holds any of its files."""
        root = os.path.realpath(self.root)
        places = {os.path.dirname(part.groups.file.path) for part in self.parts}
        return is_inside(folder, root) or any(
            is_inside(os.path.realpath(place), folder) for place in {root, *places}
        )

    def describe(self) -> str:
        """Name the table and the version."""
        return f"version {self.number} of the Delta table {self.root!r}"

    def _add_files(self, logged: list[LoggedFile]) -> None:
        files = [_find_file(self.where, each) for each in logged]
        countable = [
            name
            for name, each in self.columns.items()
            if pa.types.is_integer(each.field.type)
            or pa.types.is_boolean(each.field.type)
        ]
        previous = None
        footers = read_footers(self.where, files, _RESTORE)
        for each, (file, schema, metadata) in zip(logged, footers, strict=True):
            if previous is None or not schema.equals(previous):
                self._check_file(schema, file.path)
                previous = schema
            countable = self._without_nulls_in(each, metadata, countable)
            self._add_parts(each, list(cut_row_groups(file, schema, metadata)))
        self.without_nulls = frozenset(countable)

    def _check_file(self, schema: Any, path: str) -> None:
        """Note the columns that this file has with a type that does not fit."""
        for name, each in self.columns.items():
            if not each.is_partition and name not in self.problems:
                problem = _find_problem(each, schema)
                if problem is not None:
                    expected, got = problem
                    self.problems[name] = expected, f"{got} in {path!r}"

    def _without_nulls_in(
        self, each: LoggedFile, metadata: Any, names: list[str]
    ) -> list[str]:
        """Choose the columns that are known to hold no null in a file."""
        stored = {self.columns[n].stored: n for n in names if n not in each.values}
        filled = {stored[name] for name in columns_without_nulls(metadata, stored)}
        filled |= {name for name, value in each.values.items() if value.is_valid}
        return [name for name in names if name in filled]

    def _add_parts(self, each: LoggedFile, ranges: list[RowGroups]) -> None:
        start = 0
        for groups in ranges:
            kept = (
                None if each.keep is None else each.keep[start : start + groups.n_rows]
            )
            start += groups.n_rows
            n_deleted = 0 if kept is None else int(np.count_nonzero(~kept))
            if n_deleted < groups.n_rows:
                self.parts.append(
                    DeltaPart(
                        number=len(self.parts),
                        groups=groups,
                        logged=each.logged,
                        stored=self.renamed,
                        values=each.values,
                        n_rows=groups.n_rows - n_deleted,
                        keep=_pack(kept, groups.n_rows) if n_deleted else None,
                    )
                )


def _find_file(where: str, each: LoggedFile) -> SourceFile:
    try:
        stat = os.stat(each.path)
    except OSError as err:
        raise unreadable(where, repr(each.path), err, _RESTORE) from err
    return SourceFile(each.path, stat.st_size, stat.st_mtime_ns)


def _find_problem(column: DeltaColumn, schema: Any) -> tuple[str, str] | None:
    """Tell why a column of a file does not become the table's."""
    name, wanted = column.field.name, column.field.type
    if column.stored in schema.names:
        stored = schema.field(column.stored).type
        if fits(stored, wanted):
            return None
        return f"column {name!r} with a type that fits {wanted}", str(stored)
    folded = column.stored.casefold()
    other = [each for each in schema.names if each.casefold() == folded]
    if other:
        return f"column {name!r} spelled as in the log", repr(other[0])
    if not column.field.nullable:
        return f"column {name!r}, which takes no null", "none"
    return None


def _pack(kept: Any, n_rows: int) -> bytes:
    """Make a bit of each flag; rows that the log does not mention are kept."""
    flags = np.ones(n_rows, bool)
    flags[: len(kept)] = kept
    return np.packbits(flags).tobytes()
