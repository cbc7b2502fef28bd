"""Open whatever is given as a source as a table of parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfml.sources._parquet import ParquetTable

if TYPE_CHECKING:
    from dfml.sources._base import SourceTable

__all__ = ["open_table"]


def open_table(where: str, source: Any) -> SourceTable:
    """Open a source for reading part by part; no row is read.

    Parameters
    ----------
    where : str
        The call, for messages.
    source : path
        A Parquet file, a glob or a folder.

    Returns
    -------
    table : SourceTable
        As it is now.
    """
    return ParquetTable.open(where, source)
