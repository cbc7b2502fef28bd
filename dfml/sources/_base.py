"""What a source table is: names, a schema, and parts that read themselves.

Each kind of source has a module with one class of table and one of part. Whoever reads
a table knows these two protocols and nothing of files, logs or snapshots.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from dfml.exceptions import BadFileError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "BROKEN",
    "CHECK_FILE",
    "ChangedFileError",
    "NoRows",
    "Part",
    "SourceTable",
    "reading",
    "unreadable",
]

#: What to do about a file that belongs to no log.
CHECK_FILE = "write the file again, or move it out of the source"
_REPEAT = "call again when nobody writes to the source"
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: What comes of the content of a file: Arrow gives no number, or has been sent to a
#: place that is not in the file, or the disk has lost it.
_DAMAGES = (None, errno.EINVAL, errno.EIO)
#: What Arrow raises for files that are not what they should be.
BROKEN = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    MemoryError,
)


class Part(Protocol):
    """Some rows of a table, the unit of work; it pickles, and holds no open file."""

    @property
    def number(self) -> int:
        """Position in the table."""

    @property
    def n_rows(self) -> int:
        """Rows that a read gives."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells the part from all others of its table: plain data."""

    def describe(self) -> str:
        """Name the file and the rows in it, for messages."""

    def read(self, where: str, schema: Any) -> Iterator[Any]:
        """Read some columns, in slices that fit in memory.

        Parameters
        ----------
        where : str
            The call, for messages.
        schema : pyarrow Schema
            The columns and their types, from :meth:`SourceTable.schema`.

        Yields
        ------
        table : pyarrow Table
            With exactly the schema; at least one.

        Raises
        ------
        SourceError
            If the rows are not what they were when the table was opened, cannot be
            read, or hold a value that the schema's type cannot hold.
        """


class SourceTable(Protocol):
    """A table as it was when it was opened; no row has been read."""

    @property
    def where(self) -> str:
        """The call, for messages."""

    @property
    def names(self) -> list[str]:
        """All column names, in order."""

    @property
    def keys(self) -> list[str]:
        """The columns that come from ``name=value`` folders: dask's categories."""

    @property
    def parts(self) -> Sequence[Part]:
        """The parts in an order that does not change; empty if there are no rows."""

    @property
    def n_rows(self) -> int:
        """Count the rows of all parts."""

    def schema(self, names: Sequence[str] | None = None) -> Any:
        """Give the schema that each part has after reading.

        Parameters
        ----------
        names : sequence of str, optional
            The columns that are needed, in order; they are checked. None gives all
            of them unchecked.

        Returns
        -------
        schema : pyarrow Schema
            Without metadata of the files.

        Raises
        ------
        SourceError
            If parts have a needed column with types that do not fit together.
        """

    def version(self) -> dict[str, Any]:
        """Give what changes whenever the rows may have changed, as plain data."""

    def overlaps(self, folder: str) -> bool:
        """Tell if files written to a folder could become rows of the table."""

    def describe(self) -> str:
        """Name the table, for messages."""


@dataclass(frozen=True)
class NoRows:
    """The part that stands for a table without rows, so that it has its columns."""

    number: int = 0
    n_rows: int = 0
    key: tuple[Any, ...] = ()

    def describe(self) -> str:
        """Say that there is nothing."""
        return "a table without rows"

    def read(self, where: str, schema: Any) -> Iterator[Any]:  # noqa: ARG002
        """Give one table without rows."""
        yield schema.empty_table()


class ChangedFileError(OSError):
    """A file is not the one that was listed."""


@contextmanager
def reading(where: str, part: Part, hint: str = CHECK_FILE) -> Iterator[None]:
    """Name the part in the error, if what is read in the body is broken.

    Raises
    ------
    SourceError
        As :func:`unreadable` makes it.
    """
    try:
        yield
    except SourceError:
        raise
    except BROKEN as err:
        what = f"{part.describe()} (part {part.number})"
        raise unreadable(where, what, err, hint) from err


def unreadable(
    where: str,
    what: str,
    err: BaseException,
    hint: str = CHECK_FILE,
) -> SourceError:
    """Make the error for files that cannot be read; to be raised from `err`."""
    other_hint = _hint_if_whole(err, hint)
    kind = BadFileError if other_hint is None else SourceError
    reason = f"{type(err).__name__}: {err}"
    error = kind.expecting(
        where, "files that can be read", f"{what}: {reason}", other_hint or hint
    )
    if isinstance(error, BadFileError):
        error.reason = reason
    return error


def _hint_if_whole(err: BaseException, hint: str) -> str | None:
    """Say what to do about an error that says nothing of what is in the file."""
    code = getattr(err, "errno", None)
    is_free = hint == CHECK_FILE
    if isinstance(err, ChangedFileError):
        return _REPEAT if is_free else hint
    if isinstance(err, FileNotFoundError):
        return _REPEAT if is_free else None  # files that a log names have to be there
    if isinstance(err, PermissionError):
        return "let this user read it"
    if isinstance(err, MemoryError) or code in _SHORTAGES:
        return "call again with more memory or open files"
    if isinstance(err, TimeoutError) or code not in _DAMAGES:
        return "call again when the file system answers"
    return None
