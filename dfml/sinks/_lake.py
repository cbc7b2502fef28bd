"""Tables in a log: what Delta and Iceberg targets have in common.

Files are staged beside the table, moved under it where nobody looks for them, and named
by one commit. Each try of the commit looks at the table anew, so that no job is
committed twice, and nothing is overwritten that nobody has looked at.
"""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from dfml.exceptions import TargetError, TargetExistsError
from dfml.sinks._column_types import check_same_columns
from dfml.sinks._home import JobHome
from dfml.sinks._partition_values import check_partition_columns
from dfml.sinks._staging import StagedJob, attempt_of, read_json, retract
from dfml.sinks._writing import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from dfml.sinks._files import FileSystem
    from dfml.sinks._writing import WrittenFile

__all__ = ["LakeTable", "LakeTarget", "TableLog"]

# How often a commit is tried while others commit, and how long to wait at most.
_TRIES = 100
_MAX_SECONDS = 1.0


class LakeTable(Protocol):
    """A table as it is at one moment."""

    @property
    def schema(self) -> Any:
        """The columns, with Arrow's types."""

    @property
    def partition_by(self) -> tuple[str, ...]:
        """The columns it is partitioned by."""

    def check_writable(self, mode: str) -> None:
        """Refuse a table that asks of its writers what is not done here."""

    def files(self) -> dict[str, Any]:
        """Give the partition of each data file, by its name without the folders."""

    def mark_of(self, job: str) -> int | None:
        """Give a number that is another one after each commit of a job, or None."""

    def noted_of(self, job: str) -> dict[str, Any]:
        """Give what the last commit of a job has noted; nothing if it was removed."""

    def has_attempt(self, attempt: str) -> bool:
        """Tell whether there was a commit of an attempt."""


class TableLog(Protocol):
    """Where the versions of one table are, there already or not."""

    format: str
    """Name of the format, as in ``format=``."""
    path: str
    """The table, as messages and reports name it."""
    in_files: bool
    """Whether data files hold the partition columns."""

    def open(self) -> LakeTable | None:
        """Read the newest version; None if there is no table."""

    def check_new(self) -> None:
        """Refuse a place where no table is, and none should be made."""

    def root(self) -> str:
        """Name the folder of the table, which may not be there."""

    def data(self) -> str:
        """Name the folder of data files, in ``root``."""

    def retype(self, schema: Any) -> Any:
        """Give columns the types that the format holds them as."""

    def numbered(self, table: LakeTable | None, schema: Any) -> Any:
        """Give columns the numbers that files know them by, where the format has any.

        They are in the metadata of the fields. The columns are those of the table.
        """

    def commit(
        self,
        table: LakeTable | None,
        mode: str,
        layout: Layout,
        written: Sequence[WrittenFile],
        noted: dict[str, Any],
    ) -> bool:
        """Commit on top of what was read; False if somebody else was faster."""


class LakeTarget:
    """A table in a log that a job is committed to.

    Parameters
    ----------
    where : str
        The call, for messages.
    log : TableLog
        The table.
    files : FileSystem
        All calls go through it.
    mode : {"error", "overwrite", "append", "overwrite_partitions"}, default="error"
        What to do with rows that are there.
    partition_by : sequence of str, optional
        What a new table is partitioned by.
    """

    def __init__(
        self,
        where: str,
        log: TableLog,
        files: FileSystem,
        *,
        mode: str = "error",
        partition_by: Sequence[str] | None = None,
    ) -> None:
        self.where, self.log, self.files, self.mode = where, log, files, mode
        self.path = log.path
        self._home = JobHome(where, _home_of(log.root()), files)
        self._asked = None if partition_by is None else tuple(partition_by)
        self._mark: int | None = None
        self._has_looked = False

    @property
    def folder(self) -> str:
        """Where files appear: the folder of the table."""
        return os.path.realpath(self.log.root())

    def options(self) -> dict[str, Any]:
        """Give what makes a job of the same rows another one, as plain data."""
        names = self._partition_by(self.log.open())
        return {"format": self.log.format, "partition_by": list(names)}

    def check_early(self) -> None:
        """Refuse what no job could write, before the source is looked at."""
        table = self.log.open()
        if table is None:
            self.log.check_new()
        else:
            table.check_writable(self.mode)
        names = self._partition_by(table)
        if self.mode == "overwrite_partitions" and not names:
            raise TargetError.expecting(
                self.where,
                'a partitioned table for mode="overwrite_partitions"',
                f"{self.path}, which is not partitioned",
                'pass partition_by=, or mode="overwrite"',
            )

    def _partition_by(self, table: LakeTable | None) -> tuple[str, ...]:
        if table is None:
            return self._asked or ()
        if self._asked is not None and self._asked != table.partition_by:
            raise TargetError.expecting(
                self.where,
                f"partition_by={list(table.partition_by)}, as {self.path} is",
                repr(list(self._asked)),
                "leave partition_by= out, or write to a new table",
            )
        return table.partition_by

    def locked(self, job: str) -> AbstractContextManager[None]:
        """Hold the staging of a job; other jobs may write to the table meanwhile."""
        return self._home.locked(job)

    def recover(self) -> None:
        """Do nothing: a table in a log is never half-way between two versions."""

    def committed(self, job: str) -> dict[str, Any] | None:
        """Give the report of a job if the table has what the job has written.

        Parameters
        ----------
        job : str
            The job.

        Returns
        -------
        report : dict or None
            Empty if the table no longer has it, as after a clean-up of its log.
        """
        table = self.log.open()
        self._mark = None if table is None else table.mark_of(job)
        self._has_looked = True
        if table is None or self._mark is None:
            return None
        noted = table.noted_of(job)
        # Rows that were appended once are not appended again, whatever became of
        # them. What was to be the table, or a partition, has to be there still.
        if self.mode != "append" and not self._has_all(table, noted):
            return None
        self._clean_up(job)
        report: dict[str, Any] = json.loads(noted.get("dfml.report", "{}"))
        return report

    def _has_all(self, table: LakeTable, noted: dict[str, Any]) -> bool:
        if "dfml.attempt" not in noted:
            return False
        files = table.files()
        own = {name for name in files if noted["dfml.attempt"] in name}
        written = {files[name] for name in own}
        in_place = {
            name
            for name, partition in files.items()
            if self.mode != "overwrite_partitions" or partition in written
        }
        return own == in_place and len(own) == int(noted["dfml.files"])

    def check_free(self) -> None:
        """Refuse a table with rows if the mode is ``"error"``.

        Raises
        ------
        TargetExistsError
            Saying which table.
        """
        self._check(self.log.open())

    def _check(self, table: LakeTable | None) -> None:
        if table is None:
            self.log.check_new()
            return
        table.check_writable(self.mode)
        if self.mode == "error" and table.files():
            raise TargetExistsError.expecting(
                self.where,
                "a target that is not there yet, or has no rows",
                f"{self.path}, with rows that this job has not written",
                'pass mode="append", mode="overwrite", or another target',
            )

    def stage(
        self, job: str, plan: dict[str, Any], schema: Any, *, resume: bool
    ) -> StagedJob:
        """Prepare the staging folder of a job.

        Parameters
        ----------
        job : str
            What the job is called.
        plan : dict
            Stored as JSON, for people.
        schema : pyarrow Schema
            What is to be written.
        resume : bool
            False removes what an earlier attempt has finished.

        Returns
        -------
        staged : StagedJob
            With the parts that are complete already.

        Raises
        ------
        TargetError
            If the columns are not those of the table, or the format lacks a type.
        """
        table = self.log.open()
        # What a rival has committed since the call has looked is not to be repeated.
        if not self._has_looked:
            self._mark = None if table is None else table.mark_of(job)
        columns = self._columns(table, schema)
        names = self._partition_by(table)
        check_partition_columns(self.where, columns, names, in_folders=False)
        folder = self._home.staging_of(job)
        plan = {**plan, "fields": columns.to_string(show_field_metadata=True)}
        attempt = self._attempt(folder, plan, table) if resume else None
        if attempt is None:
            self._discard(folder, table)
            attempt = uuid.uuid4().hex[:16]
        layout = Layout(
            self.where,
            columns,
            names,
            in_files=self.log.in_files,
            suffix=f"-{job[:8]}-{attempt}",
        )
        staged = StagedJob(folder, job, attempt, layout, self.files)
        staged.prepare(plan)
        return staged

    def _attempt(
        self, folder: str, plan: dict[str, Any], table: LakeTable | None
    ) -> str | None:
        """Find the attempt that is staged, if its files are still to be committed."""
        staged = read_json(self.files, os.path.join(folder, "plan.json")) or {}
        attempt: str | None = staged.get("attempt")
        if attempt is None or staged.get("fields") != plan["fields"]:
            return None
        return None if table and table.has_attempt(attempt) else attempt

    def _columns(self, table: LakeTable | None, schema: Any) -> Any:
        """Give the columns to write: the job's types, and the table's nullability."""
        columns = self.log.retype(schema)
        if table is None:
            return self.log.numbered(table, columns)
        has = {each.name: str(each.type) for each in table.schema}
        gets = {each.name: str(each.type) for each in columns}
        check_same_columns(self.where, self.path, has, gets)
        for i, each in enumerate(columns):
            nullable = table.schema.field(each.name).nullable
            columns = columns.set(i, each.with_nullable(nullable))
        return self.log.numbered(table, columns)

    def commit(
        self, staged: StagedJob, written: Sequence[WrittenFile], report: dict[str, Any]
    ) -> None:
        """Make the staged files the table's, in one step.

        Parameters
        ----------
        staged : StagedJob
            All parts are complete.
        written : sequence of WrittenFile
            All files.
        report : dict
            Noted in the commit.

        Raises
        ------
        TargetExistsError
            If others commit all the time, or have written a table that was not there.
        TargetError
            If the table has other columns by now.
        """
        named = [file for file in written if file.n_rows]
        noted = {
            "dfml.job": staged.job,
            "dfml.attempt": staged.attempt,
            "dfml.files": str(len(named)),
            "dfml.report": json.dumps(report),
        }
        for n in range(_TRIES):
            table = self.log.open()
            if table is not None and table.mark_of(staged.job) != self._mark:
                break  # somebody else has done the same job
            self._check(table)
            self._check_layout(table, staged.layout)
            if n == 0:
                with staged.room():
                    staged.publish(self.log.data(), [file.path for file in named])
            commit = partial(
                self.log.commit, table, self.mode, staged.layout, named, noted
            )
            if self.files.perform(commit):
                break
            time.sleep(random.uniform(0, min(_MAX_SECONDS, 0.01 * 2**n)))
        else:
            raise TargetExistsError.expecting(
                self.where,
                f"a commit to {self.path} to succeed in {_TRIES} tries",
                "commits of others before each of them",
                "call again: finished parts are kept",
            )
        self._clean_up(staged.job)

    def _check_layout(self, table: LakeTable | None, layout: Layout) -> None:
        """Refuse a table that has changed, so that the staged files no longer fit."""
        columns = self._columns(table, layout.schema)
        names = self._partition_by(table)
        is_same = columns.equals(layout.schema, check_metadata=True)
        if not is_same or names != layout.partition_by:
            raise TargetError.expecting(
                self.where,
                f"columns and partitions of {self.path} to stay what they were",
                f"a table partitioned by {list(names)}, with the columns {columns}",
                "call again with resume=False",
            )

    def _clean_up(self, job: str) -> None:
        table = self.log.open()
        self._home.clean_up(
            job,
            lambda folder: self._discard(folder, table),
            others=self.mode in ("error", "overwrite"),
        )

    def _discard(self, folder: str, table: LakeTable | None) -> None:
        """Remove a staging folder, and what was moved from it if no commit names it."""
        attempt = attempt_of(self.files, folder)
        if attempt is not None and not (table and table.has_attempt(attempt)):
            retract(self.files, folder)
        self.files.remove(folder)


def _home_of(root: str) -> str:
    """Find the folder for staging: beside the table, on the same file system."""
    root = os.path.realpath(root)
    parent, name = os.path.split(root)
    if os.path.isdir(root) and os.stat(root).st_dev != os.stat(parent).st_dev:
        return os.path.join(root, ".dfml")
    return os.path.join(parent, f".{name}.dfml")
