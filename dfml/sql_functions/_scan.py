"""A model over a whole relation: large batches, all cores, a relation to go on with."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
import pyarrow as pa
import pyarrow.dataset
from joblib import cpu_count

from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    InputTypeError,
    QueryError,
)
from dfml.sources._columns import quoted
from dfml.sources._spill import rechunk
from dfml.sql_functions._answer import SqlModel, make_sql_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import duckdb

__all__ = ["predict_sql"]

BATCH_ROWS = 100_000
# What Arrow cannot hold as DuckDB does travels as text, and is cast back.
_AS_TEXT = {
    "bit",
    "bignum",
    "hugeint",
    "time with time zone",
    "uhugeint",
    "uuid",
    "varint",
}


def predict_sql(
    model: Any,
    relation: duckdb.DuckDBPyRelation,
    *,
    method: str = "predict",
    name: str | None = None,
    prefix: str | None = None,
) -> duckdb.DuckDBPyRelation:
    """Answer a whole relation with a model, and return a relation to go on with.

    The relation runs once, now, on its own connection. Its rows are streamed in batches
    of 100,000, answered on all cores, and written to a temporary file in the order in
    which they came; memory does not grow with their number. The relation that is
    returned reads that file, as often as it is asked to, and the model is not called
    again.

    Parameters
    ----------
    model : estimator
        Fitted on a table with column names, of dfml or scikit-learn.
    relation : DuckDBPyRelation
        The rows. Columns are taken by name; there may be more of them.
    method : str, default="predict"
        The response method.
    name : str, optional
        Name of the single output column.
    prefix : str, optional
        Put before the names of all output columns.

    Returns
    -------
    relation : DuckDBPyRelation
        All columns of the input with their types, then the answers:
        ``prediction``, or ``probability_<class>`` and so on.

    Raises
    ------
    ColumnMismatchError
        If the relation lacks columns, or the model was fitted without column names.
    ColumnCollisionError
        If an output column has the name of a column that is already there.
    QueryError
        If DuckDB refuses the query or fails while it runs.

    See Also
    --------
    register : The model as a SQL function.

    Notes
    -----
    The file lies in the directory set as ``dfml.spill-directory`` in dask's
    configuration, or in the system's temporary directory. It is about as large as the
    rows in memory, and goes with the last relation made from the result, at the latest
    with the connection. Types and NULL are treated as in :func:`register`.

    Examples
    --------
    >>> import duckdb, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> import dfml
    >>> rows = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [5.0, 1.0, 0.0]})
    >>> model = LinearRegression().fit(rows, rows["a"] - rows["b"])
    >>> con = duckdb.connect()
    >>> answered = dfml.predict_sql(
    ...     model, con.sql("SELECT 7 AS id, 1 AS b, 3 AS a"), name="gap"
    ... )
    >>> answered.project("id, round(gap)").fetchall()
    [(7, 2.0)]
    """
    _check_relation(relation)
    sql_model = make_sql_model("predict_sql", model, method, name=name, prefix=prefix)
    scan = _Scan(relation, sql_model)
    directory = _make_directory()
    try:
        path = os.path.join(directory, "rows.arrow")
        batches = _in_order(scan.answer, rechunk(scan.batches(), BATCH_ROWS))
        _write(path, batches, scan.schema)
        dataset = pyarrow.dataset.dataset(path, schema=scan.schema, format="ipc")
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    finally:
        scan.reader.close()  # it holds the connection
    # DuckDB holds the dataset as long as a relation reads it.
    weakref.finalize(dataset, shutil.rmtree, directory, ignore_errors=True)
    # A relation does not tell its connection in public, and only it can go on with it.
    return relation._con.from_arrow(dataset).project(scan.projection)


class _Scan:
    """One reading of a relation: what is asked of DuckDB, and what is written."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, model: SqlModel) -> None:
        self.model = model
        self.names = relation.columns
        types = dict(zip(self.names, relation.types, strict=True))
        found = self._check_columns()
        kept = [
            f"CAST({quoted(n)} AS VARCHAR) AS {quoted(n)}"
            if kind.id in _AS_TEXT
            else quoted(n)
            for n, kind in types.items()
        ]
        # A feature that DuckDB has to cast is streamed beside the column it is.
        added: list[str] = []
        self.features: list[int] = []
        for name, sql_type in model.fields.items():
            source = found[name.casefold()]
            if str(types[source]) == sql_type:
                self.features.append(self.names.index(source))
            else:
                self.features.append(len(kept) + len(added))
                column = f"CAST({quoted(source)} AS {sql_type})"
                added.append(f"{column} AS {quoted(f'dfml: {len(added)}')}")
        self.query = relation.project(", ".join([*kept, *added]))
        self.reader: Any = None
        with _failures(self.query):
            self.reader = self.query.to_arrow_reader(BATCH_ROWS)
        self.schema = pa.schema(
            [*list(self.reader.schema)[: len(kept)], *model.outputs]
        )
        self.projection = ", ".join(
            [f"CAST({quoted(n)} AS {kind}) AS {quoted(n)}" for n, kind in types.items()]
            + [quoted(n) for n in model.outputs.names]
        )

    def batches(self) -> Iterator[Any]:
        """Yield what DuckDB streams; a stream that fails is never complete."""
        with _failures(self.query):
            yield from self.reader

    def answer(self, batch: Any) -> Any:
        """Put the answers beside the columns of one batch."""
        answers = self.model([batch.column(i) for i in self.features])
        kept = batch.columns[: len(self.names)]
        return pa.record_batch([*kept, *answers], schema=self.schema)

    def _check_columns(self) -> dict[str, str]:
        """Find the columns of the relation as SQL does, whatever their case."""
        outputs = list(self.model.outputs.names)
        counts = Counter(each.casefold() for each in [*self.names, *outputs])
        twice = [
            each for each in [*self.names, *outputs] if counts[each.casefold()] > 1
        ]
        if twice:
            raise ColumnCollisionError.expecting(
                "predict_sql",
                "columns and outputs whose names are different, whatever their case",
                f"{sorted(set(twice))} twice",
                "pass name= or prefix=, or rename the columns in the SQL",
            )
        found = {each.casefold(): each for each in self.names}
        missing = [each for each in self.model.fields if each.casefold() not in found]
        if missing:
            raise ColumnMismatchError.expecting(
                "predict_sql",
                "the columns seen in fit",
                f"missing: {missing}, there are: {self.names}",
                "select or rename them in the SQL",
            )
        return found


def _check_relation(relation: object) -> None:
    import duckdb

    if not isinstance(relation, duckdb.DuckDBPyRelation):
        raise InputTypeError.expecting(
            "predict_sql",
            "a DuckDB relation",
            type(relation).__name__,
            "make one with connection.sql(...)",
        )


@contextmanager
def _failures(query: duckdb.DuckDBPyRelation) -> Iterator[None]:
    """Give DuckDB's failures one type; in a stream they come as those of Arrow."""
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as err:
        raise QueryError.expecting(
            "predict_sql",
            "a relation that DuckDB can read to its end",
            f"{str(err).rstrip(' .')}\n\nfrom {query.sql_query()}",
            "read the relation alone, and pass it when that works",
        ) from err
    except RuntimeError as err:
        # DuckDB swallows Ctrl-C while a query runs and raises this in its place.
        if str(err) == "Query interrupted":
            raise KeyboardInterrupt from err
        raise


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


def _make_directory() -> str:
    parent = dask.config.get("dfml.spill-directory", None)
    if parent is not None:
        os.makedirs(parent, exist_ok=True)
    return tempfile.mkdtemp(prefix="dfml-predict-", dir=parent)


def _write(path: str, batches: Iterable[Any], schema: Any) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(path, "wb") as sink,
        pa.ipc.new_file(sink, schema, options=options) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
