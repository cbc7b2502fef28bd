"""What a target is, and which one a caller means.

A target is a table of somebody: a folder, or a table in a log, a catalog or a database.
Whoever runs a job knows this protocol and nothing of how a table is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dfml.exceptions import TargetError
from dfml.sinks._files import FileSystem
from dfml.sinks._parquet import ParquetTarget

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from dfml.sinks._staging import StagedJob
    from dfml.sinks._writing import WrittenFile

__all__ = ["FORMATS", "MODES", "Target", "open_target"]

FORMATS = ("parquet", "delta", "duckdb")
MODES = ("error", "overwrite", "append", "overwrite_partitions")


class Target(Protocol):
    """A table to write; all but ``check_early`` is called while it is locked.

    The table changes in ``commit`` and nowhere else, in one step. What was staged for a
    job that did not come to its end is found again by the next call of the same job.
    """

    path: str
    """The table, as reports name it."""

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
    TargetError
        If the other arguments do not go with it.
    """
    files = files or FileSystem()
    if format not in (None, "parquet") or table is not None:
        raise TargetError.expecting(
            where, "a folder of Parquet files", repr(format or table), "leave it out"
        )
    return ParquetTarget(
        where, target, files, mode=mode, partition_by=tuple(partition_by or ())
    )
