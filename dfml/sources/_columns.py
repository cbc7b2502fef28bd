"""What each type of DuckDB becomes, the same in every plan and every partition."""

from __future__ import annotations

import glob
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from dfml.exceptions import QueryError
from dfml.sources._pandas import nullable_dtypes, to_frame

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

__all__ = [
    "CONVERTED_IN_SQL",
    "INFINITY",
    "Column",
    "check_columns",
    "file_literal",
    "folded",
    "has_nullable_dtype",
    "literal",
    "named_types",
    "quoted",
    "rows_to_pandas",
    "special_dtypes",
]

# DuckDB type -> Arrow type in the spill. What is in none of these tables is refused.
ARROW_TYPES = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "utinyint": pa.uint8(),
    "usmallint": pa.uint16(),
    "uinteger": pa.uint32(),
    "ubigint": pa.uint64(),
    "boolean": pa.bool_(),
    "float": pa.float32(),
    "double": pa.float64(),
    "varchar": pa.large_string(),
    "date": pa.timestamp("us"),
    "timestamp": pa.timestamp("us"),
    "timestamp_s": pa.timestamp("s"),
    "timestamp_ms": pa.timestamp("ms"),
    "timestamp_ns": pa.timestamp("ns"),
    # The zone is the connection's, which only the stream's schema tells.
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "timestamptz_ns": pa.timestamp("ns", "UTC"),
    "time": pa.duration("us"),
    "time_ns": pa.duration("ns"),
}
# Converted by DuckDB, on all its threads and before its Arrow settings, which change
# how these leave it, have a say.
CONVERTED_IN_SQL = {
    "decimal": "double",
    "hugeint": "double",
    "uhugeint": "double",
    "bignum": "double",
    "null": "double",
    "uuid": "varchar",
}
# How DuckDB writes 'infinity' in Arrow: the largest number of the storage.
INFINITY = {"date": 2**31 - 1} | dict.fromkeys(
    [
        "timestamp",
        "timestamp_s",
        "timestamp_ms",
        "timestamp_ns",
        "timestamp with time zone",
        "timestamptz_ns",
    ],
    2**63 - 1,
)


@dataclass(frozen=True)
class Column:
    """One column of the result: its DuckDB type and what it is in the spill."""

    name: str
    sql_type: str
    arrow_type: pa.DataType
    categories: tuple[str, ...] | None = None

    @property
    def is_zoned(self) -> bool:
        """Whether the values are instants with a time zone."""
        return getattr(self.arrow_type, "tz", None) is not None


def check_columns(
    relation: duckdb.DuckDBPyRelation, where: str = "read_sql"
) -> list[Column]:
    """Decide what each column becomes, and refuse names and types that do not fit."""
    names, types = relation.columns, relation.types
    _check_names(names, where)
    columns = [_column(*pair) for pair in zip(names, types, strict=True)]
    refused = [
        f"{name} ({kind})"
        for name, kind, column in zip(names, types, columns, strict=True)
        if column is None
    ]
    if refused:
        raise QueryError.expecting(
            where,
            "columns of numbers, text, times or enums",
            ", ".join(refused),
            "drop these columns in the SQL, or unnest or cast them there",
        )
    return [column for column in columns if column is not None]


def named_types(schema: pa.Schema) -> list[str]:
    """Name the Arrow type of each column, for messages."""
    return [f"{field.name}: {field.type}" for field in schema]


def _check_names(names: list[str], where: str) -> None:
    """Refuse names that are the same to DuckDB, which ignores their case."""
    counts = Counter(map(folded, names))
    repeated = [name for name in names if counts[folded(name)] > 1]
    if repeated:
        raise QueryError.expecting(
            where,
            "a different name for each column, whatever its case",
            ", ".join(repeated),
            "rename them in the SQL with AS",
        )


def _column(name: str, kind: Any) -> Column | None:
    """Return what a column becomes, or None if a frame cannot hold its type."""
    sql_type = CONVERTED_IN_SQL.get(kind.id, kind.id)
    if sql_type == "enum":
        values = tuple(dict(kind.children)["values"])
        return Column(name, kind.id, _code_type(len(values)), values)
    arrow_type = ARROW_TYPES.get(sql_type)
    return None if arrow_type is None else Column(name, kind.id, arrow_type)


def _code_type(n_values: int) -> pa.DataType:
    """Return the signed type that pandas keeps the codes of so many categories in."""
    if n_values < 2**7:
        return pa.int8()
    return pa.int16() if n_values < 2**15 else pa.int32()


def has_nullable_dtype(column: Column) -> bool:
    """Tell whether the dtype depends on there being a null in the column."""
    return column.categories is None and (
        pa.types.is_integer(column.arrow_type) or pa.types.is_boolean(column.arrow_type)
    )


def special_dtypes(
    columns: Sequence[Column], with_nulls: Collection[str]
) -> dict[str, Any]:
    """Return the dtypes of the columns that have another than Arrow's own for pandas.

    Parameters
    ----------
    columns : sequence of Column
        All columns.
    with_nulls : collection of str
        Those that hold a null in some partition.

    Returns
    -------
    dtypes : dict
        Of the nullable and categorical columns, by name.
    """
    plain = [column for column in columns if column.categories is None]
    schema = pa.schema([(column.name, column.arrow_type) for column in plain])
    without = [column.name for column in plain if column.name not in with_nulls]
    dtypes: dict[str, Any] = nullable_dtypes(schema, without)
    for column in columns:
        if column.categories is not None:
            categories = pd.Index(column.categories, dtype="str")
            dtypes[column.name] = pd.CategoricalDtype(categories)
    return dtypes


def rows_to_pandas(table: pa.Table, dtypes: dict[str, Any]) -> pd.DataFrame:
    """Return rows as a frame whose dtypes do not depend on them.

    Parameters
    ----------
    table : pyarrow Table
        Columns as they are in a spill.
    dtypes : dict
        From :func:`special_dtypes`; may name columns that are not there.

    Returns
    -------
    frame : pandas DataFrame
        The columns in their order, with an index from 0.
    """
    return to_frame(table, dtypes)


def folded(name: str) -> str:
    """Return a name as DuckDB compares it: the case of ASCII letters is ignored."""
    return (
        name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
    )


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def file_literal(path: str) -> str:
    """Return a path as an SQL literal that means this file, not those it matches."""
    return literal(glob.escape(path))
