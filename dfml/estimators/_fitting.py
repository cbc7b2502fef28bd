"""One training from beginning to end: the steps, who watches, what is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from dfml import _frames
from dfml._schema import Contract
from dfml._scoring import join_for_score, resolve_scorer, score_lazily
from dfml.arrays._blocks import Block
from dfml.estimators._database_sampling import no_rows
from dfml.estimators._post_fit import ParallelPostFit
from dfml.exceptions import EstimatorTypeError, InputTypeError
from dfml.training._checkpoints import Checkpoints, Job, name_data
from dfml.training._steps import Step, Training, shuffled_rows
from dfml.training._watching import Callbacks, EarlyStopping, History, Watcher, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from dfml._partitions import Turn
    from dfml.training._steps import OpenPlan, Plan

__all__ = ["Fitting", "InMemorySteps", "Validate", "has_callbacks", "own_score"]


def has_callbacks(owner: Any) -> bool:
    """Tell whether an estimator, or one around it, has callbacks of scikit-learn."""
    own = getattr(owner, "_skl_callbacks", None)
    return bool(own) or hasattr(owner, "_parent_callback_ctx")


def own_score(model: Any, X: Any, y: Any) -> float:
    """Score a model by its own ``score``."""
    return float(model.score(X, y))


def check_has_score(where: str, model: Any, needed_by: str) -> None:
    """Refuse an estimator that cannot score itself where something needs it to.

    Raises
    ------
    EstimatorTypeError
        Before any work starts.
    """
    if not hasattr(model, "score"):
        raise EstimatorTypeError.expecting(
            where,
            f"an estimator with a score, for {needed_by}",
            type(model).__name__,
            "pass Incremental(..., scoring=), or do without",
        )


def _is_empty(X: Any) -> bool:
    return hasattr(X, "__len__") and len(X) == 0


@dataclass(frozen=True)
class Validate:
    """Scores a model on rows that were held out, in memory or lazy.

    Parameters
    ----------
    X, y : lazy or array-like
        The rows; ``y`` may be the name of a column of X.
    scoring : str, scorer or None
        None for the model's own score.
    contract : Contract or None
        The columns that are trained on.
    columns : list or None
        The same as a choice from a pandas frame.
    """

    X: Any
    y: Any
    scoring: Any
    contract: Contract | None = None
    columns: list[Any] | None = None

    @classmethod
    def of(
        cls, where: str, model: Any, validation: Any, scoring: Any
    ) -> Validate | None:
        """Check what ``fit`` was given as ``validation``."""
        if validation is None:
            return None
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise InputTypeError.expecting(
                where,
                "validation=(X, y)",
                type(validation).__name__,
                'pass held-out rows and their labels, validation=(ddf, "label")',
            )
        if scoring is None:
            check_has_score(where, model, "validation=")
        X, y = validation
        return cls(X, y, scoring)

    def checked(self, where: str, features: Any, **facts: Any) -> Validate:
        """Hold the rows against what is trained on, before any work starts.

        Parameters
        ----------
        where : str
            The call, for messages.
        features : pandas object or array
            The features, or their meta.
        **facts : dict
            Further arguments of :meth:`Contract.learn`.

        Returns
        -------
        validate : Validate
            With the contract.

        Raises
        ------
        ColumnMismatchError
            If a column is missing, or of another kind.
        """
        is_frame = isinstance(features, pd.DataFrame)
        contract = Contract.learn(features.iloc[:0], **facts) if is_frame else None
        where = f"{where}'s validation"
        columns = None
        if _frames.is_lazy(self.X):
            join_for_score(where, contract, self.X, self.y)
        elif contract is not None and contract.named:
            X, _, _ = _frames.split_columns(where, self.X, self.y, None)
            if isinstance(X, pd.DataFrame):
                columns = contract.check(where, X.iloc[:0])
        if not _frames.is_lazy(self.X) and _is_empty(self.X):
            raise no_rows(where)
        return replace(self, contract=contract, columns=columns)

    def identity(self, where: str) -> list[Any]:
        """Name the rows, the same in every process."""
        where = f"{where}'s validation"
        return [
            name_data(where, values) if _frames.is_lazy(values) else values
            for values in (self.X, self.y)
        ]

    def __call__(self, model: Any) -> float:
        """Score the model, now."""
        where = "Incremental.fit's validation"
        if _frames.is_lazy(self.X):
            owner = ParallelPostFit(model)
            owner._contract = self.contract
            given = self.X, self.y, None, self.scoring
            return score_lazily(owner, *given, where=where)
        X, y, _ = _frames.split_columns(where, self.X, self.y, None)
        X = X if self.columns is None else X[self.columns]
        if self.scoring is None:
            return own_score(model, X, y)
        return float(resolve_scorer(where, self.scoring)(model, X, y))


class InMemorySteps:
    """The steps of in-memory input, which is one partition: one step an epoch.

    Parameters
    ----------
    training : Training
        Where to begin.
    plan : Plan
        Epochs and seed.
    X, y, weight : array-like
        The rows.
    """

    def __init__(
        self, training: Training, plan: Plan | OpenPlan, X: Any, y: Any, weight: Any
    ) -> None:
        self._training = training
        self._plan = plan
        self._given = X, y, weight

    def state(self) -> Training:
        """Get the training as of the last whole step."""
        return self._training

    def block(self) -> Block:
        """Get all rows, which every step sees."""
        return Block(*self._given)

    def steps(self, _: str, done: int = 0) -> Generator[Step]:
        """Call ``partial_fit`` as the bare estimator would be called."""
        training = self._training
        for turn in self._plan.turns(done):
            X, y, weight = self._rows(turn)
            options = dict(training.options)
            if weight is not None:
                options["sample_weight"] = weight
            if training.classes is not None:
                options["classes"] = training.classes
            seen = training.n_partitions_seen
            score = (
                float(training.scorer(training.model, X, y))
                if (training.scorer is not None and seen)
                else None
            )
            training.model.partial_fit(X, y, **options)
            training.n_partitions_seen += 1
            training.n_samples_seen += _num_samples(X)
            yield Step(turn.epoch, turn.number, _num_samples(X), score=score)

    def _rows(self, turn: Turn) -> tuple[Any, ...]:
        if self._plan.seed is None:
            return self._given
        rows = shuffled_rows(self._plan.seed, turn, _num_samples(self._given[0]))
        return tuple(
            None if values is None else _safe_indexing(values, rows)
            for values in self._given
        )


class Fitting:
    """The watchers of one fit, and what a checkpoint has kept of it.

    Parameters
    ----------
    owner : Incremental
        Its parameters say what to watch for.
    plan : Plan
        The turns.
    validate : Validate or None
        For the scores of the epochs.
    job : Job or None
        For checkpoints.
    """

    def __init__(
        self,
        owner: Any,
        plan: Plan | OpenPlan,
        validate: Validate | None,
        job: Job | None,
    ) -> None:
        self._owner = owner
        self._plan = plan
        self._job = job
        self._kept = None if job is None else job.load()
        kept = self._kept or {"done": 0, "history": [], "scores": []}
        self.done: int = kept["done"]
        self.history = History(kept["history"])
        patience = owner.n_iter_no_change if owner.early_stopping else None
        self.stopping = EarlyStopping(self.history, validate, patience, owner.tol)
        self.stopping.scores = list(kept["scores"])
        self._scores_epochs = owner.early_stopping or validate is not None
        self.is_prequential = owner.prequential or (
            owner.early_stopping and validate is None
        )

    def begin(self, training: Training) -> Training:
        """Take up the training that a checkpoint holds, or the one given."""
        if self._kept is not None:
            kept: Training = self._kept["training"]
            return kept
        if self.is_prequential:
            training.scorer = self._scorer(training.model)
        return training

    def _scorer(self, model: Any) -> Callable[..., float]:
        scoring = self._owner.scoring
        if scoring is not None:
            scorer: Callable[..., float] = resolve_scorer("Incremental.fit", scoring)
            return scorer
        check_has_score("Incremental.fit", model, "early_stopping or prequential")
        return own_score

    def run(self, where: str, steps: Any) -> None:
        """Run the steps under all watchers."""
        watchers: list[Watcher] = [self.history]
        if self._scores_epochs:
            watchers.append(self.stopping)
        callbacks = None
        owner = self._owner
        if has_callbacks(owner):
            callbacks = Callbacks(owner, self._plan, steps)
            watchers.append(callbacks)
        if self._job is not None:
            watchers.append(
                Checkpoints(self._job, self.done, self.history, self.stopping)
            )
        watch(where, steps, self._plan, watchers, self.done)
        if callbacks is not None:
            callbacks.close()
        if self._job is not None:
            self._job.remove()
