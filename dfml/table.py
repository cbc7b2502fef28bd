"""``predict_table``: a batch job from one table to another, all or nothing.

The job is planned before any row is read, run part by part, and committed in one
step. What a job writes to and how it commits belongs to ``dfml.sinks``.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import pandas as pd
from sklearn.utils._param_validation import StrOptions, validate_params
from sklearn.utils.validation import check_is_fitted

from dfml._cores import Cores
from dfml._digest import content_digest
from dfml._partitions import Partitions, Turn
from dfml._partitionwise import PartitionwiseMixin
from dfml._report import PredictionReport, versions
from dfml.estimators import ParallelPostFit
from dfml.exceptions import SourceError, TargetExistsError
from dfml.sinks._answers import Answers, make_answers
from dfml.sinks._targets import FORMATS, MODES, open_target
from dfml.sources._base import NoRows
from dfml.sources._open import open_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dfml.sinks._staging import PartRecord, StagedJob
    from dfml.sinks._targets import Target
    from dfml.sources._base import Part, SourceTable

__all__ = ["PredictionReport", "predict_table"]

_WHERE = "predict_table"
_FORMAT = 1
#: Parts that may wait for a worker; each is a few hundred bytes until it is read.
_AHEAD = 512


@dataclass(frozen=True)
class TableJob:
    """A planned job: what is read, answered and written; nothing has happened yet.

    Parameters
    ----------
    table : SourceTable
        The source.
    answers : Answers
        The model, and the columns to write.
    parts : list of Part
        At least one, so that an empty table has its columns too.
    """

    table: SourceTable
    answers: Answers
    parts: Sequence[Part]

    @property
    def model(self) -> str:
        """Digest of the model's content."""
        first = self.answers.responders[0]
        return content_digest(first.estimator, first.columns, first.named)

    def plan(self) -> dict[str, Any]:
        """Give all that decides what will be written, as plain data."""
        return {
            "format": _FORMAT,
            "model": self.model,
            "methods": [responder.name for responder in self.answers.responders],
            "needed": str(self.answers.needed),
            "columns": str(self.answers.schema),
            "source": self.table.version(),
            "parts": [part.key for part in self.parts],
        }


@validate_params(
    {
        "model": [object],
        "source": [object],
        "target": [object],
        "method": [str, list, tuple],
        "keep": [list, tuple, None],
        "mode": [StrOptions(set(MODES))],
        "format": [StrOptions(set(FORMATS)), None],
        "table": [str, None],
        "partition_by": [list, tuple, None],
        "resume": ["boolean"],
        "name": [str, None],
        "prefix": [str, None],
        "progress": [callable, None],
    },
    prefer_skip_nested_validation=True,
)
def predict_table(
    model: Any,
    source: Any,
    target: Any,
    *,
    method: str | Sequence[str] = "predict",
    keep: Sequence[str] | None = None,
    mode: str = "error",
    format: str | None = None,
    table: str | None = None,
    partition_by: Sequence[str] | None = None,
    resume: bool = True,
    name: str | None = None,
    prefix: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PredictionReport:
    """Write a model's predictions for one table to another, all or nothing.

    Runs now, in parallel, on dask's scheduler or the ``distributed`` client of the
    process; on a cluster all workers need the same file system. A part of the source,
    some row groups of one file of about 100 MB, is in memory for each worker. The
    target is there when all of it is; a call that failed is repeated to go on
    where it stopped.

    Parameters
    ----------
    model : estimator
        A fitted estimator of dfml or scikit-learn.
    source : path, DeltaTable, pyiceberg Table or DuckDB relation
        A Parquet file, a glob, or a folder, whose ``name=value`` folders are columns;
        the folder of a Delta table, or a ``deltalake.DeltaTable`` at its version; an
        Iceberg table at its current snapshot, or its metadata file; a DuckDB
        relation, which runs now and is written to disk first.
    target : path
        A folder to make, with one file for each part of the source.
    method : str or list of str, default="predict"
        Response methods, answered in one pass over the source.
    keep : list of str, optional
        Columns of the source to write before the predictions, with their types. None
        keeps all of them, an empty list none.
    mode : {"error", "overwrite"}, default="error"
        What to do with a target that another job has written. It is overwritten in
        one step when the new table is complete.
    resume : bool, default=True
        Keep the parts that an earlier call of the same job has finished, and do
        nothing if all is done. False starts from nothing.
    name : str, optional
        Name of the output column, where there is just one.
    prefix : str, optional
        Put before the names of all output columns.
    progress : callable, optional
        Called with the parts done and all parts, after each part.

    Returns
    -------
    report : PredictionReport
        Kept as JSON beside the target too, in ``.<target>.dfml``.

    Raises
    ------
    TargetExistsError
        If the target is taken, overlaps the source, or another call writes to it.
    ColumnMismatchError
        If the source lacks columns, or has them with another kind than in ``fit``.
    ColumnCollisionError
        If an output column has the name of a kept one.
    SourceError
        If a file is broken, or files disagree on a column that is needed.

    Notes
    -----
    Files are matched by column name. Types are widened where no value is lost
    (int32 to int64, a column of nulls to any type); else the files are refused. The
    job is the same as an earlier one if the source, the content of the model, which
    does not change when it is saved and loaded, and the columns are the same. A source
    is the same if the paths, sizes and modification times of its files are, or the
    version of the Delta table, the snapshot of the Iceberg table, or the rows of the
    relation and their order, which ORDER BY fixes.

    Examples
    --------
    >>> import os, tempfile, dfml, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from dfml.table import predict_table
    >>> pdf = pd.DataFrame({"id": [1, 2, 3], "x": [0.0, 1.0, 2.0]})
    >>> model = LinearRegression().fit(pdf[["x"]], 2 * pdf["x"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/lake")
    ...     pdf.to_parquet(f"{folder}/lake/0.parquet")
    ...     report = predict_table(
    ...         model, f"{folder}/lake", f"{folder}/scored", keep=["id"]
    ...     )
    ...     scored = pd.read_parquet(f"{folder}/scored")
    >>> report.rows, report.columns
    (3, ('id', 'prediction'))
    >>> scored["prediction"].round().tolist()
    [0.0, 2.0, 4.0]
    """
    started = time.perf_counter()
    place = open_target(
        _WHERE,
        target,
        mode=mode,
        format=format,
        table=table,
        partition_by=partition_by,
    )
    place.check_early()
    methods = [method] if isinstance(method, str) else list(method)
    job = plan_job(model, source, methods, keep=keep, name=name, prefix=prefix)
    _check_apart(job.table, place)
    return run_job(job, place, resume=resume, progress=progress, started=started)


def plan_job(
    model: Any, source: Any, methods: Sequence[str], **columns: Any
) -> TableJob:
    """Open the source and fix what will be written.

    Parameters
    ----------
    model : estimator
        Fitted.
    source : path, DeltaTable, pyiceberg Table or DuckDB relation
        What to read.
    methods : sequence of str
        Response methods.
    **columns : dict
        ``keep``, ``name`` and ``prefix``.

    Returns
    -------
    job : TableJob
        Ready to run.
    """
    check_is_fitted(model)
    owner = model if isinstance(model, PartitionwiseMixin) else ParallelPostFit(model)
    table = open_table(_WHERE, source)
    answers = make_answers(owner, table, methods, **columns)
    return TableJob(table, answers, table.parts or [NoRows()])


def run_job(
    job: TableJob,
    place: Target,
    *,
    resume: bool = True,
    progress: Callable[[int, int], None] | None = None,
    started: float | None = None,
) -> PredictionReport:
    """Run the parts that are not done yet, and commit.

    Parameters
    ----------
    job : TableJob
        What to do.
    place : Target
        Where to.
    resume, progress
        As in :func:`predict_table`.
    started : float, optional
        When the call began, by ``time.perf_counter``.

    Returns
    -------
    report : PredictionReport
        The stored one if all was done before.
    """
    started = time.perf_counter() if started is None else started
    plan = {**job.plan(), "target": place.options()}
    name = hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:32]
    with place.locked(name):
        place.recover()
        stored = place.committed(name) if resume else None
        if stored is not None:
            return replace(PredictionReport.from_dict(stored), predicted_rows=0)
        place.check_free()
        staged = place.stage(name, plan, job.answers.schema, resume=resume)
        records = staged.records()
        n_resumed, n_predicted = len(records), 0
        for record in _run_parts(job, staged, set(records)):
            records[record.number] = record
            n_predicted += record.n_rows
            if progress is not None:
                progress(len(records), len(job.parts))
        _check_rows(job, records)
        written = staged.check_complete(records.values())
        report = PredictionReport(
            target=place.path,
            job=name,
            model=plan["model"],
            columns=tuple(job.answers.schema.names),
            rows=sum(record.n_rows for record in records.values()),
            parts=len(records),
            files=len(written),
            bytes=sum(file.n_bytes for file in written),
            resumed_parts=n_resumed,
            predicted_rows=n_predicted,
            seconds=time.perf_counter() - started,
            versions=versions(),
        )
        place.commit(staged, written, report.to_dict())
    return report


@dataclass(frozen=True)
class _WritePart:
    """The task: read a part, answer it, write the result."""

    answers: Answers
    staged: StagedJob
    n_parts: int
    cores: Cores

    def __call__(self, part: Part, _: Turn) -> PartRecord:
        try:
            tables = part.read(_WHERE, self.answers.needed)
            answered = map(self.answers, tables)
            record = self.staged.write_part(part.number, answered, self.cores)
        except Exception as err:
            err.add_note(
                f"dfml: in {part.describe()}, part {part.number} of {self.n_parts}."
            )
            raise
        return record


def _run_parts(
    job: TableJob, staged: StagedJob, done: set[int]
) -> Iterator[PartRecord]:
    missing = [Turn(part.number) for part in job.parts if part.number not in done]
    if not missing:
        return
    # Not a frame: what stands for each partition is only where its rows are.
    collection = dd.from_map(_itself, job.parts, meta=pd.DataFrame())
    partitions = Partitions(collection)
    n_busy = max(1, min(partitions.n_threads, len(missing)))
    task = _WritePart(job.answers, staged, len(job.parts), Cores(n_busy))
    # As many threads again wait for the disk, and compute nothing.
    for _, loaded in partitions.stream(missing, task, ahead=_AHEAD, spare=n_busy):
        yield loaded.value


def _itself(part: Part) -> Part:
    return part


def _check_rows(job: TableJob, records: dict[int, PartRecord]) -> None:
    """Refuse to commit another number of rows than the source has."""
    for part in job.parts:
        n_rows = records[part.number].n_rows
        if n_rows != part.n_rows:
            raise SourceError.expecting(
                _WHERE,
                f"{part.n_rows} rows of {part.describe()}",
                f"{n_rows} rows",
                "report this, with the estimator; nothing was committed",
            )


def _check_apart(table: SourceTable, place: Target) -> None:
    """Refuse a target that is the source, or one inside the other."""
    if place.folder is not None and table.overlaps(place.folder):
        raise TargetExistsError.expecting(
            _WHERE,
            "a source and a target of which none is inside the other",
            f"{table.describe()} and {place.path!r}",
            "choose another target",
        )
