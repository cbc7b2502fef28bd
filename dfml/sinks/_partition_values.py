"""Values of partition columns: as text, as names of folders, and rows apart by them.

Formats keep a partition value as text in a log or in the name of a folder. A value
that would not come back from there as what it was is an error here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfml.exceptions import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["check_partition_columns", "folder_of", "split_rows"]

#: Partitions in one part; each is at least one file.
MAX_PARTITIONS = 1024

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_MAX_NAME_BYTES = 255
_MAX_TEXT = 1000
# Readers pass over names that begin with these, and do not all decode names.
_FOLDER_NAME = re.compile(r"[^\W_][^/\\=%\x00-\x1f]*")
_ALLOWED = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_date32,
)


def check_partition_columns(
    where: str, schema: Any, columns: Sequence[str], *, in_folders: bool
) -> None:
    """Refuse columns that cannot be what a table is partitioned by.

    Parameters
    ----------
    where : str
        The call, for messages.
    schema : pyarrow Schema
        Of the table.
    columns : sequence of str
        What it is to be partitioned by.
    in_folders : bool
        Whether their names and values will be names of folders.

    Raises
    ------
    TargetError
        Naming the column.
    """
    hint = "choose other columns for partition_by="
    unknown = [name for name in columns if name not in schema.names]
    if unknown or len(set(columns)) < len(columns):
        raise TargetError.expecting(
            where,
            f"partition_by to name different columns of {schema.names}",
            repr(list(columns)),
            hint,
        )
    if columns and len(columns) == len(schema):
        raise TargetError.expecting(
            where, "a column beside those of partition_by", repr(schema.names), hint
        )
    for name in columns:
        type_ = _value_type(schema.field(name).type)
        if not any(allows(type_) for allows in _ALLOWED):
            raise TargetError.expecting(
                where,
                "partition columns of text, integers, booleans or dates",
                f"column {name!r} of type {type_}",
                hint,
            )
        if in_folders and not _FOLDER_NAME.fullmatch(name):
            raise TargetError.expecting(
                where,
                "names of partition columns that readers find in names of folders",
                repr(name),
                "rename the column; it must begin with a letter or a digit",
            )


def split_rows(
    where: str, table: Any, columns: Sequence[str], *, in_folders: bool
) -> Iterator[tuple[tuple[str | None, ...], Any]]:
    """Take the rows of a table apart by the values of some columns.

    Parameters
    ----------
    where : str
        The call, for messages.
    table : pyarrow Table
        With all its columns.
    columns : sequence of str
        The partition columns.
    in_folders : bool
        Whether the values will be names of folders.

    Yields
    ------
    values : tuple of (str or None)
        Of each of the columns, as text.
    rows : pyarrow Table
        All rows with these values, in their order.

    Raises
    ------
    TargetError
        If a value would not come back, naming the column.
    """
    codes = np.zeros(table.num_rows, dtype=np.int64)
    texts = [_texts(table.column(name)) for name in columns]
    for text in texts:
        encoded = pc.dictionary_encode(text, null_encoding="encode")
        both = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
        _, codes = np.unique(both, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order], append=-1)) + 1
    arranged = table.take(pa.array(order))
    start = 0
    for stop in ends.tolist():
        values = tuple(text[int(order[start])].as_py() for text in texts)
        for name, value in zip(columns, values, strict=True):
            _check_value(where, name, value, in_folders=in_folders)
        yield values, arranged.slice(start, stop - start)
        start = stop


def folder_of(columns: Sequence[str], values: Sequence[str | None]) -> str:
    """Name the folder of a partition, as Hive does, with nothing in it but its name.

    Parameters
    ----------
    columns : sequence of str
        The partition columns.
    values : sequence of (str or None)
        Their values as text.

    Returns
    -------
    path : str
        Relative; one folder for each column.
    """
    return "/".join(map(_folder_name, columns, values))


def _folder_name(name: str, value: str | None) -> str:
    return f"{name}={_HIVE_NULL if value is None else quote(value, safe='')}"


def _value_type(type_: Any) -> Any:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _texts(column: Any) -> Any:
    plain = column.cast(_value_type(column.type)).combine_chunks()
    return plain.cast(pa.string())


def _check_value(where: str, name: str, value: str | None, *, in_folders: bool) -> None:
    if value is None:
        return
    problem = None
    if not value:
        problem = "an empty text, which would come back as null"
    elif len(value) > _MAX_TEXT:
        problem = f"a text of {len(value)} characters, which is too long"
    elif in_folders and value == _HIVE_NULL:
        problem = f"{value!r}, which would come back as null"
    elif in_folders and len(_folder_name(name, value).encode()) > _MAX_NAME_BYTES:
        problem = f"{value[:30]!r}..., whose folder would have too long a name"
    if problem is not None:
        raise TargetError.expecting(
            where,
            f"values of partition column {name!r} that can be read back",
            problem,
            "replace such values in the source, or partition by another column",
        )
