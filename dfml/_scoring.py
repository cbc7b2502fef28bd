"""``score`` on lazy tables: merged from partitions, without collecting the table.

Accuracy, R squared and the sums or means that some estimators score by are
merged from a few numbers a partition. Any other scorer, also that of a search or of a
generalized linear model, sees the responses and labels of all rows, gathered, but never
the features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import (
    accuracy_score,
    d2_tweedie_score,
    get_scorer,
    make_scorer,
)
from sklearn.utils import assert_all_finite, get_tags

from dfml import _frames
from dfml._relations import empty_frame, level_of_caller, of_relation
from dfml._streams import open_partitions
from dfml.exceptions import EmptyTableError, EstimatorTypeError, LabelError
from dfml.responses._learnt_columns import plain
from dfml.responses._responders import call, contract_of, knows_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfml._partitions import Turn
    from dfml._schema import Contract
    from dfml.arrays._blocks import Block
    from dfml.responses._partitionwise import PartitionwiseMixin

__all__ = ["join_for_score", "resolve_scorer", "score_lazily"]

#: Estimators whose own ``score`` is a sum, or a mean over rows, of the partitions'.
_SUMMED = frozenset({"BisectingKMeans", "KMeans", "KernelDensity", "MiniBatchKMeans"})
_AVERAGED = frozenset(
    {"BayesianGaussianMixture", "FactorAnalysis", "GaussianMixture", "PCA"}
)

#: Classes that define ``score`` as accuracy or R squared, or as something equal.
_USUAL = frozenset(
    {
        "ClassifierMixin",
        "DummyClassifier",
        "DummyRegressor",
        "KNeighborsClassifier",
        "MultiOutputClassifier",
        "RANSACRegressor",
        "RadiusNeighborsClassifier",
        "RegressorMixin",
    }
)


def resolve_scorer(where: str, scoring: Any) -> Any:
    """Turn a scorer name or a scorer into a scorer.

    Parameters
    ----------
    where : str
        The call, for messages.
    scoring : str or scorer
        A name of ``sklearn.metrics.get_scorer_names()``, or what
        ``sklearn.metrics.make_scorer`` returns.

    Returns
    -------
    scorer : scorer
        Greater is better.

    Raises
    ------
    EstimatorTypeError
        If it is a metric function rather than a scorer.
    """
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    if not hasattr(scorer, "_response_method"):
        raise EstimatorTypeError.expecting(
            where,
            "scoring to be a scorer or the name of one",
            f"{scoring!r}",
            "wrap a metric function with sklearn.metrics.make_scorer",
        )
    return scorer


def score_lazily(
    owner: PartitionwiseMixin,
    X: Any,
    y: Any,
    sample_weight: Any,
    scoring: Any,
    *,
    where: str | None = None,
) -> float:
    """Score an estimator on a lazy table.

    Parameters
    ----------
    owner : estimator of dfml
        Fitted.
    X : lazy table
        The rows; it may be wider than in ``fit``.
    y, sample_weight : lazy column, column name or None
        ``y=None`` stands for the target of ``fit``, if there was one.
    scoring : str, scorer or None
        None stands for what the estimator's own ``score`` computes.
    where : str, optional
        The call, for messages.

    Returns
    -------
    score : float
        Greater is better.
    """
    where = where or f"{type(owner).__name__}.score"
    table = join_for_score(where, contract_of(owner), X, y, sample_weight)
    estimator = owner._response_estimator
    is_supervised = is_classifier(estimator) or is_regressor(estimator)
    if table.target is None and (is_supervised or scoring is not None):
        raise LabelError.expecting(
            where,
            "y, the true target",
            "None, and the model has learnt no target from a table",
            'name a column, score(ddf, y="label")',
        )
    if scoring is not None:
        measure: Any = _Gather(resolve_scorer(where, scoring), estimator)
    else:
        measure = _default_measure(where, estimator)
    opened = open_partitions(where, table, named=knows_names(owner))
    task = _Measure(estimator, measure, opened.pack, get_config())
    states = [s for s in opened.partitions.map(task) if s is not None]
    if not states:
        raise EmptyTableError.expecting(
            where, "at least one row", "none", "check the filters"
        )
    return float(measure.merge(states))


def join_for_score(
    where: str, contract: Contract | None, X: Any, y: Any, sample_weight: Any = None
) -> _frames.Table:
    """Join only the columns that are needed, the features in the order of fit.

    Parameters
    ----------
    where : str
        The call, for messages.
    contract : Contract or None
        What ``fit`` has seen; None takes the columns as they are.
    X, y, sample_weight : lazy
        As in :func:`score_lazily`.

    Returns
    -------
    table : Table
        Nothing of it is computed.
    """
    if y is None and contract is not None and contract.target is not None:
        targets = contract.targets
        y = targets[0] if len(targets) == 1 else list(targets)
    _frames.check_same_kind(where, X, y, sample_weight)
    is_relation = _frames.is_relation(X)
    frame, columns = empty_frame(where, X) if is_relation else (X, ())
    if contract is not None and isinstance(frame, dd.DataFrame):
        features = contract.check(where, frame._meta)
        labels = (_frames.label_names(where, frame, k) for k in (y, sample_weight))
        frame = frame[list(dict.fromkeys([*features, *chain.from_iterable(labels)]))]
    table = _frames.join(where, frame, y, sample_weight)
    if contract is not None and isinstance(frame, dd.DataFrame):
        table = table.select(list(table.features.columns), contract.times)
    return of_relation(table, X, columns) if is_relation else table


@dataclass(frozen=True)
class _Measure:
    """What happens where a partition is: respond, and reduce to a small state."""

    estimator: Any
    measure: Any
    pack: Callable[[Any], Block]
    config: dict[str, Any]

    def __call__(self, loaded: Any, _: Turn) -> Any:
        block = self.pack(loaded)
        return self.measure.state(self, block) if len(block) else None

    def respond(self, name: str, block: Block) -> Any:
        return call(self.estimator, name, block.X, self.config, {})


class _Accuracy:
    """Share of right predictions: two sums."""

    def state(self, at: _Measure, block: Block) -> tuple[float, float]:
        predicted = at.respond("predict", block)
        weight = block.sample_weight
        if block.y.ndim == 2:  # a row of several targets is right if all of it is
            equal = np.all(block.y == np.asarray(predicted), axis=1)
            right = equal.sum() if weight is None else equal @ weight
        else:
            right = accuracy_score(
                block.y, predicted, normalize=False, sample_weight=weight
            )
        return float(right), float(len(block) if weight is None else weight.sum())

    def merge(self, states: list[tuple[float, float]]) -> float:
        right, total = np.sum(states, axis=0)
        return float(right / total)


class _RSquared:
    """Coefficient of determination, from means and squares merged stably [1]_.

    References
    ----------
    .. [1] Chan, Golub, LeVeque (1983), "Algorithms for computing the sample
       variance", doi:10.1080/00031305.1983.10483115.
    """

    def state(self, at: _Measure, block: Block) -> tuple[Any, ...] | None:
        if block.sample_weight is not None and not block.sample_weight.any():
            return None
        y = np.asarray(block.y, dtype="float64").reshape(len(block), -1)
        predicted = np.asarray(at.respond("predict", block), dtype="float64")
        assert_all_finite(y, input_name="y_true")
        assert_all_finite(predicted, input_name="y_pred")
        weight = np.ones(len(block)) if (w := block.sample_weight) is None else w
        residual = weight @ (y - predicted.reshape(y.shape)) ** 2
        mean = weight @ y / weight.sum()
        return len(block), weight.sum(), mean, weight @ (y - mean) ** 2, residual

    def merge(self, states: list[tuple[Any, ...]]) -> float:
        if sum(rows for rows, *_ in states) < 2:
            warnings.warn(
                "R^2 score is not well-defined with less than two samples.",
                UndefinedMetricWarning,
                stacklevel=level_of_caller(),
            )
            return float("nan")
        _, total, mean, squares, residual = states[0]
        for _, n, other_mean, other_squares, other_residual in states[1:]:
            apart = other_mean - mean
            squares = squares + other_squares + apart**2 * (total * n / (total + n))
            mean = mean + apart * (n / (total + n))
            total, residual = total + n, residual + other_residual
        constant = squares == 0
        explained = 1 - residual / np.where(constant, 1, squares)
        perfect = np.where(residual == 0, 1.0, 0.0)
        return float(np.mean(np.where(constant, perfect, explained)))


@dataclass(frozen=True)
class _Own:
    """The estimator's own score, where it is a sum or a mean over rows."""

    averaged: bool

    def state(self, at: _Measure, block: Block) -> tuple[float, float]:
        options = (
            {}
            if block.sample_weight is None
            else {"sample_weight": block.sample_weight}
        )
        score = at.estimator.score(block.X, block.y, **options)
        return float(score) * (len(block) if self.averaged else 1), len(block)

    def merge(self, states: list[tuple[float, float]]) -> float:
        total, rows = np.sum(states, axis=0)
        return float(total / rows if self.averaged else total)


def _default_measure(where: str, estimator: Any) -> Any:
    name = type(estimator).__name__
    if name in _SUMMED | _AVERAGED:
        return _Own(averaged=name in _AVERAGED)
    scored = _scored_inside(estimator)
    scorer = _scorer_of(scored)
    if scorer is not None:
        return _Gather(scorer, estimator)
    if _definer_of_score(scored) in _USUAL:
        if is_classifier(estimator):
            return _Accuracy()
        if is_regressor(estimator):
            return _RSquared()
    raise EstimatorTypeError.expecting(
        where,
        "an estimator whose score can be merged from partitions",
        name,
        "pass scoring= to ddf.ml.score or Incremental, or score a sample in memory",
    )


def _scored_inside(estimator: Any) -> Any:
    """Follow an estimator to the one inside whose score is its own."""
    estimator, inner = plain(estimator), None
    if getattr(estimator, "steps", None):
        inner = estimator.steps[-1][1]
    elif _definer_of_score(estimator) in ("RFE", "SelfTrainingClassifier"):
        inner = estimator.estimator_
    elif _definer_of_score(estimator) == "BaseSearchCV" and estimator.scoring is None:
        inner = estimator.best_estimator_
    return estimator if inner is None else _scored_inside(inner)


def _definer_of_score(estimator: Any) -> str | None:
    """Name the class that defines the score in memory."""
    for each in type(estimator).__mro__:
        if "score" in vars(each) and not each.__module__.startswith("dfml."):
            return each.__name__
    return None


def _scorer_of(estimator: Any) -> Any:
    """Give the scorer that an estimator scores by, if it is another than usual."""
    definer = _definer_of_score(estimator)
    if definer == "BaseSearchCV":
        scorer = estimator.scorer_
        return scorer[estimator.refit] if isinstance(scorer, dict) else scorer
    if definer in ("LogisticRegressionCV", "RFECV"):
        scoring = estimator.scoring
        if scoring in (None, "warn"):
            scoring = "accuracy" if is_classifier(estimator) else "r2"
        return scoring if callable(scoring) else get_scorer(scoring)
    if definer == "_GeneralizedLinearRegressor":
        powers = {"PoissonRegressor": 1, "GammaRegressor": 2}
        names = [each.__name__ for each in type(estimator).__mro__]
        power = next((powers[name] for name in names if name in powers), None)
        return make_scorer(
            d2_tweedie_score, power=estimator.power if power is None else power
        )
    return None


@dataclass(frozen=True)
class _Gather:
    """Any other scorer: the responses and labels of all rows, without features."""

    scorer: Any
    estimator: Any

    @property
    def response(self) -> str:
        """The first response method of the scorer that the estimator has."""
        wanted = self.scorer._response_method
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        return next((n for n in names if hasattr(self.estimator, n)), names[0])

    def state(self, at: _Measure, block: Block) -> tuple[Any, Any, Any]:
        return at.respond(self.response, block), block.y, block.sample_weight

    def merge(self, states: list[tuple[Any, Any, Any]]) -> float:
        answers, labels, weights = zip(*states, strict=True)
        answer = _Answered(self.estimator, self.response, _concatenated(answers))
        y = np.concatenate(labels)
        options = {}
        if weights[0] is not None:
            options["sample_weight"] = np.concatenate(weights)
        return float(self.scorer(answer, np.empty((len(y), 0)), y, **options))


def _concatenated(answers: tuple[Any, ...]) -> Any:
    if isinstance(answers[0], list):
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]
    return np.concatenate(answers)


class _Answered:
    """Looks like the fitted estimator to a scorer, and has answered already."""

    def __init__(self, estimator: Any, response: str, answer: Any) -> None:
        self._estimator = estimator

        def answered(_: Any) -> Any:
            return answer

        # scikit-learn finds the response method, then looks at its name.
        answered.__name__ = response
        setattr(self, response, answered)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "predict")):
            raise AttributeError(name)
        return getattr(self._estimator, name)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self._estimator)

    def __sklearn_is_fitted__(self) -> bool:
        return True
