"""Parquet files as a table of parts that keep their names from run to run.

A part is a file and a range of its row groups. All footers are read once, before
any row, and give one Arrow schema that every part is cast to. Whoever wants a dask
DataFrame of Parquet files uses dask's own reader.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dfml.exceptions import BadFileError, SourceError
from dfml.sources._arrow_types import merge_types
from dfml.sources._base import CHECK_FILE, reading
from dfml.sources._files import (
    SourceFile,
    check_keys,
    fixed_folder,
    is_inside,
    list_files,
)
from dfml.sources._row_groups import (
    RowGroups,
    cut_row_groups,
    read_footers,
    to_schema,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ParquetPart", "ParquetTable"]

_logger = logging.getLogger("dfml")


@dataclass(frozen=True)
class ParquetPart:
    """A range of row groups of one file, the unit of work.

    Parameters
    ----------
    number : int
        Position in the table.
    groups : RowGroups
        Where the rows are.
    """

    number: int
    groups: RowGroups

    @property
    def path(self) -> str:
        """The file."""
        return self.groups.file.path

    @property
    def n_rows(self) -> int:
        """Rows that a read gives."""
        return self.groups.n_rows

    @property
    def key(self) -> tuple[Any, ...]:
        """The file and its row groups."""
        groups = self.groups
        return groups.file.path, groups.first, groups.stop, groups.n_rows

    def describe(self) -> str:
        """Name the file and the row groups, for messages."""
        return self.groups.describe()

    def read(self, where: str, schema: Any) -> Iterator[Any]:
        """Read some columns; see :class:`dfml.sources._base.Part`."""
        keys = {
            name: pa.scalar(value, pa.string()) for name, value in self.groups.file.keys
        }
        with reading(where, self):
            for batch in self.groups.read(schema.names):
                yield to_schema(where, self, batch, schema, keys)


@dataclass
class _Column:
    """What the files say of one column."""

    field: Any
    declared_by: str
    problem: tuple[str, str, str] | None = None


@dataclass
class ParquetTable:
    """The files of a Parquet source, their parts and their common columns.

    Parameters
    ----------
    where : str
        The call, for messages.
    source : str
        As it was given: a file, a glob or a folder.
    files : list of SourceFile
        Sorted by path.
    parts : list of ParquetPart
        In the order of the files; empty if there are no rows.
    keys : list of str
        The columns that come from ``name=value`` folders: those not in the files.
    skipped : dict
        Paths of files that are broken, and why; they have no parts.
    """

    where: str
    source: str
    files: list[SourceFile]
    parts: list[ParquetPart] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    _first: str = ""
    _columns: dict[str, _Column] = field(default_factory=dict)
    _lacking: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls, where: str, source: str | os.PathLike[str], *, skips: bool = False
    ) -> ParquetTable:
        """List a file, a glob or a folder and read every footer.

        Parameters
        ----------
        where : str
            The call, for messages.
        source : path
            What to open.
        skips : bool, default=False
            Pass over files whose footer cannot be read.

        Raises
        ------
        BadFileError
            If a footer cannot be read, or none of them.
        SourceError
            If there is no file.
        """
        table = cls(where, os.fspath(source), list_files(where, source))
        check_keys(where, table.files)
        table._read_footers(table.skipped if skips else None)
        if len(table.skipped) == len(table.files):
            raise _no_file_left(where, table.skipped)
        for path, reason in table.skipped.items():
            _logger.warning("skipped %s: %s", path, reason)
        table._add_key_columns()
        return table

    def _read_footers(self, skipped: dict[str, str] | None) -> None:
        footers = read_footers(self.where, self.files, skipped=skipped)
        try:
            for file, schema, metadata in footers:
                self._add_columns(file, schema)
                self._add_parts(file, schema, metadata)
        except BadFileError as err:
            err.add_note(f"dfml: in a file that part {len(self.parts)} would be of.")
            raise

    @property
    def names(self) -> list[str]:
        """All column names: those of the first file, then what others add."""
        return list(self._columns)

    @property
    def n_rows(self) -> int:
        """Count the rows of all parts."""
        return sum(part.n_rows for part in self.parts)

    def schema(self, names: Sequence[str] | None = None) -> Any:
        """Give the schema that each part has after reading.

        Parameters
        ----------
        names : sequence of str, optional
            The columns that are needed, in order; they are checked. None gives all
            of them unchecked, with the first file's type where files disagree.

        Returns
        -------
        schema : pyarrow Schema
            Without metadata of the files.

        Raises
        ------
        SourceError
            If a file lacks a needed column or has it with a type that does not fit.
        """
        for name in names or ():
            problem = self._problem(name)
            if problem is not None:
                raise SourceError.expecting(self.where, *problem)
        chosen = self.names if names is None else names
        return pa.schema([self._columns[name].field for name in chosen])

    def version(self) -> dict[str, Any]:
        """Give paths, sizes and times of the files."""
        listed = [(file.path, file.size, file.mtime_ns) for file in self.files]
        return {"format": "parquet", "files": listed}

    def overlaps(self, folder: str) -> bool:
        """Tell if files written to a folder could become rows of the table."""
        given = os.path.abspath(os.path.expanduser(self.source))
        searched = given if os.path.isdir(given) else fixed_folder(given)
        is_searched = os.path.isdir(given) or "**" in given
        paths = [os.path.realpath(file.path) for file in self.files]
        return (
            folder in paths
            or any(is_inside(os.path.dirname(path), folder) for path in paths)
            or (is_searched and is_inside(folder, os.path.realpath(searched)))
        )

    def describe(self) -> str:
        """Name the source as it was given."""
        return repr(self.source)

    def _problem(self, name: str) -> tuple[str, str, str] | None:
        """Say what was expected of a column, what came, and what to do."""
        column = self._columns[name]
        if name not in self._lacking:
            return column.problem
        expected = f"column {name!r} in every file, as in {column.declared_by!r}"
        hint = (
            "write this file again with the column; one that the model does not need "
            "can be left out with keep="
        )
        if name in [key for key, _ in self.files[0].keys]:
            hint = (
                "write this file again with the column, or all others without it: then "
                "it is read from the names of folders"
            )
        return expected, f"{self._lacking[name]!r} without it", hint

    def _add_columns(self, file: SourceFile, schema: Any) -> None:
        names = schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError.expecting(
                self.where,
                "column names that are different",
                f"{twice} twice in {file.path!r}",
                "rename the columns",
            )
        is_first = not self._first
        self._first = self._first or file.path
        for name in self._columns.keys() - set(names):
            self._lacking.setdefault(name, file.path)
        for each in schema:
            known = self._columns.get(each.name)
            if known is None:
                self._columns[each.name] = _Column(_without_id(each), file.path)
                if not is_first:
                    self._lacking.setdefault(each.name, self._first)
            elif not known.field.equals(each):
                _widen(known, each, file.path)

    def _add_parts(self, file: SourceFile, schema: Any, metadata: Any) -> None:
        for groups in cut_row_groups(file, schema, metadata):
            self.parts.append(ParquetPart(len(self.parts), groups))

    def _add_key_columns(self) -> None:
        names = [name for name, _ in self.files[0].keys]
        self.keys = [name for name in names if name not in self._columns]
        for name in self.keys:
            values = [dict(file.keys)[name] for file in self.files]
            type_ = pa.int64() if all(map(_is_integer, values)) else pa.string()
            self._columns[name] = _Column(pa.field(name, type_), "")


def _no_file_left(where: str, skipped: Mapping[str, str]) -> BadFileError:
    # Threads have found them in any order.
    named = [f"{path!r} ({reason})" for path, reason in sorted(skipped.items())[:3]]
    more = ["..."] if len(skipped) > len(named) else []
    error = BadFileError.expecting(
        where,
        "a source of which a file is left without those that are broken",
        f"{len(skipped)} files that are all broken: {', '.join(named + more)}",
        CHECK_FILE,
    )
    error.reason = next(iter(skipped.values()))
    return error


def _is_integer(value: str | None) -> bool:
    if value is None:
        return True
    digits = value.removeprefix("-")
    return digits.isascii() and digits.isdigit() and abs(int(value)) < 2**63


def _without_id(each: Any) -> Any:
    kept = {
        key: value
        for key, value in (each.metadata or {}).items()
        if key != b"PARQUET:field_id"
    }
    return each.with_metadata(kept or None)


def _widen(known: _Column, each: Any, path: str) -> None:
    merged = merge_types(known.field.type, each.type)
    if merged is None:
        if known.problem is None:
            known.problem = (
                f"column {each.name!r} with types that fit together",
                f"{known.field.type} in {known.declared_by!r} and {each.type} in "
                f"{path!r}",
                "write these files again with one type a column, or leave the column "
                "out",
            )
        return
    if merged != known.field.type:
        known.field, known.declared_by = known.field.with_type(merged), path
    known.field = known.field.with_nullable(known.field.nullable or each.nullable)
