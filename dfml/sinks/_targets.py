"""What a target is, and which one a caller means.

A target is a table of somebody: a folder, or a table in a log, a catalog or a database.
Whoever runs a job knows this protocol and nothing of how a table is committed.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from dfml.exceptions import InputTypeError, TargetError
from dfml.sinks._delta import DeltaLog
from dfml.sinks._duckdb import DuckDBTarget
from dfml.sinks._files import FileSystem
from dfml.sinks._iceberg import IcebergLog
from dfml.sinks._lake import LakeTarget
from dfml.sinks._parquet import ParquetTarget

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from dfml.sinks._lake import TableLog
    from dfml.sinks._staging import StagedJob
    from dfml.sinks._writing import WrittenFile

__all__ = ["FORMATS", "MODES", "Target", "open_target", "placing"]

FORMATS = ("parquet", "delta", "duckdb")
#: How names of database files end that nobody would give to a folder.
DATABASES = (".duckdb", ".ddb", ".db")
MODES = ("error", "overwrite", "append", "overwrite_partitions")

_NO_PERMISSION = "let this user write to the folder that it is in"
_NO_FOLDER = "choose a target in a folder, of a file system that takes files"
#: What the system says of places where nothing can be made, and what to do about it.
#: Other errors are not about the place, and pass.
_NO_PLACE = {
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "choose a target on a file system that is not read-only",
    errno.EEXIST: _NO_FOLDER,
    errno.ENOENT: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.ELOOP: "mend the links that its path goes through",
    errno.ENAMETOOLONG: "choose a shorter name; what is staged beside it has a longer "
    "one",
}


class Target(Protocol):
    """A table to write; all but ``check_early`` is called while it is locked.

    The table changes in ``commit`` and nowhere else, in one step. What was staged for a
    job that did not come to its end is found again by the next call of the same job.
    """

    path: str
    """The table, as reports name it."""
    mode: str
    """What becomes of rows that are there."""

    @property
    def folder(self) -> str | None:
        """The folder in which files appear, to be kept apart from the source."""

    def options(self) -> dict[str, Any]:
        """Give what makes a job of the same rows another one, as plain data."""

    def check_early(self) -> None:
        """Refuse what no job could write, before the source is looked at."""

    def locked(self, job: str) -> AbstractContextManager[None]:
        """Hold what two calls of the same job must not do at once."""

    def recover(self) -> None:
        """Undo what a commit that was cut short has left half-way."""

    def committed(self, job: str) -> dict[str, Any] | None:
        """Give the report of a job that the table has, else None."""

    def check_free(self) -> None:
        """Refuse a table that the mode does not allow to change."""

    def stage(
        self, job: str, plan: dict[str, Any], schema: Any, *, resume: bool
    ) -> StagedJob:
        """Prepare the staging folder of a job that writes rows of a schema."""

    def commit(
        self, staged: StagedJob, written: Sequence[WrittenFile], report: dict[str, Any]
    ) -> None:
        """Make the staged files the table's, in one step."""


def open_target(
    where: str,
    target: Any,
    *,
    mode: str = "error",
    format: str | None = None,
    table: str | None = None,
    partition_by: Sequence[str] | None = None,
    files: FileSystem | None = None,
) -> Target:
    """Find out what kind of table a target is.

    Parameters
    ----------
    where : str
        The call, for messages.
    target : object
        A path, or a table, catalog or connection of another library.
    mode : str, default="error"
        What to do with a table that is there.
    format : str, optional
        What a path is.
    table : str, optional
        Name of the table in a catalog or database.
    partition_by : sequence of str, optional
        Columns that a new table is partitioned by.
    files : FileSystem, optional
        The real one by default.

    Returns
    -------
    target : Target
        Nothing was changed.

    Raises
    ------
    InputTypeError
        If the target is nothing that can be written to.
    TargetError
        If the other arguments do not go with it.
    """
    files = files or FileSystem()
    kind = _kind_of(where, target, format)
    takes_name = kind in ("catalog", "duckdb")
    if takes_name != (table is not None):
        raise TargetError.expecting(
            where,
            "table= for a target that holds many tables, and for no other",
            f"table={table!r} for {_describe(target)}",
            "pass the name of the table"
            if takes_name
            else 'leave table= out, or pass format="duckdb" for a database file',
        )
    if kind == "parquet":
        folder = _local_folder(where, target)
        names = partition_by or ()
        return ParquetTarget(where, folder, files, mode=mode, partition_by=names)
    if kind == "duckdb":
        if partition_by:
            raise TargetError.expecting(
                where,
                "no partition_by for a DuckDB table, which has no partitions",
                repr(list(partition_by)),
                "leave partition_by= out",
            )
        return DuckDBTarget(where, target, str(table), files, mode=mode)
    log = _log_of(where, kind, target, table)
    return LakeTarget(where, log, files, mode=mode, partition_by=partition_by)


@contextmanager
def placing(where: str, target: Target) -> Iterator[None]:
    """Name the target in the error, if there can be nothing where it is to be.

    Parameters
    ----------
    where : str
        The call, for messages.
    target : Target
        For which the body makes the first file.

    Raises
    ------
    TargetError
        In place of what the system says about a folder for staging.
    """
    try:
        yield
    except OSError as err:
        hint = _NO_PLACE.get(err.errno or 0)
        if hint is None:
            raise
        got = f"{target.path!r}: {err.strerror}"
        raise TargetError.expecting(
            where, "a target beside which files can be staged", got, hint
        ) from err


def _log_of(where: str, kind: str, target: Any, table: str | None) -> TableLog:
    if kind == "delta":
        return DeltaLog(where, _local_folder(where, target))
    if kind == "delta table":
        return DeltaLog.of(where, target)
    if kind == "catalog":
        return IcebergLog(where, target, tuple(str(table).split(".")))
    return IcebergLog(where, target.catalog, target.name())


# Class names of other libraries, whatever module of them they are in.
_KINDS = {
    ("deltalake", "DeltaTable"): ("delta table", "delta"),
    ("pyiceberg", "Table"): ("iceberg table", "iceberg"),
    ("pyiceberg", "Catalog"): ("catalog", "iceberg"),
    ("_duckdb", "DuckDBPyConnection"): ("duckdb", "duckdb"),
    ("duckdb", "DuckDBPyConnection"): ("duckdb", "duckdb"),
}


def _kind_of(where: str, target: Any, format: str | None) -> str:
    """Tell what a target is; the libraries that made it are not loaded for that."""
    if isinstance(target, (str, os.PathLike)):
        _check_path(where, os.fspath(target))
        return format or _format_of(os.fspath(target))
    for each in type(target).__mro__:
        found = _KINDS.get((each.__module__.partition(".")[0], each.__name__))
        if found is not None and format in (None, found[1]):
            return found[0]
    raise InputTypeError.expecting(
        where,
        "a target that is a path, a deltalake.DeltaTable, a table or catalog of "
        "pyiceberg, or a DuckDB connection",
        f"{_describe(target)} with format={format!r}",
        "pass one of these, with the format that it has",
    )


def _check_path(where: str, path: str) -> None:
    """Refuse what is the path of nothing, or of what is not to be replaced."""
    got = None
    if not path:
        got = "an empty text"
    elif "\0" in path:
        got = f"{path!r}, with a NUL, which no name has"
    elif os.path.realpath(os.path.expanduser(path)) == os.sep:
        got = f"{path!r}, which all folders are in"
    if got is not None:
        raise TargetError.expecting(
            where, "a path as target", got, "pass the path of a table"
        )


def _format_of(path: str) -> str:
    """Tell the format of a path that comes without one."""
    if os.path.isdir(os.path.join(path, "_delta_log")):
        return "delta"
    if path.endswith(DATABASES) and not os.path.isdir(path):
        return "duckdb"
    return "parquet"


def _describe(target: Any) -> str:
    is_path = isinstance(target, (str, os.PathLike))
    return repr(os.fspath(target)) if is_path else f"a {type(target).__name__}"


def _local_folder(where: str, target: Any) -> str:
    path = os.fspath(target)
    if "://" in path:
        raise TargetError.expecting(
            where,
            "a folder on a file system that all workers share",
            repr(path),
            "write to such a folder, and copy the finished table",
        )
    return str(path)
