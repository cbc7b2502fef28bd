"""What the plans share: sizes of partitions, and readers as dask DataFrames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dfml._dask_settings import dask_settings
from dfml.sources._columns import has_nullable_dtype, quoted
from dfml.sources._spill import measure_rows, rows_per_batch
from dfml.sources._stream import interruptible, open_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.dataframe as dd
    import duckdb
    import pandas as pd

    from dfml.sources._columns import Column

__all__ = [
    "HEAD_ROWS",
    "Sizes",
    "count_values",
    "default_rows",
    "make_frame",
    "row_width",
]

#: Bytes in memory of a partition, where nobody says how many there are. Training has
#: several in memory, and its steps are faster while one fits in the processor's cache.
PARTITION_BYTES = 16 * 2**20
#: The same where each is a query of its own: the row groups at its ends are read twice.
QUERIED_BYTES = 64 * 2**20
#: The first rows say how wide a row is.
HEAD_ROWS = 2_048


@dataclass(frozen=True)
class Sizes:
    """How long partitions are to be; at most one of the three is given."""

    npartitions: int | None = None
    rows_per_partition: int | None = None
    partition_size: int | None = None

    @property
    def are_counts(self) -> bool:
        """Whether nobody needs to know how wide a row is."""
        return self.npartitions is not None or self.rows_per_partition is not None

    def starts(
        self, n_rows: int, row_bytes: float, *, queried: bool = False
    ) -> list[int]:
        """Return the number of the first row of each partition.

        Parameters
        ----------
        n_rows : int
            Of the table.
        row_bytes : float
            Of a row; used unless :attr:`are_counts`.
        queried : bool, default=False
            Whether each partition is a query of its own.
        """
        if self.npartitions is not None:
            count = max(1, min(int(self.npartitions), n_rows))
            return [n_rows * i // count for i in range(count)]
        step = self.rows_per_partition
        if step is None:
            step = default_rows(row_bytes, self.partition_size, queried=queried)
        return list(range(0, max(1, n_rows), int(step)))


def count_values(
    relation: duckdb.DuckDBPyRelation, columns: Sequence[Column]
) -> tuple[int, list[str]]:
    """Count rows, and name the columns whose dtype is another with a null."""
    names = [column.name for column in columns if has_nullable_dtype(column)]
    asked = ", ".join(["count(*)", *[f"count({quoted(name)})" for name in names]])
    counted = relation.aggregate(asked)
    ((n_rows, *counts),) = interruptible(relation, counted.fetchall)
    pairs = zip(names, counts, strict=True)
    return n_rows, [name for name, count in pairs if count < n_rows]


def row_width(
    head: duckdb.DuckDBPyRelation, columns: Sequence[Column], source: str
) -> float:
    """Return the mean bytes of a row in memory.

    Parameters
    ----------
    head : DuckDBPyRelation
        The first rows; it runs only where there is text.
    columns : sequence of Column
        Of the relation.
    source : str
        The query, for messages.
    """
    if not any(pa.types.is_large_string(column.arrow_type) for column in columns):
        bits = sum(int(column.arrow_type.bit_width) for column in columns)
        return max(1.0, bits / 8)
    with open_stream(head, columns, source) as (_, batches):
        width, _ = measure_rows(batches)
        return width


def default_rows(
    row_bytes: float, size: int | None = None, *, queried: bool = False
) -> int:
    """Return the rows of a partition of about so many bytes.

    Parameters
    ----------
    row_bytes : float
        The mean bytes of the first rows, from :func:`dfml.sources._spill.measure_rows`.
    size : int, optional
        Bytes in memory of the partition, if the caller has said.
    queried : bool, default=False
        Whether each partition is a query of its own.

    Returns
    -------
    rows : int
        Whole batches of a spill, so that none is read twice, or less than one.
    """
    rows = (size or (QUERIED_BYTES if queried else PARTITION_BYTES)) / row_bytes
    batch = rows_per_batch(row_bytes)
    return max(1, int(rows)) if rows < batch else batch * round(rows / batch)


def make_frame(
    reader: Any,
    parts: Sequence[Any],
    meta: pd.DataFrame,
    divisions: Sequence[Any] | None,
) -> dd.DataFrame:
    """Return the dask DataFrame whose partitions a reader reads.

    Parameters
    ----------
    reader : callable
        Takes one of the parts, and the columns by keyword, without a default: dask
        then passes them always, also when there are none.
    parts : sequence
        What tells partitions apart.
    meta : pandas DataFrame
        No rows, all columns.
    divisions : sequence or None
        One more than there are parts, or None if they are not known.
    """
    import dask.dataframe as dd

    # dask would convert str to its own "string", so that a frame made from the same
    # rows by pandas had another dtype.
    with dask_settings({"dataframe.convert-string": False}):
        return dd.from_map(
            reader,
            parts,
            meta=meta,
            divisions=None if divisions is None else tuple(divisions),
            label="read-sql",
        )
