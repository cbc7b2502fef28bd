"""Open whatever is given as a source as a table of parts."""

from __future__ import annotations

import glob
import os
import sys
from typing import TYPE_CHECKING, Any

from dfml.exceptions import InputTypeError, SourceError
from dfml.sources._delta import DeltaSnapshot
from dfml.sources._iceberg import IcebergSnapshot
from dfml.sources._lake import read_delta, read_iceberg
from dfml.sources._parquet import ParquetTable
from dfml.sources._query_result import QueryResult

if TYPE_CHECKING:
    import dask.dataframe as dd

    from dfml.sources._base import SourceTable
    from dfml.sources._files import SourceFile

__all__ = ["open_frame", "open_table"]


def open_table(where: str, source: Any, *, skips: bool = False) -> SourceTable:
    """Open a source for reading part by part; a DuckDB relation runs now.

    Parameters
    ----------
    where : str
        The call, for messages.
    source : path, deltalake.DeltaTable, pyiceberg.table.Table or DuckDBPyRelation
        A path is a Parquet file, a glob or a folder with Parquet files, the folder of
        a Delta table, or the metadata file of an Iceberg table.
    skips : bool, default=False
        Pass over broken files, if the source is Parquet files and nothing else.

    Returns
    -------
    table : SourceTable
        As it is now.

    Raises
    ------
    InputTypeError
        If it is none of these, or broken files of it cannot be passed over.
    SourceError
        If it cannot be read, or rows of it would be wrong.
    """
    is_path = isinstance(source, str | os.PathLike)
    if skips and not (is_path and _kind_of_path(os.fspath(source)) == "Parquet"):
        raise InputTypeError.expecting(
            where,
            'a path to plain Parquet files for on_bad_file="skip"',
            repr(source) if is_path else type(source).__name__,
            "leave on_bad_file= out: rows of this table would be wrong without a file",
        )
    if is_path:
        return _open_path(where, os.fspath(source), skips)
    if _is_a(source, "deltalake", "DeltaTable"):
        return DeltaSnapshot.open(where, source)
    if _is_a(source, "pyiceberg.table", "Table"):
        return IcebergSnapshot.open(where, source)
    if _is_a(source, "duckdb", "DuckDBPyRelation"):
        return QueryResult.open(where, source)
    raise InputTypeError.expecting(
        where,
        "a path, a Delta table, an Iceberg table or a DuckDB relation as source",
        type(source).__name__,
        next(
            (hint for name, hint in _HINTS.items() if name in _class_names(source)),
            "write it to Parquet first",
        ),
    )


#: What to pass in place of what is often tried, by the name of a class.
_HINTS = {
    "DataFrame": "write a frame to Parquet first, or use its own response methods",
    "FrameBase": "write a frame to Parquet first, or use its own response methods",
    "list": "pass a glob, or a relation, duckdb.read_parquet(paths)",
    "tuple": "pass a glob, or a relation, duckdb.read_parquet(paths)",
    "DuckDBPyConnection": "pass a relation, con.sql(query)",
    "Catalog": "pass catalog.load_table(name)",
    "TableScan": "pass the table, at its current snapshot",
}


def _class_names(source: Any) -> set[str]:
    return {each.__name__ for each in type(source).__mro__}


def open_frame(where: str, path: str) -> dd.DataFrame:
    """Open a path as a dask DataFrame, whatever kind of table is there.

    Parameters
    ----------
    where : str
        The call, for messages.
    path : str
        As for :func:`open_table`.

    Returns
    -------
    frame : dask DataFrame
        From dask's own reader if it is Parquet.

    Raises
    ------
    SourceError
        If it cannot be read, or rows of it would be wrong.

    Notes
    -----
    The footers of all Parquet files are read, so that a broken one is named before any
    work.
    """
    import dask.dataframe as dd

    kind = _kind_of_path(path)
    if kind != "Parquet":
        return read_delta(path) if kind == "Delta" else read_iceberg(path)
    table = ParquetTable.open(where, path)
    _check_plain(where, table.files)
    if not glob.has_magic(path):
        return dd.read_parquet(path)
    # dask takes "*" for a wildcard and nothing else, in names of files too.
    return dd.read_parquet([glob.escape(file.path) for file in table.files])


def _is_a(source: Any, module: str, name: str) -> bool:
    """Tell if it is of a class whose module is imported only if it may be one."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(source, getattr(loaded, name))


def _open_path(where: str, path: str, skips: bool) -> SourceTable:
    kind = _kind_of_path(path)
    if kind == "Delta":
        return DeltaSnapshot.open(where, path)
    if kind == "Iceberg":
        return IcebergSnapshot.open(where, path)
    table = ParquetTable.open(where, path, skips=skips)
    _check_plain(where, table.files)
    return table


def _kind_of_path(path: str) -> str:
    full = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(os.path.join(full, "_delta_log")):
        return "Delta"
    return "Iceberg" if path.endswith(".metadata.json") else "Parquet"


def _check_plain(where: str, files: list[SourceFile]) -> None:
    """Refuse files of a Delta or Iceberg table: some of their rows are deleted."""
    seen: set[str] = set()
    for folder in {os.path.dirname(file.path) for file in files}:
        while folder not in seen:
            seen.add(folder)
            kind, hint = _log_in(folder)
            if kind:
                raise SourceError.expecting(
                    where,
                    "Parquet files that are a table by themselves",
                    f"files of the {kind} table {folder!r}, whose log says which of "
                    "them are rows",
                    hint,
                )
            folder = os.path.dirname(folder)


def _log_in(folder: str) -> tuple[str, str]:
    if os.path.isdir(os.path.join(folder, "_delta_log")):
        return "Delta", "pass the folder of the table"
    if glob.glob(os.path.join(glob.escape(folder), "metadata", "*.metadata.json")):
        return "Iceberg", "pass the table of a catalog, or its newest *.metadata.json"
    return "", ""
