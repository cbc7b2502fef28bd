"""Partitions that are plain reads of Parquet files, as blocks without a frame between.

What dask's ``read_parquet`` would do with the same file stays the measure: whatever is
not certain to give the same bits, errors included, is left to it.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dask._task_spec import Task
from dask.dataframe.io.parquet.arrow import ArrowDatasetEngine
from dask.dataframe.io.parquet.core import ParquetFunctionWrapper
from fsspec.implementations.local import LocalFileSystem

from dfml._arrow_arrays import has_plain_numbers, to_array
from dfml._reused_arrays import ReusedArrays

if TYPE_CHECKING:
    from dfml._arrays import Block
    from dfml._packer import Packer

__all__ = ["BlockReads"]

# Of a column that are read at a time: what passes through the cache of the processors
# is taken from the step that trains meanwhile.
_BUFFER_BYTES = 2**16


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
        return (
            function.engine is ArrowDatasetEngine
            and type(function.fs) is LocalFileSystem
            and function.dtype_backend is None
            and not any(options.get(option) for option in given)
            and not any(options.get("read", {}).values())
            and set(packer.columns) <= set(function.columns)
            and all(map(_is_number, function.meta[list(packer.columns)].dtypes))
        )


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
        path, row_groups, _ = self.piece
        table = self._table(path, row_groups)
        if table is None:
            return self.packer(self.task())
        features = [table[name] for name in self.packer.features]
        rest = table.drop_columns(self.packer.features).to_pandas()
        array = to_array(features, self.packer.dtype, self.arrays.empty)
        return self.packer.block(array, rest)

    def _table(self, path: str, row_groups: Any) -> pa.Table | None:
        """Read the columns; None if they are not as declared, or cannot be read."""
        names = list(self.packer.columns)
        try:
            with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
                groups = _numbers(row_groups, file.num_row_groups)
                table = file.read_row_groups(groups, names, use_threads=False)
        except (OSError, pa.ArrowException):
            return None  # dask says what is wrong, as it always does
        meta = self.function.meta
        is_declared = table.schema.names == names and all(
            _is_as_declared(table[name], meta[name].dtype) for name in names
        )
        return table if is_declared and table.num_rows else None


def _numbers(row_groups: Any, n_all: int) -> list[int]:
    if row_groups is None or row_groups == [None]:
        return list(range(n_all))
    return [row_groups] if isinstance(row_groups, int) else list(row_groups)


def _is_as_declared(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> bool:
    """Tell whether pandas would read the dtype too: with nulls, only floats."""
    if column.null_count and not pa.types.is_floating(column.type):
        return False
    is_plain = has_plain_numbers(pa.schema([("column", column.type)]))
    return is_plain and np.dtype(column.type.to_pandas_dtype()) == dtype
