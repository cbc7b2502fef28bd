"""Where a sorted column is cut into ranges of about the same number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfml.sources._columns import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Cuts", "find_cuts", "literals"]


class Cuts(NamedTuple):
    """Where each range begins.

    Attributes
    ----------
    positions : list of int
        The number of the first row of each range, beginning with 0.
    values : Array
        The first value of each range, and the last value of all; empty if no row has
        a value.
    n_values : int
        Rows that have one: neither null nor NaN, which come last.
    repeats : bool
        Whether some value is in more than one row.
    """

    positions: list[int]
    values: pa.Array
    n_values: int
    repeats: bool


def find_cuts(arrays: Iterable[pa.Array], starts: Sequence[int]) -> Cuts:
    """Cut a sorted column where partitions are to begin.

    Parameters
    ----------
    arrays : iterable of Array
        The column as it comes, in ascending order, NaN and null last.
    starts : sequence of int
        Rows at which to cut. A cut moves back to the first row of the same value, so
        that there may be fewer cuts than starts.

    Returns
    -------
    cuts : Cuts
        At least one range.
    """
    first_rows: dict[int, pa.Array] = {}
    last: pa.Array | None = None
    n_rows = n_values = run = 0
    repeats = False
    wanted = np.asarray(starts)
    for array in arrays:
        values = array.slice(0, len(array) - _n_missing(array))
        n_rows += len(array)
        if not len(values):
            continue
        new = _is_new(values, last)
        repeats = repeats or not new.all()
        begins = np.flatnonzero(new)
        inside = wanted[(wanted >= n_values) & (wanted < n_values + len(values))]
        for row in inside - n_values:
            at = begins[: np.searchsorted(begins, row, side="right")]
            # Before the first new value there is that of the array before.
            begin = n_values + int(at[-1]) if len(at) else run
            first_rows.setdefault(begin, values.slice(int(row), 1))
        run = n_values + int(begins[-1]) if len(begins) else run
        n_values += len(values)
        last = values.slice(len(values) - 1, 1)
    if last is None:
        return Cuts([0], pa.array([]), 0, n_rows > 1)
    ends = pa.concat_arrays([*first_rows.values(), last])
    return Cuts([*first_rows], ends, n_values, repeats or n_rows - n_values > 1)


def _n_missing(array: pa.Array) -> int:
    """Count nulls, and NaN."""
    if not pa.types.is_floating(array.type):
        return int(array.null_count)
    return int(pc.sum(pc.is_null(array, nan_is_null=True)).as_py() or 0)


def _is_new(values: pa.Array, last: pa.Array | None) -> np.ndarray:
    """Tell which values differ from the one before."""
    before = values.slice(0, 1) if last is None else last
    before = pa.concat_arrays([before, values.slice(0, len(values) - 1)])
    new: np.ndarray = pc.not_equal(values, before).to_numpy(zero_copy_only=False)
    if last is None:
        new[0] = True
    return new


def literals(values: pa.Array, kind: str) -> list[str]:
    """Write values as SQL that has their type, exactly.

    Parameters
    ----------
    values : Array
        Numbers, text or times, without a null.
    kind : str
        The type in SQL.
    """
    if pa.types.is_timestamp(values.type):
        numbers = values.cast(pa.int64()).to_pylist()
        return [_time(number, values.type, kind) for number in numbers]
    texts = map(str, values.to_pylist())
    return [f"CAST({literal(text)} AS {kind})" for text in texts]


def _time(number: int, arrow_type: pa.DataType, kind: str) -> str:
    """Write a time that Arrow counts from 1970."""
    if arrow_type.tz is None:
        make, factor = {
            "s": ("make_timestamp", 1_000_000),
            "ms": ("make_timestamp_ms", 1),
            "us": ("make_timestamp", 1),
            "ns": ("make_timestamp_ns", 1),
        }[arrow_type.unit]
        return f"CAST({make}({number * factor}) AS {kind})"
    if arrow_type.unit == "us":
        return f"make_timestamptz({number})"
    return f"CAST('{np.datetime64(number, arrow_type.unit)}+00' AS {kind})"
