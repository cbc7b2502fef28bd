"""Parquet files as a table of parts that keep their names from run to run.

A part is a file and a range of its row groups. All footers are read once, before
any row, and give one Arrow schema that every part is cast to. Whoever wants a dask
DataFrame of Parquet files uses dask's own reader.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfml.exceptions import SourceError
from dfml.sources._arrow_types import merge_types
from dfml.sources._files import SourceFile, check_keys, list_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ParquetTable", "Part", "read_part"]

#: Estimated bytes in memory of a part; a single row group may be larger.
PART_BYTES = 96 * 2**20
#: Estimated bytes of what is read of a part at a time.
SLICE_BYTES = 32 * 2**20
# Bytes of a column chunk that are read at a time, for chunks as large as a file.
_BUFFER_BYTES = 2**20

# What Arrow raises for files that are not what they should be.
_BROKEN = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    MemoryError,
)


@dataclass(frozen=True)
class Part:
    """A range of row groups of one file, the unit of work.

    Parameters
    ----------
    number : int
        Position in the table.
    file : SourceFile
        Where the rows are.
    first, stop : int
        The row groups ``first`` to ``stop - 1``.
    n_rows, n_bytes : int
        Rows, and estimated bytes in memory.
    """

    number: int
    file: SourceFile
    first: int
    stop: int
    n_rows: int
    n_bytes: int

    def describe(self) -> str:
        """Name the file and the row groups, for messages."""
        if self.stop - self.first < 2:
            return f"row group {self.first} of {self.file.path!r}"
        return f"row groups {self.first} to {self.stop - 1} of {self.file.path!r}"


@dataclass
class _Column:
    """What the files say of one column."""

    field: Any
    declared_by: str
    present_in: int = 1
    problem: tuple[str, str] | None = None


@dataclass
class ParquetTable:
    """The files of a Parquet source, their parts and their common columns.

    Parameters
    ----------
    where : str
        The call, for messages.
    files : list of SourceFile
        Sorted by path.
    parts : list of Part
        In the order of the files; empty if there are no rows.
    keys : list of str
        The columns that come from ``name=value`` folders: those not in the files.
    """

    where: str
    files: list[SourceFile]
    parts: list[Part] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    _columns: dict[str, _Column] = field(default_factory=dict)
    _lacking: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, where: str, source: str | os.PathLike[str]) -> ParquetTable:
        """List a file, a glob or a folder and read every footer.

        Raises
        ------
        SourceError
            If there is no file, or a footer cannot be read.
        """
        table = cls(where, list_files(where, source))
        check_keys(where, table.files)
        with ThreadPoolExecutor(8, "dfml-footer") as pool:
            footers = pool.map(lambda file: _read_footer(where, file), table.files)
            for file, (schema, metadata) in zip(table.files, footers, strict=True):
                table._add_columns(file, schema)
                table._add_parts(file, schema, metadata)
        table._add_key_columns()
        return table

    @property
    def names(self) -> list[str]:
        """All column names: those of the first file, then what others add."""
        return list(self._columns)

    @property
    def n_rows(self) -> int:
        """Count the rows of all parts."""
        return sum(part.n_rows for part in self.parts)

    def schema(self, names: Sequence[str] | None = None) -> Any:
        """Give the schema that each part has after reading.

        Parameters
        ----------
        names : sequence of str, optional
            The columns that are needed, in order; they are checked. None gives all
            of them unchecked, with the first file's type where files disagree.

        Returns
        -------
        schema : pyarrow Schema
            Without metadata of the files.

        Raises
        ------
        SourceError
            If a file lacks a needed column or has it with a type that does not fit.
        """
        for name in names or ():
            problem = self._problem(name)
            if problem is not None:
                expected, got = problem
                raise SourceError.expecting(
                    self.where,
                    expected,
                    got,
                    "write these files again with one type a column, or leave the "
                    "column out",
                )
        chosen = self.names if names is None else names
        return pa.schema([self._columns[name].field for name in chosen])

    def _problem(self, name: str) -> tuple[str, str] | None:
        column = self._columns[name]
        if name in self._lacking:
            expected = f"column {name!r} in every file, as in {column.declared_by!r}"
            return expected, f"{self._lacking[name]!r} without it"
        return column.problem

    def _add_columns(self, file: SourceFile, schema: Any) -> None:
        names = schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError.expecting(
                self.where,
                "column names that are different",
                f"{twice} twice in {file.path!r}",
                "rename the columns",
            )
        is_first = file is self.files[0]
        for name in self._columns.keys() - set(names):
            self._lacking.setdefault(name, file.path)
        for each in schema:
            known = self._columns.get(each.name)
            if known is None:
                self._columns[each.name] = _Column(_without_id(each), file.path)
                if not is_first:
                    self._lacking.setdefault(each.name, self.files[0].path)
            elif not known.field.equals(each):
                _widen(known, each, file.path)

    def _add_parts(self, file: SourceFile, schema: Any, metadata: Any) -> None:
        width = sum(_byte_width(each.type) for each in schema)
        start = rows = size = 0
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            estimate = max(group.total_byte_size, group.num_rows * width)
            if rows and size + estimate > PART_BYTES:
                self._append(file, start, i, rows, size)
                start, rows, size = i, 0, 0
            rows, size = rows + group.num_rows, size + estimate
        if rows:
            self._append(file, start, metadata.num_row_groups, rows, size)

    def _append(self, file: SourceFile, *range_: int) -> None:
        self.parts.append(Part(len(self.parts), file, *range_))

    def _add_key_columns(self) -> None:
        names = [name for name, _ in self.files[0].keys]
        self.keys = [name for name in names if name not in self._columns]
        for name in self.keys:
            values = [dict(file.keys)[name] for file in self.files]
            type_ = pa.int64() if all(map(_is_integer, values)) else pa.string()
            self._columns[name] = _Column(pa.field(name, type_), "")


def _is_integer(value: str | None) -> bool:
    if value is None:
        return True
    digits = value.removeprefix("-")
    return digits.isascii() and digits.isdigit() and abs(int(value)) < 2**63


def _read_footer(where: str, file: SourceFile) -> tuple[Any, Any]:
    try:
        with pq.ParquetFile(file.path) as opened:
            return opened.schema_arrow, opened.metadata
    except _BROKEN as err:
        raise _broken(where, f"{file.path!r} ({file.size} bytes)", err) from err


def _broken(where: str, what: str, err: BaseException) -> SourceError:
    return SourceError.expecting(
        where,
        "Parquet files that can be read",
        f"{what}: {type(err).__name__}: {err}",
        "write the file again, or move it out of the source",
    )


def _without_id(each: Any) -> Any:
    kept = {
        key: value
        for key, value in (each.metadata or {}).items()
        if key != b"PARQUET:field_id"
    }
    return each.with_metadata(kept or None)


def _widen(known: _Column, each: Any, path: str) -> None:
    merged = merge_types(known.field.type, each.type)
    if merged is None:
        if known.problem is None:
            known.problem = (
                f"column {each.name!r} with types that fit together",
                f"{known.field.type} in {known.declared_by!r} and {each.type} in "
                f"{path!r}",
            )
        return
    if merged != known.field.type:
        known.field, known.declared_by = known.field.with_type(merged), path
    known.field = known.field.with_nullable(known.field.nullable or each.nullable)


def _byte_width(type_: Any) -> int:
    try:
        return max(1, int(type_.bit_width) // 8)
    except ValueError:  # text, lists and the like
        return 16


def read_part(where: str, part: Part, schema: Any) -> Iterator[Any]:
    """Read some columns of a part, in slices that fit in memory.

    Parameters
    ----------
    where : str
        The call, for messages.
    part : Part
        What to read.
    schema : pyarrow Schema
        The columns and their types, from :meth:`ParquetTable.schema`.

    Yields
    ------
    table : pyarrow Table
        With exactly the schema; at least one.

    Raises
    ------
    SourceError
        If the file has changed since it was listed, is broken, or holds a value that
        the common type cannot hold.
    """
    what = f"{part.describe()} (part {part.number})"
    try:
        stat = os.stat(part.file.path)
        if (stat.st_size, stat.st_mtime_ns) != (part.file.size, part.file.mtime_ns):
            raise OSError("the file has changed since the source was listed")
        yield from _read_slices(part, schema)
    except _BROKEN as err:
        raise _broken(where, what, err) from err


def _read_slices(part: Part, schema: Any) -> Iterator[Any]:
    with pq.ParquetFile(
        part.file.path,
        page_checksum_verification=True,
        pre_buffer=False,
        buffer_size=_BUFFER_BYTES,
    ) as file:
        names = file.schema_arrow.names
        stored = [name for name in schema.names if name in names]
        n_slices = -(-part.n_bytes // SLICE_BYTES) or 1
        n_rows = 0
        for batch in file.iter_batches(
            batch_size=max(1, -(-part.n_rows // n_slices)),
            row_groups=list(range(part.first, part.stop)),
            columns=stored,
        ):
            n_rows += batch.num_rows
            yield _to_schema(batch, schema, dict(part.file.keys))
    if n_rows != part.n_rows:
        raise OSError(f"{n_rows} rows where the footer says {part.n_rows}")
    if not n_rows:
        yield schema.empty_table()


def _to_schema(batch: Any, schema: Any, keys: dict[str, str | None]) -> Any:
    columns = []
    for each in schema:
        if each.name in batch.schema.names:
            column = batch.column(each.name)
            columns.append(
                column if column.type == each.type else column.cast(each.type)
            )
        else:
            value = pa.scalar(keys[each.name], pa.string()).cast(each.type)
            columns.append(pa.repeat(value, batch.num_rows))
    return pa.Table.from_arrays(columns, schema=schema)
