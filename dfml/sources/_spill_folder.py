"""Folders of spills: locked by the process that writes, swept when it has died.

A folder is locked as long as its owner lives, by ``flock`` on a file in it. The kernel
lets go of the lock when the process ends, however it ends, so that whoever makes the
next folder beside it can tell which ones nobody will read any more.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import dask

from dfml._full_disk import FULL
from dfml.exceptions import InputTypeError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "SET_DIRECTORY",
    "SpillFolder",
    "local_path",
    "make_folder",
    "place_errors",
    "spill_directory",
]

#: What to do about a directory that does not fit.
SET_DIRECTORY = 'choose another, dask.config.set({"dfml.spill-directory": "/big/disk"})'
PREFIX = "dfml-spill-"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: A folder has this name until it is locked, so that nobody takes it for a dead one.
NEW_PREFIX = "dfml-new-"
LOCK_NAME = "owner.lock"


class SpillFolder:
    """A folder that this process has locked.

    Parameters
    ----------
    path : Path
        Where it is.
    lock : int
        The open file that holds the lock.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._owner = os.getpid()

    def remove(self) -> None:
        """Remove the folder, unless this is a fork of the process that made it."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)
            self._unlock()

    def move_to(self, target: Path) -> None:
        """Give the folder its final name, whole or not at all; nobody owns it then.

        Raises
        ------
        OSError
            If the target is not empty any more.
        """
        (self.path / LOCK_NAME).unlink()
        os.rename(self.path, target)
        self._unlock()
        _sync(target.parent)

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def spill_directory(where: str) -> Path:
    """Return the directory in which the configuration wants spills.

    Raises
    ------
    InputTypeError
        If it is set to anything but a path on a disk.
    """
    place = dask.config.get("dfml.spill-directory", None)
    if place is not None and not isinstance(place, str | os.PathLike):
        raise InputTypeError.expecting(
            where,
            "dfml.spill-directory to be a path",
            repr(place),
            SET_DIRECTORY,
        )
    place = place or tempfile.gettempdir()
    return local_path(where, "dfml.spill-directory", place, SET_DIRECTORY)


def local_path(where: str, name: str, given: str | os.PathLike[str], hint: str) -> Path:
    """Return the path of a directory on a disk.

    Parameters
    ----------
    where, name : str
        The call, and what is given there, for messages.
    given : path
        ``~`` is the home of the user.
    hint : str
        What to do about anything else.

    Raises
    ------
    InputTypeError
        If it is an URL: spills are read where they lie.
    """
    text = os.fspath(given)
    if URL.match(text):
        raise InputTypeError.expecting(
            where, f"{name} to be a directory on a disk", repr(text), hint
        )
    return Path(os.path.expanduser(text))


@contextmanager
def place_errors(where: str, parent: Path, hint: str) -> Iterator[None]:
    """Name the place that rows cannot be written to. A full disk is another matter."""
    try:
        yield
    except OSError as err:
        if err.errno in FULL:
            raise
        raise TargetError.expecting(
            where,
            "a directory to write rows to",
            f"{str(parent)!r}: {err.strerror}",
            hint,
        ) from err


def make_folder(parent: Path, *, mode: int = 0o700) -> SpillFolder:
    """Make a locked folder, and sweep those beside it whose owners have died.

    Parameters
    ----------
    parent : Path
        Where to; it is made if it is not there.
    mode : int
        Permissions of the folder.

    Returns
    -------
    folder : SpillFolder
        Empty but for the file of the lock.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    name = uuid4().hex[:12]
    new = parent / f"{NEW_PREFIX}{name}"
    new.mkdir(mode=mode)
    lock = os.open(new / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    os.write(lock, platform.node().encode())
    fcntl.flock(lock, fcntl.LOCK_EX)
    path = parent / f"{PREFIX}{name}"
    new.rename(path)
    return SpillFolder(path, lock)


def _sweep(parent: Path) -> None:
    """Remove the folders of dead processes of this machine, as far as that works."""
    for path in parent.glob(f"{PREFIX}*/{LOCK_NAME}"):
        try:
            # Locks of other machines may not be seen here, on a shared disk.
            if path.read_text(encoding="utf-8") == platform.node() and _is_free(path):
                shutil.rmtree(path.parent, ignore_errors=True)
        except OSError:
            continue


def _is_free(path: Path) -> bool:
    """Tell whether nobody holds the lock of a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _sync(folder: Path) -> None:
    """Make sure that a new name in a folder outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
