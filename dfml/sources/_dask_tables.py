"""dask DataFrames as tables of a DuckDB connection, for the time of one query.

A frame that is a plain read of Parquet files becomes a scan of these files by DuckDB.
Any other becomes an Arrow dataset whose scans compute its partitions one after another,
with the columns and the condition that the query needs, and again for each scan.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

from dfml._partitions import Partitions
from dfml.exceptions import InputTypeError, QueryError
from dfml.sources._columns import folded, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import dask.dataframe as dd
    import duckdb

__all__ = ["DaskDataset", "arrow_schema", "check_frames", "dask_tables"]

#: Of a decimal in DuckDB.
MAX_DIGITS = 38
TEMPORARY = """
    SELECT table_name FROM duckdb_tables() WHERE temporary
    UNION ALL SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal
"""


def check_frames(query: object, frames: object) -> None:
    """Check that frames are dask DataFrames under names of their own, for SQL text."""
    import dask.dataframe as dd

    if not isinstance(query, str):
        raise InputTypeError.expecting(
            "read_sql",
            "frames with SQL text",
            type(query).__name__,
            "pass SQL text: a relation has bound its names already",
        )
    if not isinstance(frames, dict):
        raise InputTypeError.expecting(
            "read_sql",
            "frames to be a dict of dask DataFrames by name",
            type(frames).__name__,
            'pass frames={"name": frame}',
        )
    names = [folded(name) if isinstance(name, str) else "" for name in frames]
    if not all(names) or len(set(names)) < len(names):
        raise InputTypeError.expecting(
            "read_sql",
            "a name for each of frames, different whatever its case",
            repr(list(frames)),
            "rename them",
        )
    for name, frame in frames.items():
        if not isinstance(frame, dd.DataFrame):
            raise InputTypeError.expecting(
                "read_sql",
                "frames of dask DataFrames",
                f"{name!r}: {type(frame).__name__}",
                "register other objects yourself, connection.register(name, x)",
            )
        _check_columns(name, [c for c in frame.columns if isinstance(c, str)])


def _check_columns(name: str, columns: list[str]) -> None:
    """Refuse names that DuckDB would change: those that are empty or the same."""
    counts = Counter(map(folded, columns))
    changed = [c for c in columns if not c or counts[folded(c)] > 1]
    if changed:
        raise InputTypeError.expecting(
            "read_sql",
            f"frames={{{name!r}: ...}} with a different name for each column, whatever "
            "its case",
            repr(changed),
            "rename them, frame.rename(columns={...})",
        )


@contextmanager
def dask_tables(
    connection: duckdb.DuckDBPyConnection, frames: Mapping[str, dd.DataFrame]
) -> Iterator[None]:
    """Let a connection see dask frames by their names.

    Parameters
    ----------
    connection : DuckDBPyConnection
        On which the query runs.
    frames : mapping
        Checked by :func:`check_frames`.

    Raises
    ------
    QueryError
        If a frame cannot be computed; from the error that it raised.
    """
    import duckdb

    _check_free(connection, frames)
    tables: dict[str, DaskDataset] = {}
    registered = []
    try:
        for name, frame in frames.items():
            scan = parquet_relation(connection, frame)
            if scan is None:
                scan = tables[name] = DaskDataset(name, frame)
            connection.register(name, scan)
            registered.append(name)
        yield
    except Exception as err:
        for name, table in tables.items():
            if table.failure is not None:
                raise _not_computed(name, table.failure) from table.failure
        raise err
    finally:
        for name in registered:
            # In an aborted transaction nothing works; its end takes the name back.
            with suppress(duckdb.TransactionException):
                connection.unregister(name)


def _check_free(
    connection: duckdb.DuckDBPyConnection, frames: Mapping[str, dd.DataFrame]
) -> None:
    """Refuse names that DuckDB would take from what is registered under them."""
    rows = connection.sql(TEMPORARY).fetchall() if frames else []
    taken = {folded(name) for (name,) in rows}
    for name in frames:
        if folded(name) in taken:
            raise QueryError.expecting(
                "read_sql",
                "frames with other names than temporary tables and registered frames",
                repr(name),
                "give the frame another name",
            )


class _ColumnError(QueryError):
    """A column is not what its dtype says; the message is one for the user."""


def _not_computed(name: str, failure: BaseException) -> QueryError:
    if isinstance(failure, _ColumnError):
        error = QueryError(str(failure))
    else:
        error = QueryError.expecting(
            "read_sql",
            f"frames={{{name!r}: ...}} to be computed",
            f"{type(failure).__name__}: {failure}",
            "compute the frame alone, and pass it when that works",
        )
    for note in getattr(failure, "__notes__", ()):
        error.add_note(note)
    return error


class DaskDataset(pyarrow.dataset.Dataset):
    """A dask frame as DuckDB reads it: a dataset that is scanned as often as asked.

    Parameters
    ----------
    name : str
        For messages.
    frame : dask DataFrame
        Its index is left out.
    """

    def __init__(self, name: str, frame: dd.DataFrame) -> None:
        self.name = name
        self.frame = frame
        self._schema = arrow_schema(name, frame)
        self.failure: BaseException | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types, which all partitions are brought to."""
        return self._schema

    def scanner(
        self,
        columns: list[str] | None = None,
        filter: Any = None,
        **_: Any,
    ) -> DaskScan:
        """Return one scan, of some columns and of the rows that fulfil a condition."""
        return DaskScan(self, columns, filter)


@dataclass(frozen=True)
class DaskScan:
    """One scan of a dask frame."""

    dataset: DaskDataset
    columns: list[str] | None
    condition: Any

    def to_reader(self) -> pa.RecordBatchReader:
        """Return the rows as they are computed."""
        schema = self.dataset.schema
        chosen = schema.names if self.columns is None else self.columns
        schema = pa.schema([schema.field(name) for name in chosen])
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Compute partitions, a few ahead of the one that is read."""
        needed = [*schema.names, *_named_in(self.condition, self.dataset.schema)]
        columns = list(dict.fromkeys(needed))
        loaded = pa.schema([self.dataset.schema.field(name) for name in columns])
        then = _ToArrow(self.dataset.name, loaded, schema.names, self.condition)
        try:
            partitions = Partitions(self.dataset.frame[columns])
            for _, partition in partitions.stream(then=then):
                yield from partition.value.to_batches()
        except Exception as err:
            self.dataset.failure = err
            raise


def _named_in(condition: Any, schema: pa.Schema) -> list[str]:
    """List the columns that an Arrow condition names, which it does not tell."""
    if condition is None:
        return []
    empty = schema.empty_table()
    named = []
    for name in schema.names:
        try:
            empty.drop_columns([name]).filter(condition)
        except pa.ArrowInvalid:
            named.append(name)
    return named


@dataclass(frozen=True)
class _ToArrow:
    """Turns a partition into Arrow where it was loaded."""

    frame: str
    schema: pa.Schema
    names: list[str]
    condition: Any

    def __call__(self, partition: pd.DataFrame, _: Any) -> pa.Table:
        arrays = [self._array(partition[field.name], field) for field in self.schema]
        table = _without_nan(pa.Table.from_arrays(arrays, schema=self.schema))
        if self.condition is not None:
            table = table.filter(self.condition)
        return table.select(self.names)

    def _array(self, column: pd.Series[Any], field: pa.Field) -> pa.Array:
        """Return a column in the type that all partitions have."""
        try:
            if isinstance(column.dtype, pd.CategoricalDtype):
                codes = column.cat.codes.to_numpy()
                values = pa.array(column.cat.categories, field.type, from_pandas=True)
                return values.take(pa.array(codes, mask=codes < 0))
            return pa.array(column, field.type, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as err:
            is_object = column.dtype == object
            raise _ColumnError.expecting(
                "read_sql",
                f"frames={{{self.frame!r}: ...}} with {field.type} in column "
                f"{field.name!r} of all partitions"
                + (", as objects are taken for text" if is_object else ""),
                f"{column.dtype}: {err}",
                "give the column a dtype that says what it holds, "
                f"frame.astype({{{field.name!r}: ...}})",
            ) from err


def _without_nan(table: pa.Table) -> pa.Table:
    """Make NaN null where Arrow has left it: in dtypes that have nulls of their own."""
    for at, field in enumerate(table.schema):
        if not pa.types.is_floating(field.type):
            continue
        is_nan = pc.is_nan(table.column(at))
        if pc.any(is_nan).as_py():
            nulled = pc.if_else(is_nan, None, table.column(at))
            table = table.set_column(at, field, nulled)
    return table


def arrow_schema(name: str, frame: dd.DataFrame) -> pa.Schema:
    """Return the Arrow schema that all partitions of a frame are brought to.

    Raises
    ------
    InputTypeError
        If a column has no name that SQL can say, or a dtype that Arrow does not know.
    """
    fields = []
    for column, dtype in frame.dtypes.items():
        try:
            if not isinstance(column, str):
                raise TypeError("its name is no text")
            fields.append(pa.field(column, _arrow_type(frame._meta[[column]], dtype)))
        except (TypeError, pa.ArrowException) as err:
            raise InputTypeError.expecting(
                "read_sql",
                f"frames={{{name!r}: ...}} with columns that Arrow can hold",
                f"{column!r} ({dtype}): {err}",
                "rename, convert or drop the column",
            ) from err
    return pa.schema(fields)


def _arrow_type(meta: pd.DataFrame, dtype: Any) -> pa.DataType:
    """Return the Arrow type of a column that has no rows."""
    if isinstance(dtype, pd.CategoricalDtype):
        return _arrow_type(dtype.categories.to_frame(), dtype.categories.dtype)
    if isinstance(dtype, pd.ArrowDtype):
        return _known_to_duckdb(dtype.pyarrow_dtype)
    # What objects are is not known before they are there; dask means text.
    if isinstance(dtype, pd.StringDtype) or dtype.kind == "O":
        return pa.large_string()
    return _known_to_duckdb(
        pa.Schema.from_pandas(meta, preserve_index=False).field(0).type
    )


def _known_to_duckdb(kind: pa.DataType) -> pa.DataType:
    """Return the type that DuckDB has for the same values."""
    if pa.types.is_dictionary(kind):
        return _known_to_duckdb(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal256(kind):
        if kind.precision > MAX_DIGITS:
            raise TypeError(f"decimals of DuckDB have up to {MAX_DIGITS} digits")
        return pa.decimal128(kind.precision, kind.scale)
    return kind


def parquet_relation(
    connection: duckdb.DuckDBPyConnection, frame: dd.DataFrame
) -> duckdb.DuckDBPyRelation | None:
    """Return the scan of the files that a frame plainly reads, None if it does more."""
    from dask.dataframe.dask_expr._expr import Projection
    from dask.dataframe.dask_expr.io.parquet import ReadParquet

    expr = frame.expr
    while isinstance(expr, Projection):
        expr = expr.frame
    if not isinstance(expr, ReadParquet):
        return None
    if expr.operand("filters") or expr.operand("_partitions") is not None:
        return None
    paths = _paths(expr)
    if not paths or not all(map(os.path.isfile, paths)):
        return None
    # DuckDB would cast all files to the types of the first.
    if len({_types(path, frame.columns) for path in paths}) > 1:
        return None
    relation = connection.read_parquet(
        [*map(glob.escape, paths)], hive_partitioning=False
    )
    if not set(frame.columns) <= set(relation.columns):
        return None
    kinds = dict(zip(relation.columns, relation.types, strict=True))
    return relation.project(", ".join(_item(c, kinds[c]) for c in frame.columns))


def _types(path: str, names: Iterable[str]) -> tuple[pa.DataType | None, ...]:
    """Read the types of columns from the footer of a file, None for one it lacks."""
    schema = pq.read_schema(path)
    at = [schema.get_field_index(name) for name in names]
    return tuple(None if i < 0 else schema.field(i).type for i in at)


def _item(name: str, kind: Any) -> str:
    """Return a column as SQL in which NaN is NULL, as in a frame that is computed.

    Conditions on other columns still skip row groups; those on this one do not.
    """
    column = quoted(name)
    if kind.id not in ("float", "double"):
        return column
    return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END AS {column}"


def _paths(read: Any) -> list[str]:
    """List the files of a Parquet read, in order."""
    if hasattr(read, "fragments"):
        found = [fragment.path for fragment in read.fragments]
    else:
        parts = [part for part in read._plan["parts"] if isinstance(part, dict)]
        found = [part["piece"][0] for part in parts]
    return list(dict.fromkeys(found))
