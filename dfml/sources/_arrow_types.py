"""One Arrow type for a column whose files declare several, without any loss.

Only types are looked at here. Whether each value fits is checked by Arrow's safe
cast when a part is read.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import types

__all__ = ["fits", "merge_types"]

_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_FLOATS = (pa.float16(), pa.float32(), pa.float64())
_UNITS = ("s", "ms", "us", "ns")


def merge_types(left: Any, right: Any) -> Any:
    """Find the smallest type that holds every value of both.

    Parameters
    ----------
    left, right : pyarrow DataType
        Types of one column in two files.

    Returns
    -------
    merged : pyarrow DataType or None
        None if there is no such type. A 64-bit integer with a float is float64: a
        value above 2**53 that would change is an error when it is read.

    Examples
    --------
    >>> import pyarrow as pa
    >>> merge_types(pa.int32(), pa.int64())
    DataType(int64)
    >>> merge_types(pa.int64(), pa.string()) is None
    True
    """
    if left == right or types.is_null(right):
        return left
    if types.is_null(left):
        return right
    for rule in (_dictionaries, _texts, _numbers, _decimals, _timestamps):
        merged = rule(left, right)
        if merged is not None:
            return merged
    return None


def fits(stored: Any, wanted: Any) -> bool:
    """Tell if a cast gives every value of a type as it is, or is an error.

    Parameters
    ----------
    stored, wanted : pyarrow DataType
        Of a column in a file, and in the table that the file belongs to. Timestamps
        without a zone are instants where the table wants those.

    Returns
    -------
    fits : bool
        Whether to cast. Structures may lack fields, which become null.

    Examples
    --------
    >>> import pyarrow as pa
    >>> fits(pa.int32(), pa.int64()), fits(pa.int64(), pa.int32())
    (True, False)
    """
    if types.is_dictionary(stored):
        return fits(stored.value_type, wanted)
    if types.is_timestamp(stored) and types.is_timestamp(wanted):
        return stored.tz is None or wanted.tz is not None
    if types.is_nested(stored) and types.is_nested(wanted):
        return _nested_fits(stored, wanted)
    if any(same(stored) and same(wanted) for same in (_is_text, _is_binary)):
        return True
    return bool(merge_types(stored, wanted) == wanted)


def _nested_fits(stored: Any, wanted: Any) -> bool:
    if types.is_struct(stored) and types.is_struct(wanted):
        known = {each.name: each.type for each in wanted}
        return all(
            each.name in known and fits(each.type, known[each.name]) for each in stored
        )
    if types.is_map(stored) and types.is_map(wanted):
        return fits(stored.key_type, wanted.key_type) and fits(
            stored.item_type, wanted.item_type
        )
    lists = (types.is_list, types.is_large_list)
    if any(like(stored) for like in lists) and any(like(wanted) for like in lists):
        return fits(stored.value_type, wanted.value_type)
    return bool(stored == wanted)


def _dictionaries(left: Any, right: Any) -> Any:
    if types.is_dictionary(left) and types.is_dictionary(right):
        values = merge_types(left.value_type, right.value_type)
        index = _numbers(left.index_type, right.index_type) or left.index_type
        ordered = left.ordered and right.ordered
        return None if values is None else pa.dictionary(index, values, ordered)
    if types.is_dictionary(left):
        return merge_types(left.value_type, right)
    if types.is_dictionary(right):
        return merge_types(left, right.value_type)
    return None


def _texts(left: Any, right: Any) -> Any:
    for small, large, same in (
        (pa.string(), pa.large_string(), _is_text),
        (pa.binary(), pa.large_binary(), _is_binary),
    ):
        if same(left) and same(right):
            return large if large in (left, right) else small
    return None


def _is_text(type_: Any) -> bool:
    return type_ in (pa.string(), pa.large_string(), pa.string_view())


def _is_binary(type_: Any) -> bool:
    return type_ in (pa.binary(), pa.large_binary(), pa.binary_view())


def _numbers(left: Any, right: Any) -> Any:
    if not all(types.is_integer(t) or types.is_floating(t) for t in (left, right)):
        return None
    if types.is_floating(left) or types.is_floating(right):
        return max(_float_for(left), _float_for(right), key=_FLOATS.index)
    if types.is_signed_integer(left) == types.is_signed_integer(right):
        return left if left.bit_width >= right.bit_width else right
    signed, unsigned = (left, right) if types.is_signed_integer(left) else (right, left)
    bits = max(signed.bit_width, 2 * unsigned.bit_width)
    return next((t for t in _SIGNED if t.bit_width == bits), None)


def _float_for(type_: Any) -> Any:
    """Find the smallest float for a number; there is none above float64."""
    if types.is_floating(type_):
        return type_
    return {8: pa.float16(), 16: pa.float32()}.get(type_.bit_width, pa.float64())


def _decimals(left: Any, right: Any) -> Any:
    if not (types.is_decimal(left) and types.is_decimal(right)):
        return None
    scale = max(left.scale, right.scale)
    whole = max(left.precision - left.scale, right.precision - right.scale)
    if whole + scale > 76:
        return None
    make = pa.decimal128 if whole + scale <= 38 else pa.decimal256
    return make(whole + scale, scale)


def _timestamps(left: Any, right: Any) -> Any:
    if not (types.is_timestamp(left) and types.is_timestamp(right)):
        return None
    if left.tz != right.tz:
        return None
    unit = max(left.unit, right.unit, key=_UNITS.index)
    return pa.timestamp(unit, left.tz)
