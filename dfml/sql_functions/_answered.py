"""Rows and the answers of a model, as a table that DuckDB reads.

DuckDB scans whatever is a dataset of Arrow: it asks for the columns that a query needs
and hands over simple filters, so that other columns are not read, and rows that a
filter takes away are not answered.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset
from joblib import cpu_count

from dfml.sql_functions._answer import model_error
from dfml.sql_functions._rows import BATCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dfml.sql_functions._answer import SqlModel
    from dfml.sql_functions._rows import Rows

__all__ = ["AnsweredRows"]


class AnsweredRows(pyarrow.dataset.Dataset):
    """A dataset that reads its rows and calls the model at each scan.

    Parameters
    ----------
    rows : Rows
        What is answered.
    kept : sequence of str
        Columns of the rows that are columns of this table.
    features : sequence of str
        Columns of the rows that the model takes, in its order.
    model : SqlModel
        The model.
    """

    def __init__(
        self,
        rows: Rows,
        kept: Sequence[str],
        features: Sequence[str],
        model: SqlModel,
    ) -> None:
        # Arrow's own constructors are not for subclasses.
        self.rows = rows
        self.features = list(features)
        self.model = model
        self._schema = pa.schema(
            [*(rows.schema.field(name) for name in kept), *model.outputs]
        )

    @property
    def schema(self) -> Any:
        """Columns of the rows that are kept, and the outputs."""
        return self._schema

    def scanner(self, columns: Any = None, filter: Any = None) -> _Scanner:
        """Plan one reading; DuckDB calls this."""
        names = self._schema.names if columns is None else list(columns)
        tested = [] if filter is None else _columns_of(filter, self._schema)
        outputs = set(self.model.outputs.names)
        return _Scanner(
            table=self,
            names=names,
            made=list(dict.fromkeys([*names, *tested])),
            before=filter if outputs.isdisjoint(tested) else None,
            after=None if outputs.isdisjoint(tested) else filter,
        )


@dataclass(frozen=True)
class _Scanner:
    """One reading of some columns of those rows that a filter keeps.

    Parameters
    ----------
    table : AnsweredRows
        The table.
    names : list of str
        The columns to yield.
    made : list of str
        These, and those the filter looks at.
    before, after : pyarrow Expression or None
        The filter, before the model is called if it looks at no answer.
    """

    table: AnsweredRows
    names: list[str]
    made: list[str]
    before: Any
    after: Any

    def to_reader(self) -> Any:
        """Return the stream; reading begins with its first batch."""
        schema = pa.schema([self.table.schema.field(name) for name in self.names])
        return pa.RecordBatchReader.from_batches(schema, self._batches())

    def _batches(self) -> Iterator[Any]:
        outputs = self.table.model.outputs.names
        has_answers = not set(outputs).isdisjoint(self.made)
        needed = {*self.made, *(self.table.features if has_answers else ())}
        batches = self.table.rows.read(
            [name for name in self.table.rows.schema.names if name in needed]
        )
        try:
            chosen = batches if self.before is None else _filtered(batches, self.before)
            answer = self._answer if has_answers else self._select
            yield from _in_order(answer, _gathered(chosen))
        finally:
            batches.close()  # type: ignore[attr-defined]

    def _answer(self, batch: Any) -> Any:
        table = self.table
        try:
            answers = table.model([batch.column(name) for name in table.features])
        except Exception as err:
            raise model_error("predict_sql", table.model, err) from err
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns |= dict(zip(table.model.outputs.names, answers, strict=True))
        schema = pa.schema([table.schema.field(name) for name in self.made])
        made = pa.record_batch([columns[name] for name in self.made], schema=schema)
        return self._select(made if self.after is None else made.filter(self.after))

    def _select(self, batch: Any) -> Any:
        return batch.select(self.names)


def _columns_of(expression: Any, schema: Any) -> list[str]:
    """Find the columns that a filter looks at: without them it cannot be applied."""
    empty = schema.empty_table()
    found = []
    for name in schema.names:
        try:
            empty.drop_columns([name]).filter(expression)
        except pa.ArrowInvalid:
            found.append(name)
    return found


def _filtered(batches: Iterable[Any], expression: Any) -> Iterator[Any]:
    for batch in batches:
        yield batch.filter(expression)


def _gathered(batches: Iterable[Any]) -> Iterator[Any]:
    """Join small batches, which a filter leaves; large ones pass without a copy."""
    pending: list[Any] = []
    n_rows = 0
    for batch in batches:
        pending.append(batch)
        n_rows += batch.num_rows
        if n_rows >= BATCH_ROWS // 4:
            yield pending[0] if len(pending) == 1 else pa.concat_batches(pending)
            pending, n_rows = [], 0
    if pending:
        yield pa.concat_batches(pending)


def _in_order(answer: Callable[[Any], Any], batches: Iterable[Any]) -> Iterator[Any]:
    """Answer batches on all cores, and yield them in their order.

    At most one batch more than there are cores is waiting or in work.
    """
    cores = cpu_count()
    pending: deque[Any] = deque()
    with ThreadPoolExecutor(cores, "dfml-predict") as pool:
        try:
            for batch in batches:
                pending.append(pool.submit(answer, batch))
                if len(pending) > cores:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()
