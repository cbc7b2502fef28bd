"""``predict_table``: a batch job from one table to another, all or nothing.

The job is planned before any row is read, run part by part, and committed in one
step. What a job writes to and how it commits belongs to ``dfml.sinks``.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sklearn.utils import get_tags
from sklearn.utils._param_validation import StrOptions, validate_params
from sklearn.utils.validation import check_is_fitted

from dfml._digest import content_digest
from dfml._report import PredictionReport, snapshot, versions
from dfml.estimators import as_lazy
from dfml.exceptions import (
    EstimatorTypeError,
    SourceError,
    TargetExistsError,
    UnknownOutputError,
)
from dfml.sinks._answers import Answers, make_answers
from dfml.sinks._checks import Check, bind_checks
from dfml.sinks._parts import Quality, check_rows, run_parts
from dfml.sinks._targets import FORMATS, MODES, open_target, placing
from dfml.sources._base import NoRows
from dfml.sources._files import list_files
from dfml.sources._open import open_table
from dfml.sources._parquet import ParquetTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dfml.sinks._targets import Target
    from dfml.sources._base import Part, SourceTable

__all__ = ["Check", "PredictionReport", "predict_table"]

_WHERE = "predict_table"
_FORMAT = 1


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
        "checks": [dict, None],
        "verify": ["boolean"],
        "on_bad_file": [StrOptions({"raise", "skip"})],
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
    checks: Mapping[str, Check] | None = None,
    verify: bool = False,
    on_bad_file: str = "raise",
    resume: bool = True,
    name: str | None = None,
    prefix: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PredictionReport:
    """Write a model's predictions for one table to another, all or nothing.

    Runs now, in parallel, on dask's scheduler or the ``distributed`` client of the
    process; on a cluster all workers need the same file system. A part of the source,
    some row groups of one file of about 100 MB, is in memory for each worker. The
    target changes when all rows are there, in one step; a call that failed is repeated
    to go on where it stopped.

    Parameters
    ----------
    model : estimator
        A fitted estimator of dfml or scikit-learn.
    source : path, DeltaTable, pyiceberg Table or DuckDB relation
        A Parquet file, a glob, or a folder, whose ``name=value`` folders are columns;
        the folder of a Delta table, or a ``deltalake.DeltaTable`` at its version; an
        Iceberg table at its current snapshot, or its metadata file; a DuckDB
        relation, which runs now and is written to disk first.
    target : path, DeltaTable, pyiceberg Table or Catalog, or DuckDB connection
        A folder to make, of Parquet files or of a Delta table; a table that is there;
        or a catalog or database, for the table of the name ``table``, which is made
        if it is not there.
    method : str or list of str, default="predict"
        Response methods, answered in one pass over the source.
    keep : list of str, optional
        Columns of the source to write before the predictions, with their types. None
        keeps all of them, an empty list none.
    mode : {"error", "overwrite", "append", "overwrite_partitions"}, default="error"
        What to do with rows that another job has written: refuse, take their place,
        stay beside them, or take the place of those partitions that new rows are of.
        A folder of Parquet files knows the first two, DuckDB the first three.
    format : {"parquet", "delta", "duckdb"}, optional
        What a path is. None finds it out: a folder with a ``_delta_log`` is a Delta
        table, a name that ends in ``.duckdb``, ``.ddb`` or ``.db`` a database, and any
        other path a folder of Parquet files.
    table : str, optional
        Name of the table in a catalog (``namespace.name``) or in a database.
    partition_by : list of str, optional
        Columns, written or predicted, that a new table is partitioned by: text,
        integers, booleans or dates. In a folder of Parquet files they become folders
        ``name=value``. A DuckDB table has none.
    checks : dict of str to Check, optional
        What columns of the new rows have to be, decided before the target changes.
    verify : bool, default=False
        Read back all that was written, in this call or an earlier one, before the
        target changes.
    on_bad_file : {"raise", "skip"}, default="raise"
        What to do about a file of a Parquet source that is broken. Files that are
        skipped are in the report, and no part of them is in the target.
    resume : bool, default=True
        Keep the parts that an earlier call of the same job has finished, and do
        nothing if all is done. False starts from nothing, and appends once more.
    name : str, optional
        Name of the output column, where there is just one.
    prefix : str, optional
        Put before the names of all output columns.
    progress : callable, optional
        Called with the parts done and all parts, after each part.

    Returns
    -------
    report : PredictionReport
        Kept with the table too: as JSON beside a folder of Parquet files, in
        ``.<target>.dfml``; in the commit of a Delta table, the snapshot of an Iceberg
        table, and the table ``dfml.jobs`` of a DuckDB database.

    Raises
    ------
    TargetExistsError
        If the target is taken, overlaps the source, or another call writes to it.
    TargetError
        If the target cannot take the columns, a value or the mode, or nothing can be
        made where it is to be.
    DiskFullError
        If there is no room for the new table; the target is what it was.
    EstimatorTypeError
        If the model is no estimator, or lacks a method.
    UnknownOutputError
        If the columns of an answer cannot be known before.
    ColumnMismatchError
        If the source lacks columns, or has them with another kind than in ``fit``.
    ColumnCollisionError
        If an output column has the name of a kept one.
    SourceError
        If files disagree on a column that is needed, or a file changes meanwhile.
    BadFileError
        If a file is broken.
    CheckFailedError
        If the new rows are not what ``checks`` expects; the target is what it was.

    Notes
    -----
    Files are matched by column name. Types are widened where no value is lost
    (int32 to int64, a column of nulls to any type); else the files are refused. The
    job is the same as an earlier one if the source, the content of the model, which
    does not change when it is saved and loaded, and the columns are the same. Code that
    the model only names, such as the class of its estimator, may change without that;
    ``resume=False`` predicts everything with the new code. A source is the same if the
    paths, sizes and modification times of its files are, or the version of the Delta
    table, the snapshot of the Iceberg table, or the rows of the relation and their
    order, which ORDER BY fixes.

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
    _check_early(source, place)
    methods = [method] if isinstance(method, str) else list(method)
    skips = on_bad_file == "skip"
    columns = {"keep": keep, "name": name, "prefix": prefix}
    job = plan_job(model, source, methods, skips=skips, **columns)
    _check_apart(job.table, place)
    bound = bind_checks(_WHERE, checks, job.answers.schema)
    quality = Quality(bound, verify, skips)
    return run_job(
        job, place, quality=quality, resume=resume, progress=progress, started=started
    )


def plan_job(
    model: Any,
    source: Any,
    methods: Sequence[str],
    *,
    skips: bool = False,
    **columns: Any,
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
    skips : bool, default=False
        Pass over files of the source that are broken.
    **columns : dict
        ``keep``, ``name`` and ``prefix``.

    Returns
    -------
    job : TableJob
        Ready to run.
    """
    owner = as_lazy(_WHERE, model)
    check_is_fitted(model)
    _check_takes_tables(owner._response_estimator)
    table = open_table(_WHERE, source, skips=skips)
    try:
        answers = make_answers(owner, table, methods, **columns)
    except UnknownOutputError as err:
        raise UnknownOutputError.expecting(
            _WHERE,
            f"to know the columns of {methods} before it reads a row",
            f"a {type(model).__name__}, which does not say them",
            "answer a dask DataFrame, as in ddf.ml.transform(model, meta=...)",
        ) from err
    return TableJob(table, answers, table.parts or [NoRows()])


def _check_takes_tables(model: Any) -> None:
    """Refuse a model of one text, which takes a table for its names of columns."""
    takes = get_tags(model).input_tags
    if takes.string and not takes.two_d_array:
        raise EstimatorTypeError.expecting(
            _WHERE,
            "a model that takes a table",
            f"a {type(model).__name__}, which takes one column of text",
            'name the column, make_column_transformer((TfidfVectorizer(), "text"))',
        )


def run_job(
    job: TableJob,
    place: Target,
    *,
    quality: Quality | None = None,
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
    quality : Quality, optional
        What is demanded of the source and of what is written.
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
    quality = quality or Quality()
    plan = {**job.plan(), "target": place.options()}
    name = hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:32]
    with ExitStack() as held:
        with placing(_WHERE, place):
            held.enter_context(place.locked(name))
        place.recover()
        stored = place.committed(name) if resume else None
        if stored is not None:
            known = _planned(job, place, name, plan["model"])
            report = PredictionReport.from_dict({**known, **stored})
            quality.check_again(_WHERE, report.figures, report.skipped_files)
            return replace(report, predicted_rows=0, done_before=True)
        place.check_free()
        staged = place.stage(name, plan, job.answers.schema, resume=resume)
        done = run_parts(_WHERE, job.parts, job.answers, staged, quality, progress)
        records = done.records.values()
        check_rows(_WHERE, job.parts, done.records)
        figures = quality.check(_WHERE, records)
        written = staged.check_complete(records)
        report = PredictionReport(
            target=place.path,
            job=name,
            model=plan["model"],
            columns=tuple(job.answers.schema.names),
            rows=sum(record.n_rows for record in records),
            parts=len(records),
            files=len(written),
            bytes=sum(file.n_bytes for file in written),
            resumed_parts=done.n_resumed,
            predicted_rows=done.n_rows,
            seconds=time.perf_counter() - started,
            versions=versions(),
            source=snapshot(job.table.describe(), job.table.version()),
            skipped_files={**getattr(job.table, "skipped", {}), **done.skipped},
            figures=figures,
        )
        place.commit(staged, written, report.to_dict())
    return report


def _planned(job: TableJob, place: Target, name: str, model: str) -> dict[str, Any]:
    """Give what is known of a job whose report a table has forgotten."""
    return {
        "target": place.path,
        "job": name,
        "model": model,
        "columns": job.answers.schema.names,
        "rows": job.table.n_rows,
        "parts": len(job.parts),
        **dict.fromkeys(("files", "bytes", "resumed_parts", "predicted_rows"), 0),
        "seconds": 0.0,
        "versions": {},
    }


def _check_early(source: Any, place: Target) -> None:
    """Refuse a target that no job could write to, before the source is opened."""
    try:
        place.check_early()
    except TargetExistsError:
        # What overlaps the source may not be overwritten, as this error may advise.
        if isinstance(source, (str, os.PathLike)):
            with suppress(SourceError):
                files = list_files(_WHERE, source)
                _check_apart(ParquetTable(_WHERE, os.fspath(source), files), place)
        raise


def _check_apart(table: SourceTable, place: Target) -> None:
    """Refuse a target that is the source, or one inside the other."""
    if place.folder is not None and table.overlaps(place.folder):
        raise TargetExistsError.expecting(
            _WHERE,
            "a source and a target of which none is inside the other",
            f"{table.describe()} and {place.path!r}",
            "choose another target",
        )
