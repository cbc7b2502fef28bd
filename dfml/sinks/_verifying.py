"""Read back what was written: from the disk where the system can, page by page."""

from __future__ import annotations

import os

import pyarrow.parquet as pq

from dfml.sources._seals import check_seal

__all__ = ["verify_file"]


def verify_file(path: str, n_rows: int) -> None:
    """Read all of a file that dfml has written: its footer, and pages by checksum.

    Parameters
    ----------
    path : str
        The file; it was brought to the disk.
    n_rows : int
        Rows that it should have.

    Raises
    ------
    OSError
        If it is not what was written. Arrow's own errors pass.
    """
    _forget(path)
    check_seal(path)
    found = 0
    with pq.ParquetFile(
        path, page_checksum_verification=True, pre_buffer=False
    ) as opened:
        for batch in opened.iter_batches():
            found += batch.num_rows
    if found != n_rows:
        raise OSError(f"{found} rows in place of {n_rows}")


def _forget(path: str) -> None:
    """Drop a file from the memory of the system, so that the disk is read."""
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
