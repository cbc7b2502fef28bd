"""Arrow batches as blocks of arrays, row by row as they come.

A block is the same, bit for bit, as the one that a ``Packer`` makes of a pandas frame
of the same rows. Columns of numbers go straight from Arrow into the C-ordered array
that the estimator gets, in one copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
import pyarrow as pa

from dfml.arrays._arrow_columns import fill_rows
from dfml.sources._columns import rows_to_pandas

if TYPE_CHECKING:
    from dfml.arrays._blocks import Block
    from dfml.arrays._packer import Packer
    from dfml.arrays._reused_arrays import ReusedArrays

__all__ = ["BlockMaker", "make_block_maker"]


class BlockMaker(Protocol):
    """Collects the rows of one block."""

    def __len__(self) -> int:
        """Count the rows so far."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Take some more rows."""

    def finish(self) -> Block:
        """Give the block of all rows."""


def make_block_maker(
    packer: Packer,
    schema: pa.Schema,
    dtypes: dict[str, Any],
    n_rows: int,
    arrays: ReusedArrays,
) -> BlockMaker:
    """Begin a block.

    Parameters
    ----------
    packer : Packer
        Says which columns are features, target and weight, and the dtype of arrays.
    schema : pyarrow Schema
        Of the batches.
    dtypes : dict
        The dtypes in pandas of nullable and categorical columns.
    n_rows : int
        The most rows that the block will have.
    arrays : ReusedArrays
        Where its array comes from.

    Returns
    -------
    maker : BlockMaker
        Empty.
    """
    if packer.dtype is None:
        return _FrameMaker(packer, schema, dtypes)
    return _ArrayMaker(packer, schema, dtypes, n_rows, arrays)


class _FrameMaker:
    """Keeps the batches: not all columns are numbers, so that pandas packs them."""

    def __init__(
        self, packer: Packer, schema: pa.Schema, dtypes: dict[str, Any]
    ) -> None:
        self._packer = packer
        self._schema = schema
        self._dtypes = dtypes
        self._batches: list[pa.RecordBatch] = []

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self._batches)

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)

    def frame(self) -> pd.DataFrame:
        """Give all rows as pandas."""
        table = pa.Table.from_batches(self._batches, schema=self._schema)
        return rows_to_pandas(table, self._dtypes)

    def finish(self) -> Block:
        return self._packer(self.frame())


class _ArrayMaker:
    """Fills one array with the features; the other columns are kept as they come."""

    def __init__(
        self,
        packer: Packer,
        schema: pa.Schema,
        dtypes: dict[str, Any],
        n_rows: int,
        arrays: ReusedArrays,
    ) -> None:
        self._packer = packer
        self._array = arrays.empty((n_rows, len(packer.features)), packer.dtype)
        self._n_rows = 0
        others = [name for name in schema.names if name not in packer.features]
        self._others = others
        self._rest = _FrameMaker(
            packer, pa.schema([schema.field(name) for name in others]), dtypes
        )

    def __len__(self) -> int:
        return self._n_rows

    def add(self, batch: pa.RecordBatch) -> None:
        columns = [batch.column(name) for name in self._packer.features]
        if self._array.dtype.kind != "f" and any(c.null_count for c in columns):
            # As in partitions: only where there is a null the wider type is needed.
            self._array = self._array.astype("float64")
        stop = self._n_rows + batch.num_rows
        fill_rows(self._array[self._n_rows : stop], columns)
        self._n_rows = stop
        if self._others:
            self._rest.add(batch.select(self._others))

    def finish(self) -> Block:
        rest = self._rest.frame() if self._others else pd.DataFrame()
        return self._packer.block(self._array[: self._n_rows], rest)
