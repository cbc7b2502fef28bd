"""Arrow types as the tables of others can hold them, and columns that have to agree.

A type becomes the narrowest one of the format that holds each of its values. What has
none is an error that names the column, before any row is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dfml.exceptions import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["check_same_columns", "delta_type", "iceberg_type", "retype"]

_MAX_DECIMAL = 38

# The types that Delta and Iceberg both lack, or have under one form only.
_COMMON = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
}
_PLAIN = {
    pa.bool_(),
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.binary(),
    pa.date32(),
}


def delta_type(type_: Any) -> Any:
    """Find the type that a Delta table holds a column as; None if it cannot."""
    if pa.types.is_fixed_size_binary(type_):
        return pa.binary()
    return _lake_type(type_, delta_type)


def iceberg_type(type_: Any) -> Any:
    """Find the type that an Iceberg table holds a column as; None if it cannot."""
    if pa.types.is_fixed_size_binary(type_):
        return type_
    if pa.types.is_time(type_):
        return None if type_.unit == "ns" else pa.time64("us")
    found = _lake_type(type_, iceberg_type)
    return pa.int32() if found in (pa.int8(), pa.int16()) else found


def _lake_type(type_: Any, inner: Callable[[Any], Any]) -> Any:
    if pa.types.is_dictionary(type_):
        return inner(type_.value_type)
    if pa.types.is_nested(type_):
        return _nested(type_, inner)
    if pa.types.is_timestamp(type_):
        # The same instants: zones are not kept, and no value is rounded.
        return pa.timestamp("us", "UTC" if type_.tz else None)
    if pa.types.is_decimal(type_):
        fits = type_.precision <= _MAX_DECIMAL and type_.scale >= 0
        return pa.decimal128(type_.precision, type_.scale) if fits else None
    found = _COMMON.get(type_, type_)
    return found if found in _PLAIN else None


def _nested(type_: Any, inner: Callable[[Any], Any]) -> Any:
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        value = inner(type_.value_type)
        return None if value is None else pa.list_(value)
    if pa.types.is_map(type_):
        key, item = inner(type_.key_type), inner(type_.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if not pa.types.is_struct(type_):
        return None
    fields = [each.with_type(inner(each.type) or pa.null()) for each in type_]
    lacks_type = any(pa.types.is_null(each.type) for each in fields)
    return None if lacks_type or not fields else pa.struct(fields)


def retype(where: str, format_: str, schema: Any, find: Callable[[Any], Any]) -> Any:
    """Give the columns the types that a format holds them as.

    Parameters
    ----------
    where : str
        The call, for messages.
    format_ : str
        Name of the format.
    schema : pyarrow Schema
        What is to be written.
    find : callable
        Gives the type for a type, or None.

    Returns
    -------
    schema : pyarrow Schema
        The same names.

    Raises
    ------
    TargetError
        Naming the columns that the format has no type for.
    """
    found = {each.name: find(each.type) for each in schema}
    wrong = [f"{each.name}: {each.type}" for each in schema if found[each.name] is None]
    if wrong:
        raise TargetError.expecting(
            where,
            f"columns that {format_} has a type for",
            ", ".join(wrong),
            "leave the columns out with keep=, or cast them in the source",
        )
    return pa.schema(
        [pa.field(each.name, found[each.name], each.nullable) for each in schema]
    )


def check_same_columns(
    where: str, table: str, has: Mapping[str, str], gets: Mapping[str, str]
) -> None:
    """Refuse to write columns other than those that a table has, by name and type.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : str
        The table, for messages.
    has, gets : mapping of str to str
        Names and types of the table, and of what is to be written.

    Raises
    ------
    TargetError
        Listing all differences.
    """
    differences = [
        *(f"lacks {name!r}" for name in gets if name not in has),
        *(f"has {name!r} too" for name in has if name not in gets),
        *(
            f"has {name!r} as {has[name]}, not {gets[name]}"
            for name in gets
            if name in has and has[name] != gets[name]
        ),
    ]
    if differences:
        raise TargetError.expecting(
            where,
            f"the columns of {table}",
            f"others: the table {', '.join(differences)}",
            "change keep=, name= or prefix=, or write to a new table",
        )
