"""The plan "spill": the query runs once, and partitions are rows of what it gave."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from dfml.exceptions import TargetExistsError
from dfml.sources._columns import check_columns, rows_to_pandas, special_dtypes
from dfml.sources._dask_tables import dask_tables
from dfml.sources._kept import KeptQuery, check_target
from dfml.sources._lazy_frame import make_frame
from dfml.sources._query import bind_query, database_errors
from dfml.sources._query_digest import query_digest, result_types
from dfml.sources._spill import write_spill
from dfml.sources._stream import open_stream

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import dask.dataframe as dd
    import duckdb

    from dfml.sources._columns import Column
    from dfml.sources._lazy_frame import Sizes
    from dfml.sources._spill import Spill

__all__ = ["SpillReader", "frame_of", "read_spilled"]

logger = logging.getLogger("dfml")


@dataclass(frozen=True)
class SpillReader:
    """Reads one range of rows of a spill as a pandas DataFrame.

    Attributes
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

    def __call__(self, rows: tuple[int, int], columns: list[str]) -> pd.DataFrame:
        """Return the rows of the range, with these columns in this order."""
        table = self.spill.read(*rows, columns)
        return rows_to_pandas(table, self.dtypes).set_axis(pd.RangeIndex(*rows))


def read_spilled(
    query: str | duckdb.DuckDBPyRelation,
    connection: duckdb.DuckDBPyConnection,
    params: Any,
    frames: Mapping[str, dd.DataFrame],
    sizes: Sizes,
    spill_to: str | os.PathLike[str] | None,
) -> dd.DataFrame:
    """Run a query once, unless its rows are kept already, and return them as a frame.

    Parameters
    ----------
    query : str or DuckDBPyRelation
        One SELECT.
    connection : DuckDBPyConnection
        On which it runs.
    params : list, tuple, dict or None
        Values in it.
    frames : mapping
        dask frames that it sees.
    sizes : Sizes
        How long partitions are to be.
    spill_to : path or None
        A directory that is kept.
    """
    target = None if spill_to is None else check_target(spill_to)
    source = query if isinstance(query, str) else "a DuckDB relation"
    keeping = kept = None
    with database_errors(source):
        if target is not None:
            keeping = KeptQuery(
                target,
                query_digest(query, connection, params, frames),
                source,
                result_types(query, connection, params, frames),
            )
            kept = keeping.find()
        if kept is not None:
            spill, columns = kept
        else:
            with dask_tables(connection, frames):
                relation = bind_query(query, connection, params)
                columns = check_columns(relation)
                spill, columns = _run(relation, columns, source, keeping)
    frame = frame_of(spill, columns, sizes)
    logger.info(
        "read_sql: plan=spill rows=%d partitions=%d directory=%s%s",
        spill.contents.n_rows,
        frame.npartitions,
        spill.directory,
        "" if kept is None else " kept by an earlier run, nothing ran now",
    )
    return frame


def _run(
    relation: duckdb.DuckDBPyRelation,
    columns: list[Column],
    source: str,
    keeping: KeptQuery | None,
) -> tuple[Spill, list[Column]]:
    """Run a relation and write its rows down."""
    with open_stream(relation, columns, source) as (schema, batches):
        if keeping is None:
            return write_spill(batches, schema), columns
        try:
            label = keeping.label(columns)
            return write_spill(batches, schema, keeping.target, label), columns
        except TargetExistsError:
            # Somebody else has filled the directory meanwhile: with the same rows?
            kept = keeping.find()
            if kept is None:
                raise
            return kept


def frame_of(spill: Spill, columns: Sequence[Column], sizes: Sizes) -> dd.DataFrame:
    """Return the dask DataFrame whose partitions are row ranges of the spill."""
    n_rows = spill.contents.n_rows
    starts = sizes.starts(n_rows, spill.contents.row_bytes)
    ranges = list(zip(starts, [*starts[1:], n_rows], strict=True))
    counts = zip(columns, spill.contents.null_counts, strict=True)
    with_nulls = [column.name for column, null_count in counts if null_count]
    reader = SpillReader(spill, special_dtypes(columns, with_nulls))
    meta = reader((0, 0), columns=[column.name for column in columns])
    return make_frame(reader, ranges, meta, (*starts, max(0, n_rows - 1)))
