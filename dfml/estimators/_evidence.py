"""Signs that the first partition of a Parquet table is not like the rest.

The footers of Parquet files hold the least and the greatest value of each column. Where
most other partitions lie outside the range of the first, rows are not independent of
their partition: the table is sorted by that column, or by one that goes with it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from dask.dataframe.dask_expr.io.parquet import ReadParquet, ReadParquetFSSpec

from dfml.exceptions import DfmlWarning

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from dfml._frames import Table

__all__ = ["warn_if_unlike"]

#: Footers that are looked at beside the first; more would cost time and tell no more.
MAX_FOOTERS = 32

Range = tuple[Any, Any]


def warn_if_unlike(where: str, table: Table, partition: int | None) -> None:
    """Warn if the footers show that a partition is not like the others.

    Parameters
    ----------
    where : str
        The call, for the message.
    table : Table
        Whose partitions are those of one Parquet read; nothing is said of others.
    partition : int or None
        The one that was fitted on.
    """
    paths = _paths_of(table.joint)
    if partition is None or not 1 < len(paths) == table.joint.npartitions:
        return
    others = [path for number, path in enumerate(paths) if number != partition]
    step = -(-len(others) // MAX_FOOTERS)
    try:
        first = _ranges(paths[partition])
        ranges = [_ranges(path) for path in others[::step]]
    except (OSError, pa.ArrowInvalid):
        return  # not local, or broken: whoever reads the rows will say so
    for column in _columns(table):
        outside = sum(_is_outside(first, other, column) for other in ranges)
        if outside > len(ranges) / 2:
            low, high = first[str(column)]
            warnings.warn(
                f"{where}: partition {partition} is not like the rest: {column!r} goes "
                f"from {low} to {high} there, and {outside} of {len(ranges)} other "
                "partitions lie outside. Hint: draw over all partitions, "
                "dfml.IID(estimator, sample=100_000), or mix the rows.",
                DfmlWarning,
                stacklevel=6,
            )
            return


def _paths_of(joint: Any) -> list[str]:
    """List one file a partition, if the table is one Parquet read of whole files."""
    reads = list(joint.expr.find_operations(ReadParquet))
    if len({read._name for read in reads}) != 1:
        return []
    read = reads[0]
    if not isinstance(read, ReadParquetFSSpec) or read.operand("_partitions"):
        return []
    pieces = [part["piece"] for part in read._plan["parts"] if isinstance(part, dict)]
    return [path for path, row_groups, _ in pieces if row_groups is None]


def _ranges(path: str) -> dict[str, Range]:
    """Read the least and the greatest value of each column from a footer."""
    metadata = pq.read_metadata(path)
    found: dict[str, Range] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            statistics = column.statistics
            if statistics is None or not statistics.has_min_max:
                continue
            low, high = statistics.min, statistics.max
            if column.path_in_schema in found:
                before = found[column.path_in_schema]
                low, high = min(low, before[0]), max(high, before[1])
            found[column.path_in_schema] = low, high
    return found


def _columns(table: Table) -> Iterable[Hashable]:
    features = getattr(table.features, "columns", [])
    target = table.target_names
    targets = target if isinstance(target, tuple) else (target,)
    return [*features, *(name for name in targets if name is not None)]


def _is_outside(
    first: dict[str, Range], other: dict[str, Range], column: Hashable
) -> bool:
    name = str(column)
    if name not in first or name not in other:
        return False
    (low, high), (other_low, other_high) = first[name], other[name]
    return bool(other_low > high or other_high < low)
