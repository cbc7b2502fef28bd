"""Arrow columns of numbers as the rows of one array, in one copy.

An array is the same, bit for bit, as the one that ``pack_features`` makes of a pandas
frame of the same columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["fill_rows", "has_plain_numbers", "to_array"]

# So many rows of an array stay in the cache of a core while their columns are filled.
_ROWS = 8192


def has_plain_numbers(schema: pa.Schema) -> bool:
    """Tell whether all columns are integers, floats or flags."""
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return all(any(is_kind(each.type) for is_kind in kinds) for each in schema)


def to_array(
    columns: Sequence[Any],
    dtype: np.dtype[Any],
    empty: Callable[..., np.ndarray] = np.empty,
) -> np.ndarray:
    """Copy columns to a new C-ordered array.

    Parameters
    ----------
    columns : sequence of pyarrow Array or ChunkedArray
        At least one, of plain numbers.
    dtype : numpy dtype
        Of the array; where there is a null among integers, it is float64.
    empty : callable, optional
        Makes the array, as ``numpy.empty`` does.

    Returns
    -------
    array : ndarray of shape (n_rows, n_columns)
        A null is NaN.
    """
    if dtype.kind not in "fc" and any(column.null_count for column in columns):
        dtype = np.dtype("float64")
    array = empty((len(columns[0]), len(columns)), dtype=dtype)
    fill_rows(array, columns)
    return array


def fill_rows(rows: np.ndarray, columns: Sequence[Any]) -> None:
    """Copy columns to the columns of an array, which is as long as they are.

    Parameters
    ----------
    rows : ndarray
        C-ordered; filled.
    columns : sequence of pyarrow Array or ChunkedArray
        Of plain numbers.
    """
    values = [_values(column) for column in columns]
    for start in range(0, len(rows), _ROWS):
        some = slice(start, start + _ROWS)
        block = rows[some]
        for position, each in enumerate(values):
            block[:, position] = each[some]


def _values(column: Any) -> np.ndarray:
    """Give the values of a column of numbers; a null is NaN."""
    if column.null_count and pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())  # NumPy has no flag for "neither"
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values
