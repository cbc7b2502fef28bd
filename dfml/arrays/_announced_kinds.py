"""What a partition holds, compared with what its table has announced.

dask believes the first file, or the caller. A partition with other columns would become
an array all the same: of nanoseconds in the place of numbers, say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pandas.api.types import infer_dtype, is_object_dtype

from dfml._schema import counts_as, is_time, kind_of, listed
from dfml.exceptions import ColumnMismatchError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping, Sequence

    import pandas as pd

    from dfml._schema import Kind

__all__ = ["announced_kinds", "as_announced", "is_plain_number", "with_times"]

# What pandas may find in a column of objects, by the kind that was announced.
_OBJECTS_OF: dict[Kind, frozenset[str]] = {
    "number": frozenset(
        {"boolean", "complex", "decimal", "floating", "integer", "mixed-integer-float"}
    ),
    "text": frozenset({"mixed", "mixed-integer", "string"}),
    "time": frozenset({"datetime", "datetime64"}),
    "time with zone": frozenset({"datetime"}),
    "duration": frozenset({"timedelta"}),
}


def announced_kinds(
    meta: pd.DataFrame, texts: Collection[Hashable] = ()
) -> tuple[Kind | None, ...]:
    """Read the kinds of columns off the empty frame of a table.

    Parameters
    ----------
    meta : pandas DataFrame
        Empty.
    texts : collection, optional
        Columns of Python objects that an estimator has seen as text.

    Returns
    -------
    kinds : tuple of str or None
        None for a column of Python objects, which may hold anything.
    """
    return tuple(
        None if is_object_dtype(dtype) and name not in texts else kind_of(dtype)
        for name, dtype in meta.dtypes.items()
    )


def as_announced(partition: pd.DataFrame, kinds: Sequence[Kind | None]) -> pd.DataFrame:
    """Give the columns of a partition the kinds that its table has announced.

    Parameters
    ----------
    partition : pandas DataFrame
        Columns in the order of the kinds.
    kinds : sequence of str or None
        From :func:`announced_kinds`.

    Returns
    -------
    partition : pandas DataFrame
        The same object, unless a column of another kind is missing throughout.

    Raises
    ------
    ColumnMismatchError
        If columns are of another kind.
    """
    pairs = zip(partition.dtypes.items(), kinds, strict=True)
    others = {name: kind for (name, dtype), kind in pairs if not _is(dtype, kind)}
    if not others:
        return partition
    missing = {name for name in others if partition[name].isna().all()}
    wrong = [
        f"{name!r} is {partition[name].dtype}, announced as a {kind}"
        for name, kind in others.items()
        if not (name in missing or _holds(partition[name], kind))
    ]
    if wrong:
        raise ColumnMismatchError.expecting(
            "dfml",
            "a partition with columns of the kinds that its table has announced",
            listed(wrong, quoted=False),
            "read the table with one schema, or convert the columns where it is made",
        )
    dtypes = {n: "float64" if others[n] == "number" else object for n in missing}
    return partition.astype(dtypes) if missing else partition


def with_times(
    partition: pd.DataFrame, times: Mapping[Hashable, str] | None
) -> pd.DataFrame:
    """Bring times to the unit and the zone that an estimator has seen, or will see.

    Estimators take the number of units, or the hour of the zone, for what it was.

    Parameters
    ----------
    partition : pandas DataFrame
        With or without these columns.
    times : mapping or None
        Dtypes by column, from :func:`dfml._schema.times_of`.

    Returns
    -------
    partition : pandas DataFrame
        The same object if nothing differs.

    Raises
    ------
    ColumnMismatchError
        If the unit cannot hold a time.
    """
    if not times:
        return partition
    found = {n: t for n, t in partition.dtypes.items() if n in times and is_time(t)}
    others = {n: times[n] for n, dtype in found.items() if str(dtype) != times[n]}
    try:
        return partition.astype(others) if others else partition
    except ValueError as err:  # pandas' and Arrow's are of this kind
        raise ColumnMismatchError.expecting(
            "dfml",
            f"times that {listed(others.values(), quoted=False)} holds, as in fit",
            str(err),
            "leave such rows out, or train on a wider unit",
        ) from err


def is_plain_number(dtype: Any) -> bool:
    """Tell whether a dtype is one of NumPy's for numbers or flags.

    Parameters
    ----------
    dtype : dtype
        Of a column.

    Returns
    -------
    is_plain : bool
        False for nullable ones.
    """
    return isinstance(dtype, np.dtype) and dtype.kind in "iufb"


def _is(dtype: Any, kind: Kind | None) -> bool:
    is_plain = is_plain_number(dtype)
    if is_plain or kind is None:
        return is_plain == (kind == "number")
    is_named = kind_of(dtype) == kind and not is_object_dtype(dtype)
    return is_named or counts_as(dtype, kind)


def _holds(column: pd.Series[Any], kind: Kind | None) -> bool:
    """Tell whether a column that does not say what it holds may hold the kind."""
    if kind is None:
        return True
    if not is_object_dtype(column.dtype):
        return False
    return kind == "other" or infer_dtype(column, skipna=True) in _OBJECTS_OF[kind]
