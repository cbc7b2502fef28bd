"""What the system says where there is no room for a file, and what to do about it."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dfml.exceptions import DiskFullError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FULL", "full_disk_errors"]

#: What to do, by the number of the error.
FULL = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "lift the limit to the size of files, ulimit -f",
}


@contextmanager
def full_disk_errors(
    where: str, room: str, folder: str | os.PathLike[str], hint: str
) -> Iterator[None]:
    """Turn the error of a full disk into one that says what to do.

    Parameters
    ----------
    where : str
        The call, for messages.
    room : str
        What there is no room for.
    folder : path
        On the disk that is full.
    hint : str
        What else to do, after what the kind of error asks for.

    Raises
    ------
    DiskFullError
        If an ``OSError`` says that there is no room.
    """
    try:
        yield
    except OSError as err:
        if err.errno not in FULL or isinstance(err, DiskFullError):
            raise
        free = shutil.disk_usage(folder).free
        full = DiskFullError.expecting(
            where,
            room,
            f"{os.strerror(err.errno)!r}, with {free:,} bytes free",
            f"{FULL[err.errno]}{hint}",
        )
        full.errno = err.errno
        raise full from err
