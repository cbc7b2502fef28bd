"""A folder of Parquet files that appears as a whole or not at all.

The staged files of a job take the target's name in one step. The target itself never
holds anything but Parquet files.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING, Any

from dfml.exceptions import TargetExistsError
from dfml.sinks._staging import StagedJob, is_of_job, read_json
from dfml.sources._files import EXTENSIONS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dfml.sinks._files import FileSystem

__all__ = ["ParquetTarget"]

_logger = logging.getLogger("dfml")

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

    Notes
    -----
    Methods that change anything are to be called while ``locked`` is held.
    """

    def __init__(self, where: str, path: str | os.PathLike[str], files: FileSystem):
        self.where = where
        self.path = os.path.realpath(os.path.expanduser(os.fspath(path)))
        self.files = files
        parent, name = os.path.split(self.path)
        self.parent = parent
        self.home = os.path.join(parent, f".{name}.dfml")
        self._report = os.path.join(self.home, "report.json")

    def locked(self) -> AbstractContextManager[None]:
        """Hold the target against other calls that write to it."""
        self.files.make_folder(self.home)
        return self.files.locked(os.path.join(self.home, "lock"), self.where)

    def check_free(self, mode: str) -> None:
        """Refuse a target that is taken, or that is no table.

        Raises
        ------
        TargetExistsError
            If it is there and ``mode`` is ``"error"``, or if it holds other files
            than Parquet. An empty folder is free.
        """
        if self._is_free():
            return
        if mode != "overwrite":
            raise TargetExistsError.expecting(
                self.where,
                "a target that is not there yet",
                f"{self.path!r}, which this job has not written",
                'pass mode="overwrite", or another target',
            )
        others = _other_files(self.path)
        if others:
            raise TargetExistsError.expecting(
                self.where,
                "to overwrite a folder of Parquet files",
                f"{self.path!r} with {others[:3]}",
                "choose another target, or move these files away",
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
        stored : dict or None
            What was passed to ``commit``. A commit whose end was cut is ended.
        """
        staged = os.path.join(self.home, job, "report.json")
        for path in (self._report, staged):
            stored = read_json(self.files, path)
            if stored is not None and self._holds(job, stored):
                self._finish(staged)
                return stored
        return None

    def _holds(self, job: str, stored: dict[str, Any]) -> bool:
        if stored.get("job") != job or not os.path.isdir(self.path):
            return False
        if self.files.sizes(self.path) != stored["files"]:
            return False
        return is_of_job(os.path.join(self.path, min(stored["files"])), job)

    def stage(self, job: str, plan: dict[str, Any], *, resume: bool) -> StagedJob:
        """Prepare the staging folder of a job.

        Parameters
        ----------
        job : str
            What the job is called.
        plan : dict
            Stored as JSON, for people.
        resume : bool
            False removes what an earlier attempt has finished.

        Returns
        -------
        staged : StagedJob
            With the parts that are complete already.
        """
        staged = StagedJob(os.path.join(self.home, job), job, self.files)
        if not resume:
            self.files.remove(staged.folder)
        staged.prepare(plan)
        return staged

    def commit(self, staged: StagedJob, stored: dict[str, Any]) -> None:
        """Give the staged files the target's name, in one step.

        Parameters
        ----------
        staged : StagedJob
            All parts are complete.
        stored : dict
            With ``job`` and ``files``; the report that is kept beside the target.
        """
        staged.write_report(stored)
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


def _other_files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [] if path.endswith(EXTENSIONS) else [os.path.basename(path)]
    return [
        os.path.relpath(os.path.join(parent, name), path)
        for parent, _, names in os.walk(path)
        for name in names
        if not name.endswith(EXTENSIONS) and not name.startswith(("_", "."))
    ]
