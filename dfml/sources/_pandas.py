"""Arrow columns as pandas columns: one mapping for all tables of a lake.

Which dtype a column gets depends on its type alone, and for whole numbers and flags on
whether the table may hold a null in it; never on the values of one part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["nullable_dtypes", "to_frame", "to_pandas"]


def to_pandas(table: Any, categories: frozenset[str] = frozenset()) -> pd.DataFrame:
    """Turn Arrow columns into the frame that dask's Parquet reader would give.

    Whole numbers and flags with a null become float and object, as NumPy has no other
    way; :func:`to_frame` gives them dtypes that do not depend on the rows.

    Parameters
    ----------
    table : pyarrow Table
        Any columns.
    categories : frozenset of str
        Text columns that become categories.

    Returns
    -------
    frame : pandas DataFrame
        With a fresh index from 0.
    """
    for name in categories:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table.column(at).dictionary_encode())
    frame: pd.DataFrame = table.to_pandas(
        types_mapper=_pandas_dtype,
        ignore_metadata=True,
        split_blocks=True,
        use_threads=False,
    )
    return frame


def _pandas_dtype(type_: Any) -> Any:
    is_kept = pa.types.is_decimal(type_) or pa.types.is_date(type_)
    return pd.ArrowDtype(type_) if is_kept else None


def nullable_dtypes(schema: Any, without_nulls: Collection[str]) -> dict[str, Any]:
    """Find the columns that NumPy cannot hold with a null, and dtypes that can.

    Parameters
    ----------
    schema : pyarrow Schema
        Of the table.
    without_nulls : collection of str
        Columns that are known to hold no null.

    Returns
    -------
    dtypes : dict
        Such as ``Int64`` and ``boolean``, by column.
    """
    return {
        each.name: _nullable_dtype(each.type)
        for each in schema
        if each.name not in without_nulls
        and (pa.types.is_integer(each.type) or pa.types.is_boolean(each.type))
    }


def _nullable_dtype(type_: Any) -> Any:
    if pa.types.is_boolean(type_):
        return pd.BooleanDtype()
    # "int8" -> "Int8", "uint8" -> "UInt8"
    return pd.api.types.pandas_dtype(str(type_).replace("i", "I").replace("u", "U"))


def to_frame(table: Any, dtypes: dict[str, Any], start: int = 0) -> pd.DataFrame:
    """Turn Arrow columns into a frame of dtypes that do not depend on the rows.

    Parameters
    ----------
    table : pyarrow Table
        Any columns.
    dtypes : dict
        From :func:`nullable_dtypes`, or categories for columns of codes; may name
        columns that are not there.
    start : int
        The first number of the index.

    Returns
    -------
    frame : pandas DataFrame
        The columns in their order.
    """
    names = table.schema.names
    index = pd.RangeIndex(start, start + table.num_rows)
    plain = [name for name in names if name not in dtypes]
    # One block for each dtype, which is a copy: people write to partitions.
    frame: pd.DataFrame = table.select(plain).to_pandas(
        types_mapper=_pandas_dtype, ignore_metadata=True, use_threads=False
    )
    frame = frame.set_axis(index)
    if len(plain) == len(names):
        return frame
    nullable = {
        name: _series(table[name], dtypes[name], index)
        for name in names
        if name in dtypes
    }
    joined: pd.DataFrame = pd.concat([frame, pd.DataFrame(nullable)], axis="columns")
    return joined.reindex(columns=names)


def _series(values: Any, dtype: Any, index: pd.RangeIndex) -> pd.Series[Any]:
    series: pd.Series[Any]
    if isinstance(dtype, pd.CategoricalDtype):
        codes = values.fill_null(-1).to_numpy()
        series = pd.Series(pd.Categorical.from_codes(codes, dtype=dtype))
    else:
        series = values.to_pandas(types_mapper=lambda _: dtype)
    return series.set_axis(index)
