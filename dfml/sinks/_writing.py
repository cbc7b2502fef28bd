"""One part of a job as Parquet files: one, or one for each partition it has rows of.

Files are written under temporary names and take their own when all of the part's are
complete. Which names, columns and folders is the business of the target's layout.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from dfml.exceptions import SourceError, TargetError
from dfml.sinks._partition_values import MAX_PARTITIONS, folder_of, split_rows
from dfml.sources._seals import SEAL, seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dfml.sinks._files import FileSystem

__all__ = ["Layout", "PartWriter", "WrittenFile", "checked_footer"]

_COMPRESSION = "zstd"
# Files that are open at once. With more partitions than this the one that was not
# written to for longest is closed, and its next rows begin another file.
_MAX_OPEN = 64
_NO_VALUES: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How a target wants the rows of a part in files; it pickles.

    Parameters
    ----------
    where : str
        The call, for messages.
    schema : pyarrow Schema
        The columns of the table; rows are cast to it.
    partition_by : tuple of str, default=()
        Each file has rows of one value of these columns.
    in_folders : bool, default=False
        Whether the values are names of folders, ``name=value``.
    in_files : bool, default=False
        Whether these columns are in the files too.
    suffix : str, default=""
        What the names of files end in, before the extension.
    """

    where: str
    schema: Any
    partition_by: tuple[str, ...] = ()
    in_folders: bool = False
    in_files: bool = False
    suffix: str = ""

    @property
    def file_schema(self) -> Any:
        """The columns of each file."""
        if self.in_files or not self.partition_by:
            return self.schema
        names = self.partition_by
        return pa.schema([each for each in self.schema if each.name not in names])

    def path(self, number: int, position: int, values: tuple[str | None, ...]) -> str:
        """Name a file: of which part, the how manieth of it, of which partition."""
        if not self.partition_by or not values:
            return f"part-{number:05d}{self.suffix}.parquet"
        name = f"part-{number:05d}-{position:04d}{self.suffix}.parquet"
        if not self.in_folders:
            return name
        return f"{folder_of(self.partition_by, values)}/{name}"

    def cast(self, table: Any) -> Any:
        """Give rows the table's types.

        Raises
        ------
        TargetError
            If a value would change, or is null where the table allows none.
        """
        columns = [
            self._cast_column(each, table.column(i))
            for i, each in enumerate(self.schema)
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _cast_column(self, field: Any, column: Any) -> Any:
        try:
            found = column if column.type == field.type else column.cast(field.type)
        except pa.ArrowInvalid as err:
            raise TargetError.expecting(
                self.where,
                f"values of column {field.name!r} that fit the table's {field.type}",
                str(err),
                "cast the column in the source, or leave it out with keep=",
            ) from err
        if not field.nullable and found.null_count:
            raise TargetError.expecting(
                self.where,
                f"no null in column {field.name!r}, as the table wants it",
                f"{found.null_count} nulls",
                "fill them in the source, or write to a new table",
            )
        return found

    def split(self, table: Any) -> Any:
        """Take rows apart by partition: pairs of values and rows."""
        if not self.partition_by:
            return [(_NO_VALUES, table)]
        return split_rows(
            self.where, table, self.partition_by, in_folders=self.in_folders
        )


@dataclass(frozen=True)
class WrittenFile:
    """What is known of a file that was written.

    Parameters
    ----------
    path : str
        Relative to the folder of all files.
    n_rows, n_bytes : int
        Rows and bytes.
    values : tuple of (str or None)
        Of the partition columns.
    """

    path: str
    n_rows: int
    n_bytes: int
    values: tuple[str | None, ...] = ()

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Make it of the plain data that ``asdict`` gives."""
        return cls(**{**plain, "values": tuple(plain["values"])})


def checked_footer(where: str, folder: str, file: WrittenFile) -> Any:
    """Read the footer of a file, and compare it with what was written.

    Parameters
    ----------
    where : str
        The call, for messages.
    folder : str
        Where the file is.
    file : WrittenFile
        What was written.

    Returns
    -------
    footer : pyarrow FileMetaData
        What the file says of itself.

    Raises
    ------
    SourceError
        If the file has other bytes or rows.
    """
    path = os.path.join(folder, file.path)
    n_bytes = os.path.getsize(path)
    footer = pq.read_metadata(path) if n_bytes == file.n_bytes else None
    if footer is None or footer.num_rows != file.n_rows:
        raise SourceError.expecting(
            where,
            f"{file.n_rows} rows in {file.n_bytes} bytes in {path!r}",
            f"{n_bytes} bytes" if footer is None else f"{footer.num_rows} rows",
            "call again with resume=False; nothing was committed",
        )
    return footer


class _OpenFile:
    """A Parquet file that is being written under a temporary name."""

    def __init__(
        self,
        files: FileSystem,
        temporary: str,
        schema: Any,
        values: tuple[str | None, ...],
    ) -> None:
        self.temporary, self.values, self.n_rows = temporary, values, 0
        self._files = files
        self._file = files.create(temporary)
        try:
            # Arrow would close the file, which still has to be synced.
            self._writer = pq.ParquetWriter(
                pa.PythonFile(_Unclosed(self._file), "w"),
                schema,
                compression=_COMPRESSION,
                use_dictionary=_dictionary_columns(schema),
                write_page_checksum=True,
            )
        except BaseException:
            self._file.close()
            with contextlib.suppress(OSError):
                files.remove(temporary)
            raise

    def write(self, table: Any) -> None:
        self._writer.write_table(table)
        self.n_rows += table.num_rows

    def close(self) -> int:
        """Bring all of it to the disk, and tell its bytes."""
        self._writer.add_key_value_metadata(SEAL)
        self._writer.close()
        seal(self._file)
        self._files.sync(self._file)
        n_bytes = self._file.tell()
        self._file.close()
        return n_bytes

    def abandon(self) -> None:
        """Close what may be broken already."""
        for close in (self._writer.close, self._file.close):
            with contextlib.suppress(OSError, ValueError, pa.ArrowException):
                close()
        self._writer.is_open = False  # or it would be closed again when collected


class PartWriter:
    """Writes the rows of one part; nothing has a lasting name before ``finish``.

    Parameters
    ----------
    layout : Layout
        How rows become files.
    number : int
        Of the part.
    job : str
        Written to the footer of each file.
    folder : str
        Where temporary files may be.
    files : FileSystem
        All calls go through it.
    """

    def __init__(
        self, layout: Layout, number: int, job: str, folder: str, files: FileSystem
    ) -> None:
        self.number = number
        self._layout, self._folder, self._files = layout, folder, files
        marks = {"dfml.job": job, "dfml.part": str(number)}
        self._schema = layout.file_schema.with_metadata(marks)
        self._open: OrderedDict[tuple[str | None, ...], _OpenFile] = OrderedDict()
        self._complete: list[tuple[str, WrittenFile]] = []
        self._seen: set[tuple[str | None, ...]] = set()

    def write_all(self, tables: Iterable[Any]) -> None:
        """Write all rows; those of the last table are not kept while files close.

        If that fails nothing is left, and nothing more can be written.
        """
        with self._undone_on_error():
            for table in tables:
                self.write(table)

    def write(self, table: Any) -> None:
        """Write some rows."""
        for values, rows in self._layout.split(self._layout.cast(table)):
            self._file_for(values).write(rows.select(self._schema.names))

    def finish(self, target: str) -> list[WrittenFile]:
        """Bring all files to the disk, and give them their names below a folder.

        If that fails, what has no name yet is gone.

        Parameters
        ----------
        target : str
            The folder; it is there.

        Returns
        -------
        written : list of WrittenFile
            In the order of their names.
        """
        with self._undone_on_error():
            if not (self._layout.partition_by or self._seen):
                self._file_for(_NO_VALUES)  # a part without rows has a file too
            while self._open:
                self._close_oldest()
            folders = {os.path.dirname(file.path) for _, file in self._complete}
            for folder in sorted(folders - {""}):
                self._files.make_folder(os.path.join(target, folder))
            for temporary, file in self._complete:
                self._files.replace(temporary, os.path.join(target, file.path))
        return sorted((file for _, file in self._complete), key=lambda file: file.path)

    @contextlib.contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for opened in self._open.values():
                opened.abandon()
            temporary = [opened.temporary for opened in self._open.values()]
            for name in [*temporary, *(name for name, _ in self._complete)]:
                with contextlib.suppress(OSError):
                    self._files.remove(name)
            raise

    def _file_for(self, values: tuple[str | None, ...]) -> _OpenFile:
        if values in self._open:
            self._open.move_to_end(values)
            return self._open[values]
        self._seen.add(values)
        if len(self._seen) > MAX_PARTITIONS:
            raise TargetError.expecting(
                self._layout.where,
                f"at most {MAX_PARTITIONS} partitions in a part",
                f"more values of {list(self._layout.partition_by)}",
                "partition by a column of fewer values",
            )
        if len(self._open) == _MAX_OPEN:
            self._close_oldest()
        temporary = os.path.join(
            self._folder, f"part-{self.number:05d}-{uuid.uuid4().hex}"
        )
        opened = _OpenFile(self._files, temporary, self._schema, values)
        self._open[values] = opened
        return opened

    def _close_oldest(self) -> None:
        values, opened = next(iter(self._open.items()))
        n_bytes = opened.close()
        del self._open[values]
        path = self._layout.path(self.number, len(self._complete), values)
        file = WrittenFile(path, opened.n_rows, n_bytes, values)
        self._complete.append((opened.temporary, file))


def _dictionary_columns(schema: Any) -> list[str] | bool:
    """Leave floats out: a dictionary of them takes 3 times as long and is dropped."""
    if any(pa.types.is_nested(each.type) for each in schema):
        return True  # the columns inside would have to be named
    return [each.name for each in schema if not pa.types.is_floating(each.type)]


class _Unclosed:
    """A file that stays open when its user closes it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        self._file.flush()
        self.closed = True
