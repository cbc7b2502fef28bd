"""The seal of a Parquet file that dfml has written: a digest of its footer, in it.

Pages have checksums of their own, the footer has none, though it says what the bytes
of a page mean. Of single flipped bits that are read as wrong values in spite of page
checksums, all were in the footer. The seal is a key of the footer's metadata, which
other readers pass over. Its digits stand for zeros while the digest is taken.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from typing import Any

__all__ = ["SEAL", "check_seal", "seal"]

_KEY = b"dfml.footer"
_OPEN = b"0" * 64
#: To be added to the metadata of a file that is going to be sealed.
SEAL = {_KEY.decode(): _OPEN.decode()}

# In Thrift's compact protocol two bytes stand between a key and its value.
_SEALED = re.compile(re.escape(_KEY) + rb"\x18\x40([0-9a-f]{64})", re.DOTALL)
_MARK = b"dfml.job"
_TAIL = 8  # four bytes of length, and b"PAR1"


def seal(file: BinaryIO) -> None:
    """Seal a file that is complete; it can be read and written, and stays at its end.

    Parameters
    ----------
    file : file
        With the metadata of ``SEAL``.
    """
    start, footer = _footer(file)
    at = start + footer.index(_KEY + b"\x18\x40" + _OPEN) + len(_KEY) + 2
    file.seek(at)
    file.write(_digest(footer))
    file.seek(0, os.SEEK_END)


def check_seal(path: str) -> None:
    """Compare the footer of a file with its seal, if dfml has written it.

    Parameters
    ----------
    path : str
        A file. Files of others have no seal and pass.

    Raises
    ------
    OSError
        If the footer is not what was written.
    """
    with open(path, "rb") as file:
        _, footer = _footer(file)
    found = _SEALED.search(footer)
    if found is None:
        if _KEY in footer or _MARK in footer:
            raise OSError("the footer has lost its seal: some bits of it have changed")
        return
    before, after = footer[: found.start(1)], footer[found.end(1) :]
    if _digest(before + _OPEN + after) != found[1]:
        raise OSError("the footer does not fit its seal: some bits of it have changed")


def _footer(file: Any) -> tuple[int, bytes]:
    """Read the footer; what is no Parquet file is left to Arrow's own errors."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    length = int.from_bytes(file.read(4), "little")
    start = size - _TAIL - length
    if start < 0:
        return size, b""
    file.seek(start)
    return start, file.read(length)


def _digest(footer: bytes) -> bytes:
    return hashlib.sha256(footer).hexdigest().encode()
