"""``Incremental``: ``partial_fit`` over the partitions of a table, in order."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Set
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.decomposition import IncrementalPCA
from sklearn.multioutput import MultiOutputClassifier
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import column_or_1d

from dfml import _frames
from dfml._relations import RelationTable, join_lazily, warn_of_order
from dfml._scoring import resolve_scorer
from dfml._streams import Opened, open_partitions
from dfml.estimators._base import MetaEstimator, answers
from dfml.estimators._checks import (
    check_options,
    check_partial_fit,
    check_takes_kinds,
    check_target,
)
from dfml.estimators._fitting import (
    Fitting,
    InMemorySteps,
    Validate,
    has_callbacks,
)
from dfml.exceptions import EstimatorTypeError, LabelError
from dfml.training._checkpoints import Job, name_data
from dfml.training._labels import find_classes
from dfml.training._merging import MergedSteps, is_additive
from dfml.training._sequence import Sequence
from dfml.training._steps import OpenPlan, Plan, Training, make_plan, takes

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn 1.8
    from dfml.estimators._callbacks import CallbackSupportMixin, with_callbacks

__all__ = ["Incremental"]

_log = logging.getLogger("dfml")


class Incremental(CallbackSupportMixin, MetaEstimator):
    """Train an estimator with ``partial_fit`` over the partitions of a table.

    Training is eager: ``fit`` reads the table once per epoch (and the label column
    once more where ``classes`` is not given) and holds at most ``look_ahead``
    partitions in memory beside the one in training. Everything after ``fit`` is lazy
    on lazy input. The result is bit-equal to a plain loop of ``partial_fit`` over the
    same partitions, on every scheduler (to rounding where models are merged).

    Parameters
    ----------
    estimator : estimator
        With ``partial_fit``; it is cloned and never changed.
    epochs : int, default=1
        Passes over the table.
    shuffle : bool, default=False
        Permute the partitions in each epoch, and the rows of each partition.
    random_state : int, RandomState instance or None, default=None
        Seeds ``shuffle``; the estimator has its own.
    scoring : str, scorer or None, default=None
        What ``score`` computes; None for accuracy or R squared.
    early_stopping : bool, default=False
        Stop when the score of an epoch has not risen by ``tol`` for
        ``n_iter_no_change`` epochs: the score on ``fit(..., validation=)``, or else the
        mean prequential score.
    n_iter_no_change : int, default=5
        Epochs without a rise before stopping.
    tol : float, default=1e-3
        The least rise that counts.
    prequential : bool, default=False
        Score each partition before it is trained on, which costs one ``predict``.
    merge : bool, default=True
        Train partitions in parallel and merge the models, where the state of
        ``partial_fit`` adds up: StandardScaler, MinMaxScaler, MaxAbsScaler, GaussianNB,
        MultinomialNB, ComplementNB, BernoulliNB. The result is the same on every
        scheduler, and equal to the sequence of steps to rounding.
    look_ahead : int, default=2
        Partitions that may be loading or loaded beside the one in training.
    checkpoint : path, default=None
        Folder in which a lazy ``fit`` saves itself every two seconds. After a crash of
        the process the same ``fit`` on the same data goes on from there and ends
        bit-equal; when it ends the checkpoint is removed. Checkpoints are pickles: the
        folder must be as trusted as the program.

    Attributes
    ----------
    estimator_ : estimator
        The trained scikit-learn estimator. What it has learnt shows here too:
        ``coef_``, ``classes_``, ``feature_names_in_``, ...
    n_partitions_seen_ : int
        Partitions trained on, all epochs together, empty ones not counted.
    n_samples_seen_ : int
        Rows trained on, all epochs together.
    history_ : list of dict
        One entry a step of a lazy fit: ``epoch``, ``partition``, ``rows``,
        ``seconds_loading``, ``seconds_training`` and ``seconds_waiting``, and with
        ``prequential`` the ``score`` before the step.
    validation_scores_ : list of float
        The score of each epoch, where there is ``early_stopping`` or ``validation``.
        NaN where no partition has one: the first of all is trained on unscored.

    See Also
    --------
    IID : Fits estimators without ``partial_fit`` on a sample.
    ParallelPostFit : For models that are fitted already.

    Notes
    -----
    Training is sequential by nature; loading is not. On a ``distributed`` cluster the
    steps run on workers too, each on a copy of the model: whatever is retried or
    killed, a step counts once. The model is fetched every two seconds of training, so
    that a lost worker costs no more than those.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd
    >>> from sklearn.linear_model import SGDClassifier
    >>> from dfml import Incremental
    >>> pdf = pd.DataFrame({"a": [0.0, 1.0, 0.2, 0.9] * 5, "late": ["no", "yes"] * 10})
    >>> ddf = dd.from_pandas(pdf, npartitions=4)
    >>> clf = Incremental(SGDClassifier(random_state=0), epochs=3).fit(ddf, y="late")
    >>> clf.classes_.tolist(), clf.n_partitions_seen_
    (['no', 'yes'], 12)
    >>> clf.predict(ddf).head(2).tolist()
    ['no', 'yes']
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 - as scikit-learn
        "estimator": [HasMethods(["get_params"])],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "scoring": [str, callable, None],
        "early_stopping": ["boolean"],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "prequential": ["boolean"],
        "merge": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
        "look_ahead": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        epochs: int = 1,
        shuffle: bool = False,
        random_state: Any = None,
        scoring: Any = None,
        early_stopping: bool = False,
        n_iter_no_change: int = 5,
        tol: float = 1e-3,
        prequential: bool = False,
        merge: bool = True,
        look_ahead: int = 2,
        checkpoint: Any = None,
    ) -> None:
        self.estimator = estimator
        self.epochs = epochs
        self.shuffle = shuffle
        self.random_state = random_state
        self.scoring = scoring
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.prequential = prequential
        self.merge = merge
        self.look_ahead = look_ahead
        self.checkpoint = checkpoint

    @property
    def _scoring(self) -> Any:
        return self.scoring

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if isinstance(self.estimator, IncrementalPCA):
            tags.input_tags.sparse = False  # its fit takes them, its partial_fit not
        return tags

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        classes: Any = None,
        validation: Any = None,
        **fit_params: Any,
    ) -> Incremental:
        """Train a clone of the estimator on the whole table, now.

        Parameters
        ----------
        X : dask DataFrame or Array, DuckDB relation or array-like
            The table, of shape (n_samples, n_features). Features are all columns but
            those that ``y`` and ``sample_weight`` name. In memory it counts as one
            partition.
        y : column name(s), dask Series or Array, or array-like, optional
            The target: a name, or a lazy column of the same table.
        classes : array-like, optional
            All classes. Found by one pass over the label column if not given.
        validation : tuple of (X, y), optional
            Held-out rows, lazy or in memory, to score after each epoch; ``y`` may be a
            column name.
        **fit_params : dict
            ``sample_weight`` (a column name, or a lazy column) where the estimator's
            ``partial_fit`` has it; anything else is passed on.

        Returns
        -------
        self : Incremental
            Fitted. If anything fails, the estimator is as it was before the call; on
            Ctrl-C after at least one whole partition it holds the model so far.

        Raises
        ------
        EstimatorTypeError
            If the estimator has no ``partial_fit``.
        ColumnMismatchError
            If a name is not a column, or text is given to a model of numbers.
        PartitionMismatchError
            If X and y do not have the same partitions and rows.
        LabelError
            If a label is missing or not in ``classes``, or there is one class only.
        EmptyTableError
            If no partition has a row.
        """
        self._validate_params()
        check_partial_fit("Incremental.fit", self.estimator)
        where = "Incremental.fit"
        model = clone(self.estimator)
        training = Training(model, classes=_as_classes(where, model, classes))
        if self.scoring is not None:
            resolve_scorer(where, self.scoring)
        validate = Validate.of(where, model, validation, self.scoring)
        return self._train(where, training, X, y, fit_params, self.epochs, validate)

    @available_if(answers("partial_fit"))
    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any = None, *, classes: Any = None, **fit_params: Any
    ) -> Incremental:
        """Train on one more table, going on from ``estimator_``, in one pass.

        Parameters
        ----------
        X, y : lazy or array-like
            As in :meth:`fit`.
        classes : array-like, optional
            All classes; needed at the first call only, and found then if X is lazy.
        **fit_params : dict
            As in :meth:`fit`.

        Returns
        -------
        self : Incremental
            Trained on; unchanged if anything fails.
        """
        self._validate_params()
        where = "Incremental.partial_fit"
        classes = _as_classes(where, self._response_estimator, classes)
        if "estimator_" not in self.__dict__:
            training = Training(clone(self.estimator), classes=classes)
        else:
            # A copy: lazy predictions made before still hold the old model.
            training = Training(
                copy.deepcopy(self.estimator_),
                classes=classes,
                n_partitions_seen=self.n_partitions_seen_,
                n_samples_seen=self.n_samples_seen_,
            )
        return self._train(where, training, X, y, fit_params, 1)

    def _train(
        self,
        where: str,
        training: Training,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        epochs: int,
        validate: Validate | None = None,
    ) -> Incremental:
        method = where.rpartition(".")[2]
        training.options = dict(self._routed(method, fit_params))
        given = [name for name, value in fit_params.items() if value is not None]
        check_options(where, training.model.partial_fit, given)
        weight = training.options.pop("sample_weight", None)
        goes_on = training.n_partitions_seen > 0
        if _frames.is_lazy(X):
            table = join_lazily(where, X, y, weight)
            if goes_on and self._contract is not None:
                contract = self._contract
                names = contract.check(where, table.features)
                table = table.select(names, contract.times)
            self._train_lazily(where, training, table, epochs, validate)
        else:
            X, y, weight = _frames.split_columns(where, X, y, weight)
            if validate is not None:
                validate = validate.checked(where, X)
            if training.classes is None and not hasattr(training.model, "classes_"):
                training.classes = _classes_in_memory(training.model, y)
            plan = Plan(1, epochs, self._draw_seed())
            fitting = Fitting(self, plan, validate, None)
            steps = InMemorySteps(fitting.begin(training), plan, X, y, weight)
            fitting.run(where, steps)
            if not goes_on:
                self._forget_outputs()
            self._keep(training, fitting)
        return self

    def _train_lazily(
        self,
        where: str,
        training: Training,
        table: _frames.Table,
        epochs: int,
        validate: Validate | None,
    ) -> None:
        check_target(where, training.model, table)
        check_takes_kinds(where, training.model, table)
        if validate is not None:
            facts = {"named": table.named, "target": table.target_names}
            validate = validate.checked(where, table.features, **facts)
        opened = self._open(where, table, epochs)
        table, partitions = opened.table, opened.partitions
        if training.classes is None and self._wants_classes(training.model, table):
            found = find_classes(where, table, partitions)
            training.classes = _as_model_wants(training.model, found)
        job = self._job(where, training, table, epochs, validate)
        seed = self._draw_seed() if job is None else job.seed(self._draw_seed)
        plan = make_plan(partitions, epochs, seed)
        fitting = Fitting(self, plan, validate, job)
        training = fitting.begin(training)
        before = training.n_partitions_seen
        steps = self._steps(training, opened, plan, fitting)
        try:
            fitting.run(where, steps)
        except KeyboardInterrupt as interrupt:
            reached = steps.state()
            if reached.n_partitions_seen > before:
                fitting.history.end_with(reached.last)
                self._keep(reached, fitting, table)
                interrupt.add_note(
                    "dfml: estimator_ holds the model after "
                    f"{_progress(len(fitting.history.rows), plan.n_turns)}."
                )
            raise
        self._keep(steps.state(), fitting, table)

    def _open(self, where: str, table: _frames.Table, epochs: int) -> Opened:
        """Get ready to load; say what is not certain about a relation."""
        if isinstance(table, RelationTable):
            if self.checkpoint is not None:
                name_data(where, table.relation)  # it cannot be recognised
            warn_of_order(where, table.relation)
        reason = "shuffle=True permutes its partitions" if self.shuffle else None
        return open_partitions(where, table, epochs=epochs, needs_partitions=reason)

    def _steps(
        self,
        training: Training,
        opened: Opened,
        plan: Plan | OpenPlan,
        fitting: Fitting,
    ) -> Sequence | MergedSteps:
        """Run in parallel what adds up, in a sequence all else."""
        partitions, pack = opened.partitions, opened.pack
        watched = has_callbacks(self)
        in_order = self.checkpoint is not None or fitting.is_prequential or watched
        if self.merge and is_additive(training.model) and not in_order:
            blank = replace(
                training,
                model=clone(training.model),
                classes=getattr(training.model, "classes_", training.classes),
                n_partitions_seen=0,
                n_samples_seen=0,
                first_rows=None,
            )
            return MergedSteps(training, blank, partitions, plan, pack)
        return Sequence(
            training, partitions, plan, pack, self.look_ahead, watched=watched
        )

    def _job(
        self,
        where: str,
        training: Training,
        table: _frames.Table,
        epochs: int,
        validate: Validate | None,
    ) -> Job | None:
        """Name what is trained, where checkpoints are asked for."""
        if self.checkpoint is None:
            return None
        parameters = {
            "estimator": training.model,
            "wrapper": {**self.get_params(deep=False), "estimator": None},
            "epochs": epochs,
            "classes": training.classes,
            "options": training.options,
            "target": table.target_names,
            "validation": None if validate is None else validate.identity(where),
        }
        del parameters["wrapper"]["checkpoint"]
        return Job(where, self.checkpoint, table.joint, parameters)

    def _wants_classes(self, model: Any, table: _frames.Table) -> bool:
        """Classes are looked for at the first step of a classifier that takes them."""
        first = not hasattr(model, "classes_")
        return (
            first and table.target is not None and takes(model.partial_fit, "classes")
        )

    def _draw_seed(self) -> int | None:
        if not self.shuffle:
            return None
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _keep(
        self, training: Training, fitting: Fitting, table: _frames.Table | None = None
    ) -> None:
        self.estimator_ = training.model
        self.n_partitions_seen_ = training.n_partitions_seen
        self.n_samples_seen_ = training.n_samples_seen
        self.history_ = fitting.history.rows
        if fitting.stopping.scores:
            self.validation_scores_ = fitting.stopping.scores
        if table is not None:
            self._learn_outputs(
                table.features, table.target_names, table.named, training.first_rows
            )


def _progress(done: int, of: int | None) -> str:
    """Say how many partitions were trained on; of how many, a stream knows late."""
    return f"{done} partitions" if of is None else f"{done} of {of} partitions"


def _as_model_wants(model: Any, classes: Any) -> Any:
    """Several targets: a list for MultiOutputClassifier, else numbers of labels."""
    if isinstance(classes, list) and not isinstance(model, MultiOutputClassifier):
        return np.arange(len(classes))
    return classes


def _as_classes(where: str, model: Any, classes: Any) -> Any:
    """Classes as an array, or as a list of arrays for several targets."""
    if classes is None:
        return None
    if is_regressor(model):
        raise EstimatorTypeError.expecting(
            where,
            "classes for a classifier only",
            f"classes= for {type(model).__name__}",
            "leave them out",
        )
    if hasattr(classes, "compute"):
        classes = classes.compute()
    if isinstance(classes, list) and classes and isinstance(classes[0], np.ndarray):
        return classes
    found = np.asarray(list(classes) if isinstance(classes, Set) else classes)
    if not found.ndim:
        raise LabelError.expecting(
            where, "a list of all classes", repr(classes), "pass classes=[...]"
        )
    return found


def _classes_in_memory(model: Any, y: Any) -> Any:
    if not (is_classifier(model) and takes(model.partial_fit, "classes")):
        return None
    if y is None:
        raise ValueError(
            f"{type(model).__name__} requires y to be passed, but the target y is None."
        )
    check_classification_targets(y)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        return _as_model_wants(model, [np.unique(column) for column in y.T])
    return unique_labels(column_or_1d(y, warn=True))
