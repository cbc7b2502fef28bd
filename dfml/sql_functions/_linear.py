"""Linear models as SQL: weighted sums, and what classifiers make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dfml.sql_functions._text import argmax, label_literal, number, sum_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dfml.sql_functions._text import Query

__all__ = ["LINEAR", "label_of", "logistic", "softmax", "unlinked"]

_CLASSIFIERS = (
    "LinearSVC",
    "LogisticRegression",
    "LogisticRegressionCV",
    "PassiveAggressiveClassifier",
    "Perceptron",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "SGDClassifier",
)
_REGRESSORS = (
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
)

_GENERALIZED = ("GammaRegressor", "PoissonRegressor", "TweedieRegressor")


def _scores(model: Any, columns: Sequence[str], query: Query) -> list[str]:
    """Add one weighted sum for each row of the coefficients."""
    coef = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_
    coef = np.atleast_2d(coef)
    intercept = np.broadcast_to(np.ravel(model.intercept_), len(coef))
    return query.add(
        [
            sum_of(
                [
                    f"{column} * {number(weight)}"
                    for column, weight in zip(columns, weights, strict=True)
                    if weight != 0
                ]
                + [number(constant)]
            )
            for weights, constant in zip(coef, intercept, strict=True)
        ]
    )


def _regression(
    model: Any, method: str, columns: Sequence[str], query: Query
) -> list[str] | None:
    return _scores(model, columns, query) if method == "predict" else None


def _generalized(
    model: Any, method: str, columns: Sequence[str], query: Query
) -> list[str] | None:
    link = model._base_loss.link
    return (
        unlinked(_scores(model, columns, query), link) if method == "predict" else None
    )


def unlinked(scores: Sequence[str], link: Any) -> list[str]:
    """Turn the scores of a regressor into its answers, by the link of its loss."""
    is_log = type(link).__name__ == "LogLink"
    return [f"exp({score})" if is_log else score for score in scores]


def _classification(
    model: Any, method: str, columns: Sequence[str], query: Query
) -> list[str] | None:
    scores = _scores(model, columns, query)
    if method == "decision_function":
        return scores
    if method == "predict":
        return [label_of(model, scores, query)]
    probabilities = _link(model, len(scores))
    if method == "predict_proba" and probabilities is not None:
        return probabilities(scores, query)
    if method == "predict_log_proba" and probabilities is not None:
        return [f"ln({each})" for each in probabilities(scores, query)]
    return None


def label_of(
    model: Any, scores: Sequence[str], query: Query, positive: str = "> 0"
) -> str:
    """Turn decisions into a label: one for two classes, or one a class.

    A sum that overflows is NaN, which is false in NumPy and the largest number in SQL.
    """
    labels = [label_literal(each) for each in model.classes_]
    if len(scores) > 1:
        return argmax(query, scores, labels)
    (score,), (no, yes) = scores, labels
    return (
        f"CASE WHEN {score} {positive} AND NOT isnan({score}) THEN {yes} ELSE {no} END"
    )


def _link(
    model: Any, n_scores: int
) -> Callable[[Sequence[str], Query], list[str]] | None:
    """Return how a classifier makes probabilities of its decisions."""
    name = type(model).__name__
    if name.startswith("LogisticRegression"):
        return logistic if n_scores == 1 else softmax
    if name == "SGDClassifier" and model.loss == "log_loss":
        return logistic if n_scores == 1 else _logistic_of_each
    if name == "SGDClassifier" and model.loss == "modified_huber":
        return _huber
    return None


def logistic(scores: Sequence[str], query: Query) -> list[str]:
    """Return the probabilities of two classes."""
    (yes,) = query.add([_sigmoid(scores[0])])
    return [f"1e0 - {yes}", yes]


def softmax(scores: Sequence[str], query: Query) -> list[str]:
    """Return the probabilities of several classes."""
    (largest,) = query.add([f"greatest({', '.join(scores)})"])
    powers = query.add([f"exp({score} - {largest})" for score in scores])
    (total,) = query.add([sum_of(powers)])
    return [f"{power} / {total}" for power in powers]


def _logistic_of_each(scores: Sequence[str], query: Query) -> list[str]:
    return _shares(query.add([_sigmoid(score) for score in scores]), query)


def _huber(scores: Sequence[str], query: Query) -> list[str]:
    clipped = query.add(
        [f"(greatest(least({score}, 1e0), -1e0) + 1e0) / 2e0" for score in scores]
    )
    if len(clipped) == 1:
        return [f"1e0 - {clipped[0]}", clipped[0]]
    return _shares(clipped, query)


def _shares(parts: Sequence[str], query: Query) -> list[str]:
    """Divide by the sum; where all are zero, all are alike."""
    (total,) = query.add([sum_of(parts)])
    alike = number(1 / len(parts))
    return [
        f"CASE WHEN {total} = 0 THEN {alike} ELSE {part} / {total} END"
        for part in parts
    ]


def _sigmoid(score: str) -> str:
    return f"1e0 / (1e0 + exp(-{score}))"


LINEAR = {
    **dict.fromkeys(_CLASSIFIERS, _classification),
    **dict.fromkeys(_REGRESSORS, _regression),
    **dict.fromkeys(_GENERALIZED, _generalized),
}
