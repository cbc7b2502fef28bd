"""What looks on while a sequence of steps runs: history, stopping, callbacks.

A watcher sees every step and every end of an epoch, in the calling thread, and may
ask to stop. It gets at the model only through ``state``, which may fetch it.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from dfml.exceptions import EmptyTableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dfml.training._sequence import Sequence as Steps
    from dfml.training._steps import OpenPlan, Plan, Step, Training

_log = logging.getLogger("dfml")

__all__ = ["EarlyStopping", "History", "Watcher", "watch"]


class Watcher(Protocol):
    """Looks on; a true answer asks to stop."""

    def after_step(self, step: Step, state: Callable[[], Training]) -> bool:
        """See one step."""

    def after_epoch(self, epoch: int, state: Callable[[], Training]) -> bool:
        """See the end of an epoch."""


def watch(
    where: str,
    steps: Steps,
    plan: Plan | OpenPlan,
    watchers: Sequence[Watcher],
    done: int = 0,
) -> None:
    """Run a sequence to its end, or until a watcher asks to stop.

    Parameters
    ----------
    where : str
        The call, for messages.
    steps : Sequence
        The steps.
    plan : Plan
        Their plan.
    watchers : sequence of Watcher
        All of them see every step, then all the end of the epoch.
    done : int, default=0
        Turns that were done before.

    Raises
    ------
    EmptyTableError
        If no partition has a row.
    """
    for step in steps.steps(where, done):
        done += 1
        of = done, plan.n_turns
        _log.debug("%s: step %s of %s", where, *of, extra={"progress": of})
        stop = [w.after_step(step, steps.state) for w in watchers]
        # How many partitions a stream has is known when its first pass is over.
        if plan.n_partitions and done % plan.n_partitions == 0:
            stop += [w.after_epoch(step.epoch, steps.state) for w in watchers]
        if any(stop):
            break
    if not steps.state().n_partitions_seen:
        raise EmptyTableError.expecting(
            where, "at least one row", "none", "check the filters of the table"
        )


class History:
    """Keeps what every step was.

    Parameters
    ----------
    rows : list of dict
        Of steps done before.
    """

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows = list(rows or [])

    def after_step(self, step: Step, _: Callable[[], Training]) -> bool:
        """Keep the step."""
        self._keep(step)
        return False

    def end_with(self, step: Step | None) -> None:
        """Keep a step that ended when Ctrl-C had come, if it is not kept yet."""
        turns = [(row["epoch"], row["partition"]) for row in self.rows[-1:]]
        if step is not None and (step.epoch, step.partition) not in turns:
            self._keep(step)

    def _keep(self, step: Step) -> None:
        row = asdict(step)
        if step.score is None:  # none was asked for
            del row["score"]
        self.rows.append(row)

    def after_epoch(self, _: int, __: Callable[[], Training]) -> bool:
        """Do nothing."""
        return False


class EarlyStopping:
    """Scores each epoch; asks to stop when the score has stopped to rise.

    Parameters
    ----------
    history : History
        Where the prequential scores are.
    validate : callable or None
        From the model to its score on held-out rows; None takes the mean
        prequential score of the epoch.
    n_iter_no_change : int or None
        Epochs without a rise of at least ``tol`` before it asks; None never asks.
    tol : float
        The least rise that counts.
    """

    def __init__(
        self,
        history: History,
        validate: Callable[[Any], float] | None,
        n_iter_no_change: int | None,
        tol: float,
    ) -> None:
        self._history = history
        self._validate = validate
        self._patience = n_iter_no_change
        self._tol = tol
        self.scores: list[float] = []

    def after_step(self, _: Step, __: Callable[[], Training]) -> bool:
        """Do nothing."""
        return False

    def after_epoch(self, epoch: int, state: Callable[[], Training]) -> bool:
        """Score the epoch, and ask to stop if the scores no longer rise."""
        if self._validate is not None:
            self.scores.append(float(self._validate(state().model)))
        else:
            self.scores.append(self._prequential(epoch))
        return self._patience is not None and self._has_stalled(self._patience)

    def _prequential(self, epoch: int) -> float:
        """Average over the partitions that have a score; NaN if none has.

        The first of all partitions has none, nor has one of a single class where the
        scorer needs two.
        """
        rows = [r for r in self._history.rows if r["epoch"] == epoch]
        rows = [r for r in rows if not math.isnan(r.get("score", math.nan))]
        total = sum(row["rows"] for row in rows)
        return sum(r["score"] * r["rows"] for r in rows) / total if total else math.nan

    def _has_stalled(self, patience: int) -> bool:
        best, stalled = -math.inf, 0
        for score in self.scores:
            if math.isnan(score) and best == -math.inf:
                continue  # there is nothing to rise from yet
            stalled = 0 if score > best + self._tol else stalled + 1
            best = max(best, score)
        return stalled >= patience


class Callbacks:
    """Tells scikit-learn's callbacks of epochs and partitions, one task each.

    Parameters
    ----------
    estimator : estimator
        The one that has ``set_callbacks``.
    plan : Plan
        How many tasks there will be.
    steps : Sequence
        Where the rows of a step are, for callbacks that look at them.
    """

    def __init__(self, estimator: Any, plan: Plan | OpenPlan, steps: Any) -> None:
        self._estimator = estimator
        self._plan = plan
        self._steps = steps
        root = estimator._init_callback_context(max_subtasks=plan.epochs)
        self._root = root.call_on_fit_task_begin(estimator=estimator)
        self._epoch: Any = None

    def _rows(self, name: str) -> Any:
        return getattr(self._steps.block(), name, None)

    def _metadata(self) -> dict[str, Any]:
        weight = self._rows("sample_weight")
        return {} if weight is None else {"sample_weight": weight}

    def after_step(self, _: Step, state: Callable[[], Training]) -> bool:
        """Begin and end the task of a partition."""
        if self._epoch is None:
            self._epoch = self._root.subcontext(
                "epoch", max_subtasks=self._plan.n_partitions
            ).call_on_fit_task_begin(estimator=self._estimator)
        task = self._epoch.subcontext("partition")
        task.call_on_fit_task_begin(estimator=self._estimator)
        return bool(
            task.call_on_fit_task_end(
                estimator=self._estimator,
                X=lambda: self._rows("X"),
                y=lambda: self._rows("y"),
                metadata=self._metadata,
                # A copy: the model goes on changing in place.
                reconstruction_attributes=lambda: {
                    "estimator_": copy.deepcopy(state().model)
                },
            )
        )

    def after_epoch(self, _: int, __: Callable[[], Training]) -> bool:
        """End the task of an epoch."""
        context, self._epoch = self._epoch, None
        return bool(context.call_on_fit_task_end(estimator=self._estimator))

    def close(self) -> None:
        """End the task of the fit."""
        if self._epoch is not None:
            self._epoch.call_on_fit_task_end(estimator=self._estimator)
        self._root.call_on_fit_task_end(estimator=self._estimator)
