"""SQL as a source: one DuckDB query as a dask DataFrame, by one of three plans.

Each plan has a module: ``_spill_plan`` runs the query once and reads what it gave,
``_ranges_plan`` and ``_files_plan`` run a part of it for each partition. What is
decided here is which, and what goes with which.
"""

from __future__ import annotations

import logging
import numbers
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

from dask.utils import parse_bytes

from dfml.exceptions import InputTypeError, SourceError
from dfml.sources._columns import check_columns
from dfml.sources._dask_tables import check_frames
from dfml.sources._files_plan import read_files
from dfml.sources._lazy_frame import Sizes
from dfml.sources._query import (
    bind_query,
    check_query,
    connection_of,
    database_errors,
)
from dfml.sources._ranges_plan import read_ranges
from dfml.sources._reopenable import check_relation
from dfml.sources._spill_plan import read_spilled

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import dask.dataframe as dd
    import duckdb

__all__ = ["read_sql"]

logger = logging.getLogger("dfml")

PLANS = ("spill", "ranges", "files")


def read_sql(
    query: str | duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection | None = None,
    *,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    frames: Mapping[str, dd.DataFrame] | None = None,
    plan: Literal["spill", "ranges", "files"] = "spill",
    partition_on: str | None = None,
    npartitions: int | None = None,
    rows_per_partition: int | None = None,
    partition_size: int | str | None = None,
    spill_to: str | os.PathLike[str] | None = None,
) -> dd.DataFrame:
    """Return the result of one DuckDB query as a dask DataFrame.

    By default the query runs once, now, on the caller's own connection, so it sees
    registered frames, temporary tables and the open transaction. Its rows are streamed
    to a file on disk, in memory that does not grow with the result, and the frame reads
    its partitions from there. The other plans keep no rows: each partition runs its own
    part of the query, whenever and wherever it is computed.

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
    frames : dict of dask DataFrames, optional
        Tables for SQL text, by the names that it has for them. They are seen by this
        query alone, before tables of the same name, and without their indexes. If
        `connection` is None the query runs on a connection of its own.
    plan : {"spill", "ranges", "files"}, default="spill"
        ``"spill"`` runs the query once, and takes every query. ``"ranges"`` runs it for
        each partition over a range of the column `partition_on`: for tables in database
        files, and for Parquet files. ``"files"`` takes ``SELECT ... FROM Parquet files
        WHERE ...`` and runs it for each group of row groups. See Notes.
    partition_on : str, optional
        The column of the result whose ranges are the partitions of ``"ranges"``:
        numbers, text, dates or timestamps.
    npartitions : int, optional
        Number of partitions; fewer if there are fewer rows, values of `partition_on`
        or row groups. With ``"spill"`` their lengths differ by at most one row.
    rows_per_partition : int, optional
        Rows in each partition but the last; for the lazy plans about so many.
    partition_size : int or str, optional
        Bytes in memory of a partition, about, as a number or a text like ``"64MiB"``;
        the width of a row is that of the first ones. If none of the three is given it
        is 16 MiB, and 64 MiB for the lazy plans.
    spill_to : path, optional
        A directory for the rows of ``"spill"``, which is kept. If it holds the rows of
        this query and these parameters already, they are read and nothing runs;
        remove the directory to run the query again. If None, the rows go to a fresh
        directory inside the one set as ``dfml.spill-directory`` in dask's
        configuration, or inside the system's temporary directory.

    Returns
    -------
    frame : dask DataFrame
        The result, with the same columns and dtypes whatever the plan. Its index is the
        row number over all partitions; with ``"files"`` the row number in the files,
        and with ``"ranges"`` the value of `partition_on`. Divisions are known, unless
        `partition_on` has nulls or NaN.

    Raises
    ------
    QueryError
        If the text is not exactly one SELECT, a column has a type that a frame cannot
        hold, two columns have the same name, the plan is lazy and the query needs what
        other connections do not have, or DuckDB refuses or fails.
    InputTypeError
        If an argument is of a kind that is not taken.
    SourceError
        If arguments do not go together, a size is below 1, or, when a partition of a
        lazy plan is computed, its rows are not what they were.
    TargetExistsError
        If `spill_to` is a file, or holds anything but the rows of this query.
    TargetError
        If the rows cannot be written to their directory.
    DiskFullError
        If there is no room for them.

    Notes
    -----
    **Order.** ``"spill"``: the order in which DuckDB gave the rows in this one run.
    Without ORDER BY another call may give another order; this frame never changes.
    ``"ranges"``: sorted by `partition_on`, nulls last, and by the other columns where
    a value repeats; an ORDER BY of the query has no effect. ``"files"``: the order of
    the files. A partition that is computed again is the same.

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

    **Lazy plans.** Each partition opens the database file by its path, to read only; in
    the process that called read_sql it shares the connection's database. Worker
    processes can open a file only if nobody has it open for writing: open it with
    ``duckdb.connect(path, read_only=True)``. Temporary tables, registered frames,
    databases in memory, open transactions, Python functions, and functions and samples
    that are drawn anew each time are refused by name. At the call ``"ranges"`` asks for
    the number of rows and nulls, and for the sorted column; ``"files"`` reads footers,
    and columns of whole numbers and flags if their footers do not tell that they have
    no null. A table that changes afterwards is an error where it is noticed: other row
    counts or types, new nulls among whole numbers and flags, another size or time of a
    file.

    **Disk.** The rows of ``"spill"`` are one LZ4 compressed Arrow file of at most about
    their size in memory. It is removed with the last reference to the frame and the
    frames derived from it, in the process that called read_sql, and at the latest when
    that process ends; if it is killed, by the next spill to the same directory. Frames
    sent elsewhere read the same file, so worker processes must see the directory.

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
    sizes = check_sizes(npartitions, rows_per_partition, partition_size)
    check_plan(plan, partition_on, spill_to, frames)
    if frames:
        check_frames(query, frames)
    # Partitions of lazy plans bind them later.
    params = deepcopy(params)
    own = connection_of(query, connection, frames)
    if plan == "spill":
        return read_spilled(query, own, params, frames or {}, sizes, spill_to)
    text = query if isinstance(query, str) else query.sql_query()
    with database_errors(text):
        if not isinstance(query, str):
            check_relation(own, text)
        check_columns(bind_query(query, own, params))
    if plan == "files":
        frame = read_files(text, own, params, sizes)
    else:
        frame = read_ranges(text, own, params, str(partition_on), sizes)
    logger.info("read_sql: plan=%s partitions=%d", plan, frame.npartitions)
    return frame


def check_plan(
    plan: object, partition_on: object, spill_to: object, frames: object
) -> None:
    """Check that the plan is one, and that it has what it needs and nothing else."""
    if plan not in PLANS:
        raise SourceError.expecting(
            "read_sql", f"plan to be one of {PLANS}", repr(plan), "pass one of them"
        )
    if partition_on is not None and not isinstance(partition_on, str):
        raise InputTypeError.expecting(
            "read_sql",
            "partition_on to be the name of a column",
            repr(partition_on),
            "pass one name",
        )
    if (plan == "ranges") != (partition_on is not None):
        raise SourceError.expecting(
            "read_sql",
            'partition_on with plan="ranges", and with it alone',
            f"plan={plan!r} and partition_on={partition_on!r}",
            'name a column of the query, or use plan="spill"',
        )
    if plan != "spill" and (frames or spill_to is not None):
        raise SourceError.expecting(
            "read_sql",
            'frames and spill_to with plan="spill" alone',
            f"plan={plan!r}",
            "drop the plan, or these arguments",
        )


def check_sizes(
    npartitions: object, rows_per_partition: object, partition_size: object
) -> Sizes:
    """Check that at most one size is given, and that it is a whole number above 0."""
    sizes = {
        "npartitions": npartitions,
        "rows_per_partition": rows_per_partition,
        "partition_size": _parsed(partition_size),
    }
    given: dict[str, int] = {}
    for name, size in sizes.items():
        if size is None:
            continue
        if isinstance(size, bool) or not isinstance(size, numbers.Integral):
            raise InputTypeError.expecting(
                "read_sql", f"{name} to be an int", repr(size), "pass a whole number"
            )
        given[name] = int(size)
        if given[name] < 1:
            raise SourceError.expecting(
                "read_sql", f"{name} of 1 or more", repr(size), "pass a larger number"
            )
    if len(given) > 1:
        raise SourceError.expecting(
            "read_sql", f"one of {', '.join(sizes)}", " and ".join(given), "keep one"
        )
    return Sizes(**given)


def _parsed(size: object) -> object:
    """Read a text like "64MiB" as dask does."""
    if not isinstance(size, str):
        return size
    try:
        return int(parse_bytes(size))
    except ValueError as err:
        raise SourceError.expecting(
            "read_sql", "partition_size in bytes", repr(size), 'pass "64MiB", or an int'
        ) from err
