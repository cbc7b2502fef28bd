"""``read_delta`` and ``read_iceberg``: tables of a lake as dask DataFrames.

A partition is a part of the table, the same that ``predict_table`` reads, so the frame
knows its divisions and the dtypes of all partitions before a row is read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from dfml._dask_settings import dask_settings
from dfml.exceptions import ColumnMismatchError, InputTypeError, SourceError
from dfml.sources._base import NoRows
from dfml.sources._delta import DeltaSnapshot
from dfml.sources._iceberg import IcebergSnapshot
from dfml.sources._pandas import nullable_dtypes, to_frame

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from datetime import datetime

    import dask.dataframe as dd
    import deltalake
    from pyiceberg.table import Table

    from dfml.sources._base import Part

__all__ = ["read_delta", "read_iceberg"]


def read_delta(
    table: str | os.PathLike[str] | deltalake.DeltaTable,
    *,
    version: int | None = None,
    timestamp: str | datetime | None = None,
    columns: Sequence[str] | None = None,
) -> dd.DataFrame:
    """Read a version of a Delta table as a dask DataFrame.

    The log and the footers of the data files are read now, rows when they are asked
    for, with only the columns that are used. Each partition is some row groups of one
    file, of about 100 MB in memory.

    Parameters
    ----------
    table : path or deltalake.DeltaTable
        The folder of a table on a file system. An object brings its version.
    version : int, optional
        The version to read; the newest of a path.
    timestamp : str or datetime, optional
        The last version before this moment, in UTC if it has no time zone; a date is
        its midnight.
    columns : sequence of str, optional
        The columns to read, in this order; all by default.

    Returns
    -------
    frame : dask DataFrame
        Rows that are not deleted, by the time at which their files were added. The
        index is the row number over all partitions and the divisions are known.

    Raises
    ------
    InputTypeError
        If an argument is of another kind.
    SourceError
        If there is no such table or version, a file is missing or broken, a column has
        types that do not fit together, or the table has a reader feature that dfml
        does not know.
    ColumnMismatchError
        If `columns` names one that is not there.
    MissingDependencyError
        If ``deltalake`` is not installed.

    See Also
    --------
    predict_table : Takes Delta tables as they are.

    Notes
    -----
    Deletion vectors are applied, columns are found by their physical names where the
    table maps names, partition values come from the log with their types, and a column
    that was added later is null in older files. Column mapping by id and unknown
    reader features are refused.

    Whole numbers and flags are ``int64``, ``bool`` and so on where the statistics of
    all files say that there is no null, else ``Int64`` and ``boolean``. Decimals and
    dates are Arrow columns of pandas.

    The same version gives the same frame, with the same keys in dask's graph.

    Examples
    --------
    >>> import tempfile, dfml, pandas as pd
    >>> from deltalake import write_deltalake
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_deltalake(folder, pd.DataFrame({"id": [1, 2], "x": [0.5, 1.5]}))
    ...     write_deltalake(
    ...         folder, pd.DataFrame({"id": [3], "x": [2.5]}), mode="append"
    ...     )
    ...     frame = dfml.read_delta(folder)
    ...     before = dfml.read_delta(folder, version=0, columns=["x"])
    ...     frame.npartitions, frame["x"].sum().compute(), len(before)
    (2, np.float64(4.5), 2)
    """
    where = "read_delta"
    return _lazy_frame(DeltaSnapshot.open(where, table, version, timestamp), columns)


def read_iceberg(
    table: Table | str | os.PathLike[str],
    *,
    snapshot_id: int | None = None,
    columns: Sequence[str] | None = None,
) -> dd.DataFrame:
    """Read a snapshot of an Iceberg table as a dask DataFrame.

    The metadata is read now, rows when they are asked for, with only the columns that
    are used. Each partition is one data file, which is in memory as a whole.

    Parameters
    ----------
    table : pyiceberg.table.Table or path
        A table of a catalog, as it was when it was loaded, or a metadata file.
    snapshot_id : int, optional
        The snapshot to read, with the columns it had; the current one by default.
    columns : sequence of str, optional
        The columns to read, in this order; all by default.

    Returns
    -------
    frame : dask DataFrame
        Rows that are not deleted, by the paths of their files. The index is the row
        number over all partitions and the divisions are known.

    Raises
    ------
    InputTypeError
        If an argument is of another kind.
    SourceError
        If there is no such snapshot, a file is missing or broken, or rows were deleted
        by value and not by position.
    ColumnMismatchError
        If `columns` names one that is not there.
    MissingDependencyError
        If ``pyiceberg`` is not installed.

    See Also
    --------
    predict_table : Takes Iceberg tables as they are.

    Notes
    -----
    Columns are found by their field ids, so renamed, reordered, added and widened
    columns are right in all files. Positional deletes are applied; of files that have
    them, one column is read at the call to count the rows that are left. Dtypes are
    those of :func:`read_delta`.

    Examples
    --------
    >>> import tempfile, dfml, pandas as pd, pyarrow as pa
    >>> from pyiceberg.catalog.sql import SqlCatalog
    >>> rows = pa.table({"id": [1, 2, 3], "x": [0.5, 1.5, 2.5]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     uri, place = f"sqlite:///{folder}/catalog.db", f"file://{folder}"
    ...     catalog = SqlCatalog("lake", uri=uri, warehouse=place)
    ...     catalog.create_namespace("db")
    ...     table = catalog.create_table("db.t", rows.schema)
    ...     table.append(rows)
    ...     dfml.read_iceberg(table)["x"].sum().compute()
    ...     catalog.close()
    np.float64(4.5)
    """
    snapshot = IcebergSnapshot.open("read_iceberg", table, snapshot_id)
    return _lazy_frame(snapshot, columns)


@dataclass(frozen=True)
class _Rows:
    """A part, and the number of its first row in the table."""

    part: Part
    start: int

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (*self.part.key, self.start)


@dataclass(frozen=True)
class _PartReader:
    """Reads a part as a pandas DataFrame.

    Parameters
    ----------
    where : str
        The call, for messages.
    schema : pyarrow Schema
        Of the table.
    dtypes : dict
        Those of nullable whole numbers and flags.
    token : str
        Tells the version of the table from all others.
    """

    where: str
    schema: Any
    dtypes: dict[str, Any]
    token: str

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return ("dfml.lake", self.token, str(self.schema), str(self.dtypes))

    # columns has no default: dask then passes it always, also when it is empty.
    def __call__(self, rows: _Rows, columns: list[str]) -> pd.DataFrame:
        """Return the rows of the part, with these columns in this order."""
        part, start = rows.part, rows.start
        if not columns:
            return pd.DataFrame(index=pd.RangeIndex(start, start + part.n_rows))
        schema = pa.schema([self.schema.field(name) for name in columns])
        table = pa.concat_tables(part.read(self.where, schema))
        wrong = [name for name in columns if self._has_unknown_null(table, name)]
        if wrong:
            raise SourceError.expecting(
                self.where,
                f"no null in {wrong}, as the statistics say",
                f"null in {part.describe()} (part {part.number})",
                "write the file again",
            )
        return to_frame(table, self.dtypes, start)

    def _has_unknown_null(self, table: Any, name: str) -> bool:
        column = table.column(name)
        is_counted = pa.types.is_integer(column.type) or pa.types.is_boolean(
            column.type
        )
        return is_counted and name not in self.dtypes and column.null_count > 0


def _lazy_frame(
    table: DeltaSnapshot | IcebergSnapshot, columns: Sequence[str] | None
) -> dd.DataFrame:
    """Make the dask DataFrame whose partitions are the parts of a table."""
    import dask.dataframe as dd

    names = table.names if columns is None else list(columns)
    if isinstance(columns, str) or len(set(names)) < len(names):
        raise InputTypeError.expecting(
            table.where,
            "columns as a list of different names",
            repr(columns),
            "write columns=[...]",
        )
    missing = [name for name in names if name not in table.names]
    if missing:
        raise ColumnMismatchError.expecting(
            table.where,
            "columns to name those of the table",
            f"{missing}, unknown among {table.names}",
            "correct columns=",
        )
    schema = table.schema(names)
    dtypes = nullable_dtypes(schema, table.without_nulls)
    reader = _PartReader(table.where, schema, dtypes, str(table.version()))
    parts: Sequence[Part] = table.parts or [NoRows()]
    starts = [0, *itertools.accumulate(part.n_rows for part in parts)]
    rows = [_Rows(part, start) for part, start in zip(parts, starts, strict=False)]
    # dask would convert str to its own "string"; the same rows in pandas are str.
    with dask_settings({"dataframe.convert-string": False}):
        return dd.from_map(
            reader,
            rows,
            meta=reader(_Rows(NoRows(), 0), columns=names),
            divisions=(*starts[:-1], max(0, starts[-1] - 1)),
            label=table.where.replace("_", "-"),
        )
