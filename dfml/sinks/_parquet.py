"""A folder of Parquet files that appears as a whole or not at all.

The staged files of a job take the target's name in one step. The target itself never
holds anything but Parquet files, in folders ``name=value`` where it is partitioned.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import uuid
import warnings
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dfml.exceptions import DfmlWarning, TargetError, TargetExistsError
from dfml.sinks._partition_values import check_partition_columns
from dfml.sinks._staging import StagedJob, attempt_of, is_of_job, read_json
from dfml.sinks._writing import Layout
from dfml.sources._files import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from dfml.sinks._files import FileSystem
    from dfml.sinks._writing import WrittenFile

__all__ = ["ParquetTarget"]

_logger = logging.getLogger("dfml")

_INTEGER = re.compile(r"-?[0-9]+")
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class ParquetTarget:
    """The place of a table, and ``.<name>.dfml`` beside it for staging and reports.

    Parameters
    ----------
    where : str
        The call, for messages.
    path : path
        The folder that the table will be; a link is followed.
    files : FileSystem
        All calls go through it.
    mode : {"error", "overwrite"}, default="error"
        What to do with a table that is there.
    partition_by : sequence of str, default=()
        Columns whose values become names of folders.

    Notes
    -----
    Methods that change anything are to be called while ``locked`` is held.
    """

    def __init__(
        self,
        where: str,
        path: str | os.PathLike[str],
        files: FileSystem,
        *,
        mode: str = "error",
        partition_by: Sequence[str] = (),
    ) -> None:
        self.where, self.mode, self.files = where, mode, files
        self.path = os.path.realpath(os.path.expanduser(os.fspath(path)))
        self.partition_by = tuple(partition_by)
        self.parent = os.path.dirname(self.path)
        self._report = _report_of(self.path)
        self.home = os.path.dirname(self._report)

    @property
    def folder(self) -> str:
        """Where files appear: the table itself."""
        return self.path

    def options(self) -> dict[str, Any]:
        """Give what makes a job of the same rows another one, as plain data."""
        return {"format": "parquet", "partition_by": list(self.partition_by)}

    def check_early(self) -> None:
        """Refuse what no job could write, before the source is looked at."""
        if self.mode not in ("error", "overwrite"):
            raise TargetError.expecting(
                self.where,
                'mode="error" or mode="overwrite" for a folder of Parquet files, which '
                "readers would see half-way in other modes",
                repr(self.mode),
                'write to a Delta table with format="delta", or to Iceberg or DuckDB',
            )
        self._check_apart()
        if not self.files.exists(self.home):
            self.check_free()

    def _check_apart(self) -> None:
        """Refuse a folder inside a table: its files would become rows of that."""
        above = self.parent
        while above != os.path.dirname(above):
            if self.files.exists(_report_of(above)):
                raise TargetExistsError.expecting(
                    self.where,
                    "a target that is in no other table",
                    f"{self.path!r}, inside the table {above!r} of an earlier job",
                    "choose a folder beside it",
                )
            above = os.path.dirname(above)

    def locked(self, job: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Hold the target against all other calls that write to it."""
        return self.files.locked(os.path.join(self.home, "lock"), self.where)

    def check_free(self) -> None:
        """Refuse a target that is taken, or that is no table.

        Raises
        ------
        TargetExistsError
            If it is there and the mode is ``"error"``, or if it holds other files
            than Parquet. An empty folder is free.
        """
        if self._is_free():
            return
        is_new = self.mode != "overwrite"
        expected = "to overwrite a folder of Parquet files"
        if is_new:
            expected = "a target that is not there yet"
        others = list(islice(_other_files(self.path), 3))
        if others:
            raise TargetExistsError.expecting(
                self.where,
                expected,
                f"{self.path!r} with {others}",
                "choose another target, or move these files away",
            )
        if is_new:
            raise TargetExistsError.expecting(
                self.where,
                expected,
                f"{self.path!r}, which this job has not written",
                'pass mode="overwrite", or another target',
            )

    def _is_free(self) -> bool:
        if not self.files.exists(self.path):
            return True
        return os.path.isdir(self.path) and not self.files.sizes(self.path)

    def recover(self) -> None:
        """Undo an exchange of two renames that was cut between them."""
        if self.files.exists(self.path):
            return
        for name in self.files.sizes(self.home):
            old = os.path.join(self.home, name, "old")
            new = os.path.join(self.home, name, "data")
            if self.files.exists(old) and self.files.exists(new):
                _logger.warning("restoring %s after an interrupted commit", self.path)
                self.files.rename(old, self.path)
                self.files.sync_folder(self.parent)

    def committed(self, job: str) -> dict[str, Any] | None:
        """Give the report of a job if the target holds what the job has written.

        Parameters
        ----------
        job : str
            The job.

        Returns
        -------
        report : dict or None
            What was passed to ``commit``. A commit whose end was cut is ended.
        """
        staged = os.path.join(self.home, job, "report.json")
        for path in (self._report, staged):
            stored = read_json(self.files, path)
            if stored is not None and self._holds(job, stored):
                self._finish(staged)
                report: dict[str, Any] = stored["report"]
                return report
        return None

    def _holds(self, job: str, stored: dict[str, Any]) -> bool:
        if stored.get("job") != job or not os.path.isdir(self.path):
            return False
        if self.files.tree(self.path) != stored["files"]:
            return False
        return is_of_job(os.path.join(self.path, min(stored["files"])), job)

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
            If the table cannot be partitioned by the columns.
        """
        names = self.partition_by
        check_partition_columns(self.where, schema, names, in_folders=True)
        folder = os.path.join(self.home, job)
        attempt = attempt_of(self.files, folder) or uuid.uuid4().hex
        # Whoever has listed the files of the table before misses them when they are
        # replaced, and does not read some of the old with some of the new.
        suffix = f"-{job[:8]}"
        layout = Layout(self.where, schema, names, in_folders=True, suffix=suffix)
        staged = StagedJob(folder, job, attempt, layout, self.files)
        if not resume:
            self.files.remove(folder)
        staged.prepare(plan)
        if os.path.isdir(self.path):  # who may not see the table sees no part of it
            self.files.imitate(staged.data, self.path)
        return staged

    def commit(
        self, staged: StagedJob, written: Sequence[WrittenFile], report: dict[str, Any]
    ) -> None:
        """Give the staged files the target's name, in one step.

        Parameters
        ----------
        staged : StagedJob
            All parts are complete.
        written : sequence of WrittenFile
            All files.
        report : dict
            Kept beside the target.

        Raises
        ------
        TargetExistsError
            If somebody has put other things in its place since ``check_free``.
        """
        _warn_of_numbers(staged.layout, written)
        sizes = {file.path: file.n_bytes for file in written}
        with staged.room():
            staged.write_report({"job": staged.job, "files": sizes, "report": report})
        self.check_free()  # somebody may have come while the job ran
        if self._is_free():
            self._rename(staged.data)
        elif not self.files.exchange(staged.data, self.path):
            self.files.rename(self.path, staged.path("old"))
            self._rename(staged.data)
        self.files.sync_folder(self.parent)
        self._finish(staged.path("report.json"))

    def _rename(self, data: str) -> None:
        try:
            self.files.rename(data, self.path)
        except OSError as err:
            if err.errno not in _TAKEN:
                raise
            raise TargetExistsError.expecting(
                self.where,
                "the target to stay free while it works",
                f"{self.path!r}, made by somebody else",
                "move it away and call again: finished parts are kept",
            ) from err

    def _finish(self, staged_report: str) -> None:
        """Move the report to its place and remove all staging; not worth an error."""
        try:
            if self.files.exists(staged_report):
                self.files.replace(staged_report, self._report)
            for name in self.files.sizes(self.home):
                if name not in ("lock", "report.json"):
                    self.files.remove(os.path.join(self.home, name))
        except OSError as err:
            _logger.warning("%s is committed; left in staging: %s", self.path, err)


def _report_of(path: str) -> str:
    parent, name = os.path.split(path)
    return os.path.join(parent, f".{name}.dfml", "report.json")


def _other_files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield from [] if path.endswith(EXTENSIONS) else [os.path.basename(path)]
    for parent, _, names in os.walk(path):
        for name in names:
            if not name.endswith(EXTENSIONS) and not name.startswith(("_", ".")):
                yield os.path.relpath(os.path.join(parent, name), path)


def _warn_of_numbers(layout: Layout, written: Sequence[WrittenFile]) -> None:
    """Say which text columns readers will take for numbers, as folders have no type."""
    for i, name in enumerate(layout.partition_by):
        if pa.types.is_integer(layout.schema.field(name).type):
            continue
        found = {file.values[i] for file in written if file.values}
        values = sorted(value for value in found if value is not None)
        numbers = [value for value in values if _INTEGER.fullmatch(value)]
        # dask looks for the number that it has read among the texts.
        padded = [value for value in numbers if str(int(value)) != value]
        text = f"values of the partition column {name!r} look like numbers, such as"
        if numbers and numbers == values:
            _warn(f"All {text} {numbers[0]!r}: readers will take its text for integers")
        elif padded:
            _warn(f"Some {text} {padded[0]!r}: dask will read these as missing")


def _warn(text: str) -> None:
    warnings.warn(f"{text}.", DfmlWarning, stacklevel=3)
