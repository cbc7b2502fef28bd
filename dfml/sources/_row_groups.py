"""Row groups of one Parquet file: how they are put together, and how they are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfml._threads import threads_per_task
from dfml._waiting import map_waiting
from dfml.exceptions import BadFileError, SourceError
from dfml.sources._base import BROKEN, CHECK_FILE, ChangedFileError, unreadable
from dfml.sources._seals import check_seal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from dfml.sources._base import Part
    from dfml.sources._files import SourceFile

__all__ = [
    "RowGroups",
    "columns_without_nulls",
    "cut_row_groups",
    "read_footers",
    "to_schema",
]

#: Estimated bytes in memory of a part; a single row group may be larger.
PART_BYTES = 96 * 2**20
#: Estimated bytes of what is read of a part at a time.
SLICE_BYTES = 32 * 2**20
# Bytes of a column chunk that are read at a time, for chunks as large as a file.
_BUFFER_BYTES = 2**20
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class RowGroups:
    """A range of row groups of one file.

    Parameters
    ----------
    file : SourceFile
        Where the rows are.
    first, stop : int
        The row groups ``first`` to ``stop - 1``.
    n_rows, n_bytes : int
        Rows in the file, and estimated bytes in memory.
    """

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

    def read(self, names: Collection[str], int96: str | None = None) -> Iterator[Any]:
        """Read those of the columns that the file has, in batches of bounded size.

        Parameters
        ----------
        names : collection of str
            Columns; those that the file does not have are passed over.
        int96 : str, optional
            Unit of the timestamps that old writers keep in 96 bits, ``"ns"`` by
            default, which ends in 2262.

        Yields
        ------
        batch : pyarrow RecordBatch
            With the file's own types.

        Raises
        ------
        ChangedFileError
            If the file has changed since it was listed. Arrow's own errors pass.
        """
        stat = os.stat(self.file.path)
        if (stat.st_size, stat.st_mtime_ns) != (self.file.size, self.file.mtime_ns):
            raise ChangedFileError("it has changed since the source was listed")
        n_slices = -(-self.n_bytes // SLICE_BYTES) or 1
        n_rows = 0
        with pq.ParquetFile(
            self.file.path,
            page_checksum_verification=True,
            pre_buffer=False,
            # Small chunks are read as a whole, which takes less time.
            buffer_size=_BUFFER_BYTES if self.n_bytes > SLICE_BYTES else 0,
            coerce_int96_timestamp_unit=int96,
        ) as opened:
            stored = opened.schema_arrow.names
            for batch in opened.iter_batches(
                batch_size=max(1, -(-self.n_rows // n_slices)),
                row_groups=list(range(self.first, self.stop)),
                columns=[name for name in names if name in stored],
                # Where tasks run side by side, their columns need not do so too.
                use_threads=threads_per_task() != 1,
            ):
                n_rows += batch.num_rows
                yield batch
        if n_rows != self.n_rows:
            raise OSError(f"{n_rows} rows where the footer says {self.n_rows}")


def read_footers(
    where: str,
    files: Sequence[SourceFile],
    hint: str = CHECK_FILE,
    *,
    skipped: dict[str, str] | None = None,
) -> Iterator[tuple[SourceFile, Any, Any]]:
    """Read the Arrow schema and the metadata of each file.

    Parameters
    ----------
    where : str
        The call, for messages.
    files : sequence of SourceFile
        The files.
    hint : str, optional
        What to do about a broken one.
    skipped : dict, optional
        Takes the paths of broken files, and why they are; None makes an error of them.

    Yields
    ------
    file, schema, metadata : tuple
        In the order of the files.

    Raises
    ------
    SourceError
        Naming the file.
    """

    def read(file: SourceFile) -> tuple[SourceFile, Any, Any] | None:
        try:
            check_seal(file.path)
            with pq.ParquetFile(file.path) as opened:
                return file, opened.schema_arrow, opened.metadata
        except BROKEN as err:
            what = f"{file.path!r} ({file.size} bytes)"
            error = unreadable(where, what, err, hint)
            if skipped is None or not isinstance(error, BadFileError):
                raise error from err
            skipped[file.path] = error.reason
            return None

    yield from filter(None, map_waiting(read, files))


def cut_row_groups(file: SourceFile, schema: Any, metadata: Any) -> Iterator[RowGroups]:
    """Put neighbouring row groups together up to about the size of a part."""
    width = sum(_byte_width(each.type) for each in schema)
    start = rows = size = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        estimate = max(group.total_byte_size, group.num_rows * width)
        if rows and size + estimate > PART_BYTES:
            yield RowGroups(file, start, i, rows, size)
            start, rows, size = i, 0, 0
        rows, size = rows + group.num_rows, size + estimate
    if rows:
        yield RowGroups(file, start, metadata.num_row_groups, rows, size)


def columns_without_nulls(metadata: Any, names: Collection[str]) -> set[str]:
    """Choose the columns of a file whose statistics say that there is no null."""
    at = {metadata.schema.column(j).path: j for j in range(metadata.num_columns)}
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return {
        name
        for name in names
        if not groups
        or (name in at and not any(_may_be_null(g.column(at[name])) for g in groups))
    }


def _may_be_null(chunk: Any) -> bool:
    statistics = chunk.statistics
    if statistics is None or not statistics.has_null_count:
        return True
    return bool(statistics.null_count)


def _byte_width(type_: Any) -> int:
    try:
        return max(1, int(type_.bit_width) // 8)
    except ValueError:  # text, lists and the like
        return 16


def to_schema(
    where: str,
    part: Part,
    batch: Any,
    schema: Any,
    constants: Mapping[str, Any] = _NOTHING,
    stored: Mapping[str, str] = _NOTHING,
) -> Any:
    """Bring a batch of a part to the schema of its table.

    Parameters
    ----------
    where : str
        The call, for messages.
    part : Part
        Where the batch is from, for messages.
    batch : pyarrow RecordBatch
        What the file holds, with its own types.
    schema : pyarrow Schema
        The columns to give; each is in the batch or a constant.
    constants : mapping of str to pyarrow Scalar, optional
        Values of the columns that are not in the file.
    stored : mapping of str to str, optional
        Names of columns in the file, where they are others than in the table.

    Returns
    -------
    table : pyarrow Table
        With exactly the schema.

    Raises
    ------
    SourceError
        If a value does not fit; it names the column and the part.
    """
    columns = []
    for each in schema:
        name = stored.get(each.name, each.name)
        try:
            if name in batch.schema.names:
                column = batch.column(name)
                same = column.type == each.type
                columns.append(column if same else column.cast(each.type))
            else:
                value = constants[each.name].cast(each.type)
                columns.append(pa.repeat(value, batch.num_rows))
        except pa.ArrowException as err:
            raise SourceError.expecting(
                where,
                f"values of column {each.name!r} that fit {each.type}",
                f"{part.describe()} (part {part.number}): {err}",
                "write these files again with one type a column, or leave the column "
                "out",
            ) from err
    return pa.Table.from_arrays(columns, schema=schema)
