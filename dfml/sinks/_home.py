"""The hidden folder in which the jobs of one table are staged, each under its lock."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from dfml.exceptions import TargetExistsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dfml.sinks._files import FileSystem

__all__ = ["JobHome"]

_logger = logging.getLogger("dfml")


class JobHome:
    """A folder with a staging folder and a lock for each job; it goes when it is empty.

    Parameters
    ----------
    where : str
        The call, for messages.
    path : str
        The folder; it need not be there.
    files : FileSystem
        All calls go through it.
    """

    def __init__(self, where: str, path: str, files: FileSystem) -> None:
        self.where, self.path, self.files = where, path, files

    def staging_of(self, job: str) -> str:
        """Name the staging folder of a job."""
        return os.path.join(self.path, job)

    @contextlib.contextmanager
    def locked(self, job: str) -> Iterator[None]:
        """Hold a job; other jobs may write to the same table meanwhile."""
        lock = os.path.join(self.path, f"{job}.lock")
        try:
            with self.files.locked(lock, self.where, keep=False):
                yield
        finally:
            self.files.remove_empty(self.path)

    def clean_up(
        self, job: str, discard: Callable[[str], None], *, others: bool
    ) -> None:
        """Remove staging that is of no use after a commit; not worth an error.

        Parameters
        ----------
        job : str
            Which is committed, and held.
        discard : callable
            Removes a staging folder.
        others : bool
            Whether the unfinished work of other jobs is of no use either.
        """
        try:
            discard(self.staging_of(job))
            for name in self.files.sizes(self.path) if others else ():
                if name != job and os.path.isdir(self.staging_of(name)):
                    with contextlib.suppress(TargetExistsError), self.locked(name):
                        discard(self.staging_of(name))
        except OSError as err:
            _logger.warning("committed; left in staging: %s", err)
