"""``Incremental``: ``partial_fit`` over the partitions of a table, in order."""

from __future__ import annotations

import copy
import logging
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.decomposition import IncrementalPCA
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _num_samples, column_or_1d

from dfml import _frames
from dfml._labels import find_classes
from dfml._partitions import Partitions, Turn
from dfml._training import Plan, Sequence, Training, shuffled_rows, takes
from dfml._watching import History, watch
from dfml.estimators._base import MetaEstimator, answers
from dfml.estimators._checks import check_partial_fit, check_takes_text

__all__ = ["Incremental"]

_log = logging.getLogger("dfml")


class Incremental(MetaEstimator):
    """Train an estimator with ``partial_fit`` over the partitions of a table.

    Training is eager: ``fit`` reads the table once per epoch (and the label column
    once more where ``classes`` is not given) and holds at most ``look_ahead``
    partitions in memory beside the one in training. Everything after ``fit`` is lazy
    on lazy input. The result is bit-equal to a plain loop of ``partial_fit`` over the
    same partitions, on every scheduler.

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
    look_ahead : int, default=2
        Partitions that may be loading or loaded beside the one in training.

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
        ``seconds_loading``, ``seconds_training`` and ``seconds_waiting``.

    See Also
    --------
    IID : Fits estimators without ``partial_fit`` on a sample.
    ParallelPostFit : For models that are fitted already.

    Notes
    -----
    Training is sequential by nature; loading is not. On a ``distributed`` cluster the
    steps run on workers too, each on a copy of the model: whatever is retried or killed,
    a step counts once. The model is fetched every two seconds of training, so that a
    lost worker costs no more than those.

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
        look_ahead: int = 2,
    ) -> None:
        self.estimator = estimator
        self.epochs = epochs
        self.shuffle = shuffle
        self.random_state = random_state
        self.scoring = scoring
        self.look_ahead = look_ahead

    @property
    def _scoring(self) -> Any:
        return self.scoring

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if isinstance(self.estimator, IncrementalPCA):
            tags.input_tags.sparse = False  # its fit takes them, its partial_fit not
        return tags

    def fit(
        self, X: Any, y: Any = None, *, classes: Any = None, **fit_params: Any
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
        training = Training(clone(self.estimator), classes=_as_classes(classes))
        return self._train("Incremental.fit", training, X, y, fit_params, self.epochs)

    @available_if(answers("partial_fit"))
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
        if "estimator_" not in self.__dict__:
            model = clone(self.estimator)
            training = Training(model, classes=_as_classes(classes))
        else:
            # A copy: lazy predictions made before still hold the old model.
            training = Training(
                copy.deepcopy(self.estimator_),
                classes=_as_classes(classes),
                n_partitions_seen=self.n_partitions_seen_,
                n_samples_seen=self.n_samples_seen_,
            )
        return self._train("Incremental.partial_fit", training, X, y, fit_params, 1)

    def _train(
        self,
        where: str,
        training: Training,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        epochs: int,
    ) -> Incremental:
        training.options = dict(fit_params)
        weight = training.options.pop("sample_weight", None)
        seed = self._draw_seed()
        if _frames.is_lazy(X):
            self._train_lazily(where, training, X, y, weight, epochs, seed)
        else:
            X, y, weight = _frames.split_columns(where, X, y, weight)
            _train_in_memory(training, X, y, weight, epochs, seed)
            self._keep(training)
            self._forget_outputs()
        return self

    def _train_lazily(
        self,
        where: str,
        training: Training,
        X: Any,
        y: Any,
        weight: Any,
        epochs: int,
        seed: int | None,
    ) -> None:
        table = _frames.join(where, X, y, weight)
        check_takes_text(where, training.model, table)
        partitions = Partitions(table.joint)
        if training.classes is None and self._wants_classes(training.model, table):
            training.classes = find_classes(where, table, partitions)
        plan = Plan(len(partitions), epochs, seed)
        before = training.n_partitions_seen
        steps = Sequence(training, partitions, plan, table.packer(), self.look_ahead)
        history = History()
        try:
            watch(where, steps, plan, [history])
        except KeyboardInterrupt as interrupt:
            reached = steps.state()
            if reached.n_partitions_seen > before:
                self._keep_lazily(table, reached, history)
                interrupt.add_note(
                    "dfml: estimator_ holds the model after "
                    f"{reached.n_partitions_seen} of {before + len(plan)} partitions."
                )
            raise
        self._keep_lazily(table, steps.state(), history)

    def _keep_lazily(
        self, table: _frames.Table, training: Training, history: History
    ) -> None:
        self._keep(training)
        self.history_ = history.rows
        self._learn_outputs(
            table.features, table.target_names, table.named, training.first_rows
        )

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

    def _keep(self, training: Training) -> None:
        self.estimator_ = training.model
        self.n_partitions_seen_ = training.n_partitions_seen
        self.n_samples_seen_ = training.n_samples_seen


def _as_classes(classes: Any) -> Any:
    """Classes as an array, or as a list of arrays for several targets."""
    if classes is None:
        return None
    if hasattr(classes, "compute"):
        classes = classes.compute()
    if isinstance(classes, list) and classes and isinstance(classes[0], np.ndarray):
        return classes
    return np.asarray(classes)


def _train_in_memory(
    training: Training, X: Any, y: Any, weight: Any, epochs: int, seed: int | None
) -> None:
    """Call ``partial_fit`` on the whole input, as the bare estimator would be."""
    model, options = training.model, training.options
    if weight is not None:
        options["sample_weight"] = weight
    if training.classes is None and not hasattr(model, "classes_"):
        training.classes = _classes_in_memory(model, y)
    if training.classes is not None:
        options["classes"] = training.classes
    for epoch in range(epochs):
        given = X, y, weight
        if seed is not None:
            rows = shuffled_rows(seed, Turn(0, epoch), _num_samples(X))
            given = tuple(_take(values, rows) for values in given)
        if weight is not None:
            options["sample_weight"] = given[2]
        model.partial_fit(given[0], given[1], **options)
        training.n_partitions_seen += 1
        training.n_samples_seen += _num_samples(X)


def _take(values: Any, rows: Any) -> Any:
    return None if values is None else _safe_indexing(values, rows)


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
        return [np.unique(column) for column in y.T]
    return unique_labels(column_or_1d(y, warn=True))
