"""SQL as a source: one DuckDB query, run once, as a dask DataFrame.

The way of a query is: check the arguments, bind the SQL to a relation, decide what each
column becomes, stream the relation to a spill, and turn the spill into a frame. Each of
these is one function. Files and their lifetime belong to ``_spill``.
"""

from __future__ import annotations

import logging
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dfml.exceptions import InputTypeError, QueryError, SourceError
from dfml.sources._columns import (
    CONVERTED_IN_SQL,
    INFINITY,
    Column,
    check_columns,
    quoted,
)
from dfml.sources._query import (
    bind_query,
    check_query,
    database_errors,
    raise_query_error,
)
from dfml.sources._spill import check_spill_target, write_spill

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import dask.dataframe as dd
    import duckdb

    from dfml.sources._spill import Spill

__all__ = ["read_sql"]

logger = logging.getLogger("dfml")

PARTITION_BYTES = 64 * 2**20
# What DuckDB hands over at a time. Text is wide: its width is known only afterwards.
STREAM_BYTES = 16 * 2**20
TEXT_BYTES = 128
VECTOR_ROWS = 2_048


def read_sql(
    query: str | duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection | None = None,
    *,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    npartitions: int | None = None,
    rows_per_partition: int | None = None,
    spill_to: str | os.PathLike[str] | None = None,
) -> dd.DataFrame:
    """Run one DuckDB query and return its result as a dask DataFrame.

    The query runs once, now, on the caller's own connection, so it sees registered
    frames, temporary tables and the open transaction. Its rows are streamed to a file
    on disk, in memory that does not grow with the result, and the frame reads its
    partitions from there.

    Parameters
    ----------
    query : str or DuckDBPyRelation
        One SELECT statement, or a relation. A Python variable is not found by its name
        in SQL text; register it on the connection.
    connection : DuckDBPyConnection, optional
        Where SQL text runs; DuckDB's default connection if None. A relation brings its
        own.
    params : sequence or dict, optional
        Values bound to ``?`` and ``$1``, or by name to ``$name``, in SQL text.
    npartitions : int, optional
        Number of partitions. Their lengths differ by at most one row, and there are
        fewer of them if there are fewer rows.
    rows_per_partition : int, optional
        Rows in each partition but the last. If neither is given, partitions hold about
        64 MiB in memory.
    spill_to : path, optional
        A new or empty directory for the rows, which is kept. If None, they go to a
        fresh directory inside the one set as ``dfml.spill-directory`` in dask's
        configuration, or inside the system's temporary directory.

    Returns
    -------
    frame : dask DataFrame
        The result. Its index is the row number over all partitions and its divisions
        are known.

    Raises
    ------
    QueryError
        If the text is not exactly one SELECT, a column has a type that a frame cannot
        hold, two columns have the same name, or DuckDB refuses or fails.
    InputTypeError
        If an argument is of a kind that is not taken.
    SourceError
        If both `npartitions` and `rows_per_partition` are given, or one is below 1.
    TargetExistsError
        If `spill_to` is a file or a directory that is not empty.

    Notes
    -----
    **Order.** The rows have the order in which DuckDB gave them in this one run.
    Without ORDER BY another call may give another order; this frame never changes.

    **Types.** A column has one dtype in all partitions:

    ============================================ =====================================
    DuckDB                                       pandas
    ============================================ =====================================
    TINYINT ... UBIGINT                          int8 ... uint64; Int8 ... UInt64 if
                                                 the column has a null
    BOOLEAN                                      bool; boolean if it has a null
    FLOAT, DOUBLE                                float32, float64; null is NaN
    DECIMAL, HUGEINT, UHUGEINT, BIGNUM           float64, rounded
    VARCHAR, UUID, JSON                          str
    ENUM                                         category, with all values of the enum
    DATE, TIMESTAMP                              datetime64[us]
    TIMESTAMP_S, TIMESTAMP_MS, TIMESTAMP_NS      datetime64[s], [ms], [ns]
    TIMESTAMP WITH TIME ZONE                     datetime64[us, zone of the connection]
    TIME, TIME_NS                                timedelta64[us], [ns] since midnight
    NULL without a type                          float64, all NaN
    ============================================ =====================================

    Infinite dates and times are an error. So are all other types (LIST, STRUCT, MAP,
    UNION, BLOB, BIT, INTERVAL, ...), before a row is read.

    **Disk.** The rows are one LZ4 compressed Arrow file of at most about their size in
    memory. It is removed with the last reference to the frame and the frames derived
    from it, in the process that called read_sql, and at the latest when that process
    ends. Frames sent elsewhere read the same file, so worker processes must see the
    directory.

    **Writing queries.** DuckDB itself keeps the result of a SELECT that writes, through
    ``nextval`` or a writing WITH, before the first row comes out, within its own
    ``memory_limit``.

    Examples
    --------
    >>> import duckdb
    >>> from dfml import read_sql
    >>> con = duckdb.connect()
    >>> frame = read_sql(
    ...     "SELECT i AS id, i * $scale AS x FROM range(5) t(i) ORDER BY i",
    ...     con,
    ...     params={"scale": 0.5},
    ...     npartitions=2,
    ... )
    >>> frame.npartitions, frame.divisions
    (2, (0, 2, 4))
    >>> frame[frame.x > 1].compute()
       id    x
    3   3  1.5
    4   4  2.0
    """
    check_query(query, connection, params)
    check_sizes(npartitions, rows_per_partition)
    target = None if spill_to is None else check_spill_target("read_sql", spill_to)
    source = query if isinstance(query, str) else "a DuckDB relation"
    with database_errors(source):
        relation = bind_query(query, connection, params)
        columns = check_columns(relation)
        spill = spill_relation(relation, columns, target, source)
    frame = frame_of(spill, columns, npartitions, rows_per_partition)
    logger.info(
        "read_sql: plan=spill rows=%d partitions=%d directory=%s",
        spill.contents.n_rows,
        frame.npartitions,
        spill.directory,
    )
    return frame


def check_sizes(npartitions: object, rows_per_partition: object) -> None:
    """Check that at most one size is given, and that it is a whole number above 0."""
    sizes = {"npartitions": npartitions, "rows_per_partition": rows_per_partition}
    given = {name: size for name, size in sizes.items() if size is not None}
    if len(given) > 1:
        raise SourceError.expecting(
            "read_sql", "one of npartitions and rows_per_partition", "both", "drop one"
        )
    for name, size in given.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral):
            raise InputTypeError.expecting(
                "read_sql", f"{name} to be an int", repr(size), "pass a whole number"
            )
        if int(size) < 1:
            raise SourceError.expecting(
                "read_sql", f"{name} of 1 or more", repr(size), "pass a larger number"
            )


def spill_relation(
    relation: duckdb.DuckDBPyRelation,
    columns: Sequence[Column],
    target: Path | None,
    source: str,
) -> Spill:
    """Run the relation once and write its rows to disk as they come."""
    reader = _converted(relation, columns).to_arrow_reader(_stream_rows(columns))
    try:
        schema = _file_schema(reader.schema, columns)
        stream = _iter_batches(reader, columns, schema, source)
        return write_spill(stream, schema, target)
    finally:
        # An open result would block the connection.
        reader.close()


def _file_schema(stream: pa.Schema, columns: Sequence[Column]) -> pa.Schema:
    """Return the schema of the spill, with the time zones of the stream."""
    return pa.schema(
        [
            (column.name, field.type if column.is_zoned else column.arrow_type)
            for field, column in zip(stream, columns, strict=True)
        ]
    )


def _converted(
    relation: duckdb.DuckDBPyRelation, columns: Sequence[Column]
) -> duckdb.DuckDBPyRelation:
    """Return the relation with the types cast that DuckDB is to convert."""
    if not any(column.sql_type in CONVERTED_IN_SQL for column in columns):
        return relation
    items = []
    for column in columns:
        name, cast = quoted(column.name), CONVERTED_IN_SQL.get(column.sql_type)
        items.append(f"CAST({name} AS {cast}) AS {name}" if cast else name)
    return relation.project(", ".join(items))


def _stream_rows(columns: Sequence[Column]) -> int:
    """Return how many rows to ask DuckDB for at a time, in whole vectors."""
    width = sum(
        TEXT_BYTES if pa.types.is_large_string(column.arrow_type) else 8
        for column in columns
    )
    vectors = STREAM_BYTES // max(1, width) // VECTOR_ROWS
    return VECTOR_ROWS * min(64, max(1, vectors))


def _iter_batches(
    reader: pa.RecordBatchReader,
    columns: Sequence[Column],
    schema: pa.Schema,
    source: str,
) -> Iterator[pa.RecordBatch]:
    """Yield the stream's batches as they go into the spill."""
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (OSError, pa.ArrowException) as err:
            # DuckDB's errors reach us through Arrow, which keeps only their text.
            raise_query_error(err, source)
        arrays = [
            _spilled(array, column, arrow_type)
            for array, column, arrow_type in zip(
                batch.columns, columns, schema.types, strict=True
            )
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _spilled(array: pa.Array, column: Column, arrow_type: pa.DataType) -> pa.Array:
    """Return one array of the stream as the spill keeps it."""
    # DuckDB's Arrow settings of the connection choose among such encodings.
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if column.categories is not None:
        array = array.indices
    if column.sql_type in INFINITY:
        _check_finite(array, column)
    if pa.types.is_time(array.type):
        array = array.cast(pa.int64())
    return array.cast(arrow_type)


def _check_finite(array: pa.Array, column: Column) -> None:
    """Refuse 'infinity', which pandas would show as some day far away."""
    limit = INFINITY[column.sql_type]
    storage = pa.int32() if column.sql_type == "date" else pa.int64()
    bounds = pc.min_max(array.cast(storage)).as_py()
    if bounds["max"] == limit or bounds["min"] == -limit:
        raise QueryError.expecting(
            "read_sql",
            "finite dates and times",
            f"infinity in column {column.name!r}",
            "make it null in the SQL, CASE WHEN isfinite(t) THEN t END",
        )


def frame_of(
    spill: Spill,
    columns: Sequence[Column],
    npartitions: int | None,
    rows_per_partition: int | None,
) -> dd.DataFrame:
    """Return the dask DataFrame whose partitions are row ranges of the spill."""
    import dask.dataframe as dd

    starts = _partition_starts(spill, npartitions, rows_per_partition)
    n_rows = spill.contents.n_rows
    ranges = list(zip(starts, [*starts[1:], n_rows], strict=True))
    reader = PartitionReader(spill, _dtypes(spill, columns))
    meta = reader((0, 0), columns=[column.name for column in columns])
    # dask would convert str to its own "string", so that a frame made from the same
    # rows by pandas had another dtype.
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(
            reader,
            ranges,
            meta=meta,
            divisions=(*starts, max(0, n_rows - 1)),
            label="read-sql",
        )


def _partition_starts(
    spill: Spill, npartitions: int | None, rows_per_partition: int | None
) -> list[int]:
    """Return the row number at which each partition starts."""
    n_rows = spill.contents.n_rows
    if npartitions is not None:
        count = max(1, min(int(npartitions), n_rows))
        return [n_rows * i // count for i in range(count)]
    step = _default_rows(spill) if rows_per_partition is None else rows_per_partition
    return list(range(0, max(1, n_rows), int(step)))


def _default_rows(spill: Spill) -> int:
    """Return the rows of about 64 MiB, in whole batches so that none is read twice."""
    size = spill.contents.batch_rows
    return size * max(1, round(PARTITION_BYTES / (spill.contents.row_bytes * size)))


def _dtypes(spill: Spill, columns: Sequence[Column]) -> dict[str, Any]:
    """Return the dtype of the columns that have another than Arrow's own for pandas."""
    dtypes: dict[str, Any] = {}
    for column, null_count in zip(columns, spill.contents.null_counts, strict=True):
        if column.categories is not None:
            categories = pd.Index(column.categories, dtype="str")
            dtypes[column.name] = pd.CategoricalDtype(categories)
        elif null_count and pa.types.is_boolean(column.arrow_type):
            dtypes[column.name] = pd.BooleanDtype()
        elif null_count and pa.types.is_integer(column.arrow_type):
            # "int8" -> "Int8", "uint8" -> "UInt8"
            name = str(column.arrow_type).replace("i", "I").replace("u", "U")
            dtypes[column.name] = pd.api.types.pandas_dtype(name)
    return dtypes


@dataclass(frozen=True)
class PartitionReader:
    """Reads one range of rows of a spill as a pandas DataFrame.

    Parameters
    ----------
    spill : Spill
        The rows. They stay on disk while this object lives.
    dtypes : dict
        The dtypes of nullable and categorical columns.
    """

    spill: Spill
    dtypes: dict[str, Any]

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("dfml.read_sql", self.spill.token)

    # columns has no default: dask then passes it always, also when it is empty.
    def __call__(self, rows: tuple[int, int], columns: list[str]) -> pd.DataFrame:
        """Return the rows of the range, with these columns in this order."""
        table = self.spill.read(*rows, columns)
        index = pd.RangeIndex(*rows)
        plain = [name for name in columns if name not in self.dtypes]
        frame: pd.DataFrame = table.select(plain).to_pandas().set_axis(index)
        if len(plain) == len(columns):
            return frame
        special = {
            name: _series(table[name], self.dtypes[name]).set_axis(index)
            for name in columns
            if name in self.dtypes
        }
        joined = pd.concat([frame, pd.DataFrame(special)], axis="columns")
        return joined[columns]


def _series(values: pa.ChunkedArray, dtype: Any) -> pd.Series[Any]:
    """Return a column as a nullable or categorical Series."""
    if isinstance(dtype, pd.CategoricalDtype):
        codes = values.fill_null(-1).to_numpy()
        return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype))
    series: pd.Series[Any] = values.to_pandas(types_mapper=lambda _: dtype)
    return series
