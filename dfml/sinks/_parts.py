"""The parts of a job, each read, answered, measured and written by one task."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import pandas as pd

from dfml._finishing import AtOnce, Beside, Finished
from dfml._partitions import Partitions, Turn
from dfml._schema import listed
from dfml.exceptions import BadFileError, CheckFailedError, SourceError
from dfml.sinks._checks import Meter, check_figures, covers, merge_figures
from dfml.sinks._shipping import Shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dfml._finishing import Finisher, Finishing
    from dfml.sinks._answers import Answers
    from dfml.sinks._checks import Check
    from dfml.sinks._staging import PartRecord, StagedJob
    from dfml.sinks._writing import PartWriter
    from dfml.sources._base import Part

__all__ = ["PartsDone", "Quality", "check_rows", "run_parts"]

_logger = logging.getLogger("dfml")

#: Parts that may wait for a worker; each is a few hundred bytes until it is read.
_AHEAD = 512


@dataclass(frozen=True)
class Quality:
    """What is demanded of the source and of what is written.

    Parameters
    ----------
    checks : dict of str to Check
        Of columns that are written; decided before the commit.
    verify : bool
        Read back what was written, in this call or an earlier one.
    skips : bool
        Pass over files of the source that are broken.
    """

    checks: Mapping[str, Check] = field(default_factory=dict)
    verify: bool = False
    skips: bool = False

    def check(
        self, where: str, records: Iterable[PartRecord]
    ) -> dict[str, dict[str, Any]]:
        """Give the figures of all parts, if they are as expected.

        Raises
        ------
        CheckFailedError
            Naming what is not.
        """
        figures = merge_figures(record.figures for record in records)
        hint = (
            "look at the model and the source; the target is what it was, and a call "
            "with other checks finds the parts finished"
        )
        check_figures(where, self.checks, figures, hint)
        return {name: figures[name] for name in self.checks}

    def is_measured(self, figures: Mapping[str, dict[str, Any]]) -> bool:
        """Tell whether the figures of a job say what is to be checked."""
        return covers(figures, self.checks)

    def check_again(
        self,
        where: str,
        figures: Mapping[str, dict[str, Any]],
        skipped: Mapping[str, str],
    ) -> None:
        """Compare a job that an earlier call has committed with what is demanded now.

        Raises
        ------
        CheckFailedError
            If the table is not as expected, or nobody has measured it.
        BadFileError
            If files were skipped that may not be.
        """
        hint = "look at the model and the source; this job has written the table before"
        if not self.is_measured(figures):
            raise CheckFailedError.expecting(
                where,
                f"figures of {list(self.checks)}, to check them",
                "a table that this job has written before, without these checks",
                'pass mode="overwrite" to write it anew',
            )
        check_figures(where, self.checks, figures, hint)
        if skipped and not self.skips:
            raise BadFileError.expecting(
                where,
                "a table of all files of the source",
                f"one that this job has written before, without {list(skipped)[:5]}",
                'write these files again, or pass on_bad_file="skip"',
            )


@dataclass
class PartsDone:
    """What has become of the parts of a job.

    Parameters
    ----------
    records : dict of int to PartRecord
        By number, of the parts that the table will have.
    n_resumed : int
        How many of them an earlier call has written.
    n_rows : int
        Rows that were predicted in this call.
    skipped : dict of str to str
        Paths of files that are broken, and why; no part of them is in the table.
    """

    records: dict[int, PartRecord]
    n_resumed: int = 0
    n_rows: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Outcome:
    """What a task tells: one of a record, written or found, and an error."""

    record: PartRecord | None
    found: bool = False
    error: BadFileError | None = None


@dataclass(frozen=True)
class _PartTask:
    where: str
    answers: Callable[[Any], Any]
    needed: Any
    staged: StagedJob
    quality: Quality
    finisher: Finisher

    def __call__(self, part: Part, _: Turn) -> Finishing[_Outcome]:
        # A cluster forgets with a worker that the parts it has written are done.
        record = self.staged.finished(part.number, verify=self.quality.verify)
        if record is not None and covers(record.figures, self.quality.checks):
            return Finished(_Outcome(record, found=True))
        meter = Meter(self.quality.checks)
        tables = meter.watch(map(self.answers, part.read(self.where, self.needed)))
        try:
            writer = self.staged.write_rows(part.number, tables)
        except BadFileError as err:
            if not self.quality.skips:
                raise
            return Finished(_Outcome(None, error=err))
        return self.finisher(partial(self._finish, writer, meter))

    def _finish(self, writer: PartWriter, meter: Meter) -> _Outcome:
        record = self.staged.finish_part(writer, meter.figures)
        if self.quality.verify:
            self.staged.verify(record)
        return _Outcome(record)


def run_parts(
    where: str,
    parts: Sequence[Part],
    answers: Answers,
    staged: StagedJob,
    quality: Quality,
    progress: Callable[[int, int], None] | None = None,
) -> PartsDone:
    """Run the parts that are not done yet, in parallel.

    Parameters
    ----------
    where : str
        The call, for messages.
    parts : sequence of Part
        All parts of the job, by number.
    answers : Answers
        From rows of a part to rows of the table.
    staged : StagedJob
        Where to write.
    quality : Quality
        What is demanded.
    progress : callable, optional
        Called with the parts done and all parts, after each part.

    Returns
    -------
    done : PartsDone
        All parts, but those of broken files.

    Raises
    ------
    BadFileError
        If a file is broken, unless it may be skipped and another may not.
    """
    known = {
        number: record
        for number, record in staged.records().items()
        if covers(record.figures, quality.checks)
    }
    done = PartsDone({} if quality.verify else known)
    done.n_resumed = len(done.records)
    missing = [part for part in parts if part.number not in done.records]
    n_seen, errors = len(done.records), []
    for part, outcome in _outcomes(where, parts, answers, staged, quality, missing):
        if outcome.error is not None:
            errors.append(outcome.error)
            _skip(done, part, outcome.error)
        elif outcome.record is not None:
            is_resumed = outcome.found and part.number in known
            done.records[part.number] = outcome.record
            done.n_resumed += is_resumed
            done.n_rows += 0 if is_resumed else outcome.record.n_rows
        n_seen += 1
        if progress is not None:
            progress(n_seen, len(parts))
    _drop_skipped(done, parts, staged)
    if errors and not done.records:
        files = listed(done.skipped)
        errors[0].add_note(f"dfml: all files of the source are broken: {files}.")
        raise errors[0]
    return done


def _outcomes(
    where: str,
    parts: Sequence[Part],
    answers: Answers,
    staged: StagedJob,
    quality: Quality,
    missing: Sequence[Part],
) -> Iterator[tuple[Part, _Outcome]]:
    if not missing:
        return
    # Not a frame: what stands for each partition is only where its rows are.
    partitions = Partitions(dd.from_map(_itself, parts, meta=pd.DataFrame()))
    n_threads = min(partitions.n_threads, len(missing))
    finisher = Beside(n_threads) if n_threads else AtOnce()
    task = _PartTask(
        where,
        Shipped(answers, staged.path("tmp"), staged.files),
        answers.needed,
        staged,
        quality,
        finisher,
    )
    turns = [Turn(part.number) for part in missing]
    stream = partitions.stream(turns, task, ahead=_AHEAD)
    with closing(finisher), closing(stream):
        for part in missing:
            try:
                _, loaded = next(stream)
                outcome = loaded.value.result()
            except Exception as err:
                err.add_note(
                    f"dfml: in {part.describe()}, part {part.number} of {len(parts)}. "
                    "Parts that are finished are kept for the next call of this job."
                )
                raise
            yield part, outcome


def _itself(part: Part) -> Part:
    return part


def _skip(done: PartsDone, part: Any, err: BadFileError) -> None:
    if part.path not in done.skipped:
        _logger.warning("skipped %s: %s", part.path, err.reason)
        done.skipped[part.path] = err.reason


def _drop_skipped(done: PartsDone, parts: Sequence[Any], staged: StagedJob) -> None:
    """Leave out all parts of a file that is broken somewhere."""
    if not done.skipped:
        return
    for part in parts:
        record = done.records.get(part.number)
        if record is not None and part.path in done.skipped:
            staged.discard(record)
            del done.records[part.number]


def check_rows(
    where: str, parts: Sequence[Part], records: Mapping[int, PartRecord]
) -> None:
    """Refuse to commit another number of rows than the source has.

    Raises
    ------
    SourceError
        Naming the part.
    """
    for part in parts:
        record = records.get(part.number)
        if record is not None and record.n_rows != part.n_rows:
            raise SourceError.expecting(
                where,
                f"{part.n_rows} rows of {part.describe()}",
                f"{record.n_rows} rows",
                "report this, with the estimator; nothing was committed",
            )
