"""Partitions that are plain reads of Parquet files, as blocks without a frame between.

What dask's ``read_parquet`` would do with the same file stays the measure: whatever is
not certain to give the same bits, errors included, is left to it.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dask._task_spec import Task
from dask.dataframe.io.parquet.arrow import ArrowDatasetEngine
from dask.dataframe.io.parquet.core import ParquetFunctionWrapper
from fsspec.implementations.local import LocalFileSystem

from dfml.arrays._arrow_columns import fill_rows, has_plain_numbers
from dfml.arrays._reused_arrays import ReusedArrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from dfml.arrays._blocks import Block
    from dfml.arrays._packer import Packer

__all__ = ["BlockReads"]

# Of a column that are read at a time: what passes through the cache of the processors
# is taken from the step that trains meanwhile.
_BUFFER_BYTES = 2**16

# A column that is copied to the array before the next one is read has not left the
# cache. Each copy visits all rows of the array, and more rows than these leave it, too;
# of fewer rows some columns are read at a time.
_ROWS_BY_COLUMNS = 2**17
_ROWS_OF_BATCH = 2**16


@dataclass(frozen=True)
class BlockReads:
    """Makes tasks that read blocks of tasks that read frames.

    Parameters
    ----------
    packer : Packer
        Of the table.
    arrays : ReusedArrays, optional
        Where the blocks are: that of one which is gone serves the next.
    """

    packer: Packer
    arrays: ReusedArrays = field(default_factory=ReusedArrays)

    def __call__(self, task: Any) -> Any:
        """Give the task that reads the block, or the same task.

        Parameters
        ----------
        task : object
            Of one partition.

        Returns
        -------
        task : object
            With the same key.
        """
        read = _only_read(task)
        if read is None or not self._is_plain(read.func) or not _is_plain_part(read):
            return task
        (part,) = read.args
        piece = part["piece"]
        block = _ReadBlock(task, read.func, piece, self.packer, self.arrays)
        return Task(task.key, block)

    def _is_plain(self, function: ParquetFunctionWrapper) -> bool:
        """Tell whether nothing but numbers of local files is read, and all of it."""
        packer, options = self.packer, function.common_kwargs
        if packer.dtype is None or packer.columns is None or packer.paired:
            return False
        given = ("partitions", "filters", "categories", "arrow_to_pandas")
        dtypes = _dtypes_of(function)
        return (
            function.engine is ArrowDatasetEngine
            and type(function.fs) is LocalFileSystem
            and function.dtype_backend is None
            and not any(options.get(option) for option in given)
            and not any(options.get("read", {}).values())
            and set(packer.columns) <= dtypes.keys() & set(function.columns)
            and all(_is_number(dtypes[name]) for name in packer.columns)
        )


def _dtypes_of(function: ParquetFunctionWrapper) -> dict[str, Any]:
    # Asked of each partition: choosing columns of a frame would take six times as long.
    return dict(zip(function.meta.columns, function.meta.dtypes, strict=True))


def _is_number(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iufb"


def _only_read(task: Any) -> Any:
    """Find the task that reads a file; None if more is done than to choose columns."""
    if _reads_file(task):
        return task
    fused = getattr(task, "args", None)
    if not fused or not isinstance(fused[0], dict):
        return None
    inside = list(fused[0].values())
    reads = [each for each in inside if _reads_file(each)]
    n_choices = sum(_function(each) is operator.getitem for each in inside)
    return reads[0] if len(reads) == 1 and n_choices + 1 == len(inside) else None


def _reads_file(task: Any) -> bool:
    return isinstance(_function(task), ParquetFunctionWrapper)


def _function(task: Any) -> Any:
    return getattr(task, "func", None)


def _is_plain_part(read: Any) -> bool:
    """Tell whether a part is one file, or some row groups of one."""
    (part,) = read.args
    if read.kwargs or not isinstance(part, dict) or set(part) != {"piece"}:
        return False
    path, _, partition_keys = part["piece"]
    return isinstance(path, str) and not partition_keys


@dataclass(frozen=True)
class _ReadBlock:
    """Reads one partition, or lets dask's task do it."""

    task: Any
    function: ParquetFunctionWrapper
    piece: tuple[str, Any, Any]
    packer: Packer
    arrays: ReusedArrays

    def __call__(self) -> Block:
        read = self._read()
        return self.packer(self.task()) if read is None else self.packer.block(*read)

    def _read(self) -> tuple[np.ndarray, pd.DataFrame] | None:
        """Read the features and the other columns; None if they are left to dask."""
        path, row_groups, _ = self.piece
        try:
            # Reading ahead would copy what the system has in its memory once more.
            with pq.ParquetFile(
                path, buffer_size=_BUFFER_BYTES, pre_buffer=False
            ) as file:
                groups = _numbers(row_groups, file.num_row_groups)
                n_rows = sum(file.metadata.row_group(each).num_rows for each in groups)
                if not n_rows or not self._is_declared(file.schema_arrow):
                    return None
                return self._fill(_pieces(file, groups, n_rows, self._names), n_rows)
        except (OSError, pa.ArrowException):
            return None  # dask says what is wrong, as it always does

    @cached_property
    def _names(self) -> list[str]:
        features = list(self.packer.features)
        return [*features, *self.packer.columns.difference(features, sort=False)]

    def _is_declared(self, schema: pa.Schema) -> bool:
        """Tell whether a file has the columns, each once and of the declared type."""
        if any(len(schema.get_all_field_indices(name)) != 1 for name in self._names):
            return False
        chosen = pa.schema([schema.field(name) for name in self._names])
        dtypes = _dtypes_of(self.function)
        return has_plain_numbers(chosen) and all(
            dtypes[each.name] == each.type.to_pandas_dtype() for each in chosen
        )

    def _fill(
        self, pieces: Iterator[tuple[int, pa.Table]], n_rows: int
    ) -> tuple[np.ndarray, pd.DataFrame] | None:
        place = {name: at for at, name in enumerate(self.packer.features)}
        array = self.arrays.empty((n_rows, len(place)), self.packer.dtype)
        others: dict[str, list[pa.Array]] = {
            name: [] for name in self._names if name not in place
        }
        for start, table in pieces:
            if not all(map(_is_as_pandas_reads_it, table.columns)):
                return None
            read = sorted(place.keys() & set(table.column_names), key=place.__getitem__)
            if read:  # features that follow each other, or all
                rows, first = slice(start, start + len(table)), place[read[0]]
                some = array[rows, first : first + len(read)]
                fill_rows(some, [table[name] for name in read])
            for name in others.keys() & set(table.column_names):
                others[name] += table[name].chunks
        return array, pa.table(
            {name: pa.chunked_array(chunks) for name, chunks in others.items()}
        ).to_pandas()


def _pieces(
    file: pq.ParquetFile, groups: list[int], n_rows: int, names: list[str]
) -> Iterator[tuple[int, pa.Table]]:
    """Read some columns after others, or some rows of all; with where they start."""
    if n_rows <= _ROWS_BY_COLUMNS:
        n_columns = _ROWS_BY_COLUMNS // n_rows  # as each read takes its time, too
        for first in range(0, len(names), n_columns):
            some = names[first : first + n_columns]
            yield 0, file.read_row_groups(groups, some, use_threads=False)
        return
    start = 0
    for batch in file.iter_batches(_ROWS_OF_BATCH, groups, names, use_threads=False):
        yield start, pa.table(batch)
        start += len(batch)


def _numbers(row_groups: Any, n_all: int) -> list[int]:
    if row_groups is None or row_groups == [None]:
        return list(range(n_all))
    return [row_groups] if isinstance(row_groups, int) else list(row_groups)


def _is_as_pandas_reads_it(column: pa.ChunkedArray) -> bool:
    """Tell whether pandas would read the declared dtype: with nulls, only floats."""
    return not column.null_count or pa.types.is_floating(column.type)
