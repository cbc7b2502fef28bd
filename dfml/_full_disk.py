"""What the system says where there is no room for a file, and what to do about it."""

from __future__ import annotations

import errno

__all__ = ["FULL"]

#: What to do, by the number of the error.
FULL = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "lift the limit to the size of files, ulimit -f",
}
