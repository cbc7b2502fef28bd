"""The result of a DuckDB relation as a table of parts: row ranges of a spill.

The relation runs once, when the table is opened. What identifies the result is what is
in it, so the same rows in the same order are the same table in another process too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dfml.sources import _row_groups
from dfml.sources._columns import check_columns
from dfml.sources._query import database_errors
from dfml.sources._row_groups import to_schema
from dfml.sources._spill import write_spill
from dfml.sources._stream import open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from dfml.sources._columns import Column
    from dfml.sources._spill import Spill

__all__ = ["QueryPart", "QueryResult"]

_SOURCE = "a DuckDB relation"


@dataclass(frozen=True)
class QueryPart:
    """A range of rows of a result.

    Parameters
    ----------
    number : int
        Position in the table.
    start, stop : int
        The rows ``start`` to ``stop - 1``.
    spill : Spill
        Where they are.
    enums : dict of str to pyarrow Array
        The values of columns that are kept as codes.
    """

    number: int
    start: int
    stop: int
    spill: Spill
    enums: dict[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Rows that a read gives."""
        return self.stop - self.start

    @property
    def key(self) -> tuple[Any, ...]:
        """The range."""
        return self.start, self.stop

    def describe(self) -> str:
        """Name the rows, for messages."""
        return f"rows {self.start} to {self.stop - 1} of the relation's result"

    def read(self, where: str, schema: Any) -> Iterator[Any]:
        """Read some columns; see :class:`dfml.sources._base.Part`."""
        for table in iter_batches(self.spill, schema.names, self.start, self.stop):
            for name, values in self.enums.items():
                at = table.schema.get_field_index(name)
                if at >= 0:
                    codes = table.column(at).combine_chunks()
                    coded = pa.DictionaryArray.from_arrays(codes, values)
                    table = table.set_column(at, name, coded)
            yield to_schema(where, self, table, schema)


@dataclass(frozen=True)
class QueryResult:
    """The rows of a DuckDB relation, kept on disk while this object lives.

    Parameters
    ----------
    where : str
        The call, for messages.
    spill : Spill
        The rows.
    columns : tuple of Column
        What they are.
    types : pyarrow Schema
        The columns as they are given.
    digest : str
        Of all rows, in their order.
    """

    where: str
    spill: Spill
    columns: tuple[Column, ...]
    types: Any
    digest: str

    @classmethod
    def open(cls, where: str, relation: duckdb.DuckDBPyRelation) -> QueryResult:
        """Run the relation and keep its rows, with the types that `read_sql` gives.

        Raises
        ------
        QueryError
            If DuckDB fails, or a column has a type that a frame cannot hold.
        """
        with database_errors(_SOURCE, where):
            columns = check_columns(relation, where)
            with open_stream(relation, columns, _SOURCE, where) as (stored, batches):
                spill = write_spill(batches, stored, where=where)
        types = pa.schema([_given(*each) for each in zip(columns, stored, strict=True)])
        return cls(where, spill, tuple(columns), types, _digest(spill, stored.names))

    @property
    def names(self) -> list[str]:
        """All column names, in the order of the query."""
        return list(self.types.names)

    @property
    def keys(self) -> list[str]:
        """None."""
        return []

    @property
    def n_rows(self) -> int:
        """Count the rows."""
        return self.spill.contents.n_rows

    @property
    def parts(self) -> list[QueryPart]:
        """Ranges of whole batches, which depend on the first rows only."""
        contents = self.spill.contents
        batch_bytes = contents.row_bytes * contents.batch_rows
        n_batches = max(1, int(_row_groups.PART_BYTES // batch_bytes))
        step = contents.batch_rows * n_batches
        enums = {
            each.name: pa.array(each.categories, pa.string())
            for each in self.columns
            if each.categories is not None
        }
        return [
            QueryPart(i, start, min(start + step, self.n_rows), self.spill, enums)
            for i, start in enumerate(range(0, self.n_rows, step))
        ]

    def schema(self, names: Sequence[str] | None = None) -> Any:
        """Give the schema that each part has; see `SourceTable`."""
        chosen = self.names if names is None else names
        return pa.schema([self.types.field(name) for name in chosen])

    def version(self) -> dict[str, Any]:
        """Give a digest of the rows."""
        return {"format": "query", "types": str(self.types), "digest": self.digest}

    def overlaps(self, folder: str) -> bool:  # noqa: ARG002
        """Nothing that is written later becomes a row: the relation has run."""
        return False

    def describe(self) -> str:
        """Name the table."""
        return _SOURCE


def iter_batches(
    spill: Spill, names: Sequence[str], start: int, stop: int
) -> Iterator[Any]:
    """Yield the rows of a range a batch of the spill at a time."""
    size = spill.contents.batch_rows
    for first in range(start, stop, size):
        yield spill.read(first, min(first + size, stop), names)


def _given(column: Column, stored: Any) -> Any:
    """Describe a column as it is given: enums are kept as codes, and given as text."""
    if column.categories is None:
        return stored
    return pa.field(column.name, pa.dictionary(stored.type, pa.string()))


def _digest(spill: Spill, names: Sequence[str]) -> str:
    total = hashlib.sha256()
    for table in iter_batches(spill, names, 0, spill.contents.n_rows):
        total.update(table.num_rows.to_bytes(8, "little"))
        for column in table.columns:
            for content in _contents(column.combine_chunks()):
                total.update(content)
    return total.hexdigest()


def _contents(array: Any) -> Iterator[Any]:
    """Yield which values are there, and those; what is under a null is anything."""
    yield np.packbits(array.is_null().to_numpy(zero_copy_only=False))
    values = array.drop_null()
    if not len(values):
        return
    if pa.types.is_large_string(values.type):
        _, offsets, text = values.buffers()
        ends = np.frombuffer(offsets, np.int64)[values.offset :][: len(values) + 1]
        yield np.diff(ends)
        yield text[int(ends[0]) : int(ends[-1])]
    elif pa.types.is_boolean(values.type):
        yield np.packbits(values.to_numpy(zero_copy_only=False))
    else:
        yield np.ascontiguousarray(values.to_numpy()).view(np.uint8)
