"""The one seam to the file system of everything that dfml commits.

A sink calls nothing of ``os`` that changes files, and no commit of another library,
but through :class:`FileSystem`, so that a test can make any single call fail.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from dfml.exceptions import TargetExistsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FileSystem"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class FileSystem:
    """Calls of the local file system, each of which may raise ``OSError``."""

    def create(self, path: str) -> BinaryIO:
        """Open a new file for writing, and for reading what was written."""
        return open(path, "x+b")

    def sync(self, file: BinaryIO) -> None:
        """Bring what was written to a file to the disk."""
        file.flush()
        os.fsync(file.fileno())

    def sync_folder(self, path: str) -> None:
        """Bring the names in a folder to the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def exists(self, path: str) -> bool:
        """Tell whether a name is taken, be it by a broken link."""
        return os.path.lexists(path)

    def read(self, path: str) -> bytes:
        """Read a small file."""
        with open(path, "rb") as file:
            return file.read()

    def sizes(self, path: str) -> dict[str, int]:
        """List a folder: the name of each entry, and its size."""
        with os.scandir(path) as entries:
            return {entry.name: entry.stat().st_size for entry in entries}

    def tree(self, path: str) -> dict[str, int]:
        """List a folder to its depths: the path of each file in it, and its size."""
        found = {}
        for folder, _, names in os.walk(path, onerror=_raise):
            for name in names:
                full = os.path.join(folder, name)
                found[os.path.relpath(full, path)] = os.path.getsize(full)
        return found

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, if they are not there."""
        os.makedirs(path, exist_ok=True)

    def replace(self, source: str, target: str) -> None:
        """Move a file to a name, in place of a file that has it."""
        os.replace(source, target)

    def rename(self, source: str, target: str) -> None:
        """Move a folder to a name that is free, or an empty folder."""
        os.rename(source, target)

    def exchange(self, left: str, right: str) -> bool:
        """Swap two names in one step; False if this system cannot."""
        renameat2 = _renameat2()
        if renameat2 is None:
            return False
        names = os.fsencode(left), os.fsencode(right)
        if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            return False
        raise OSError(code, os.strerror(code), left, None, right)

    def imitate(self, path: str, model: str) -> None:
        """Give a folder the permissions of another one, and its owner where allowed.

        Whoever owns it can write to it all the same.
        """
        stat = os.stat(model)
        with suppress(PermissionError):
            os.chown(path, stat.st_uid, stat.st_gid)
        os.chmod(path, stat.st_mode & 0o7777 | 0o700)  # chown clears some bits

    def remove(self, path: str) -> None:
        """Remove a file, or a folder and all in it, if it is there."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.remove(path)

    def remove_empty(self, path: str) -> None:
        """Remove a folder if nothing is in it."""
        with suppress(OSError):
            os.rmdir(path)

    def perform(self, commit: Callable[[], Any]) -> Any:
        """Let another library change something: a transaction, or a commit."""
        return commit()

    def write(
        self, path: str, content: bytes, temporary: str, *, lasting: bool = True
    ) -> None:
        """Write a small file as a whole: it has all of its content or is not there.

        If it is not ``lasting``, a machine that loses its power may tear it.
        """
        with self.create(temporary) as file:
            file.write(content)
            if lasting:
                self.sync(file)
        self.replace(temporary, path)

    @contextmanager
    def locked(self, path: str, where: str, *, keep: bool = True) -> Iterator[None]:
        """Hold a lock file; the system lets go of it if the process dies.

        Parameters
        ----------
        path : str
            The file; it and its folder are made.
        where : str
            The call, for messages.
        keep : bool, default=True
            False removes the file in the end.

        Raises
        ------
        TargetExistsError
            At once, if somebody else holds it.
        """
        descriptor = self._lock(path)
        if descriptor is None:
            raise TargetExistsError.expecting(
                where,
                "to be the only one that writes to its target",
                f"a lock that another call holds: {path!r}",
                "wait until the other call has ended",
            )
        try:
            yield
        finally:
            if not keep:
                with suppress(OSError):
                    os.remove(path)
            os.close(descriptor)

    def _lock(self, path: str) -> int | None:
        import fcntl  # not on Windows

        while True:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # the folder was removed in between
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            if _is_file(path, descriptor):
                return descriptor
            os.close(descriptor)  # who held it has removed it


def _is_file(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _raise(err: OSError) -> None:
    raise err


def _renameat2() -> Any:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
