"""The table of response methods: methods, docstrings and output names come from it.

A response method is one that a fitted estimator answers rows with, as ``predict``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = ["RESPONSES", "Response"]


@dataclass(frozen=True)
class Response:
    """One response method.

    Parameters
    ----------
    name : str
        Name of the method.
    summary : str
        First line of its docstring.
    returns : str
        What a lazy call gives, with its shape.
    columns : callable
        From the estimator, the result for some rows and the target's names to the
        names of the output columns.
    """

    name: str
    summary: str
    returns: str
    columns: Callable[[Any, Any, Sequence[Hashable]], list[str]]


def _width(result: Any) -> int:
    return int(result.shape[1]) if len(result.shape) > 1 else 1


def _predictions(_: Any, result: Any, targets: Sequence[Hashable]) -> list[str]:
    if len(result.shape) == 1:
        return ["prediction"]
    known = len(targets) == _width(result)
    return [f"prediction_{t}" for t in (targets if known else range(_width(result)))]


def _per_class(prefix: str) -> Callable[[Any, Any, Sequence[Hashable]], list[str]]:
    def columns(estimator: Any, result: Any, targets: Sequence[Hashable]) -> list[str]:
        classes = getattr(estimator, "classes_", None)
        if isinstance(result, list):  # one array a target
            names = targets if len(targets) == len(result) else range(len(result))
            pairs = zip(names, _classes_of_each(estimator, result), strict=True)
            return [f"{prefix}_{name}_{c}" for name, known in pairs for c in known]
        if len(result.shape) == 1:
            return [prefix]
        # A chain of classifiers knows classes a target, and answers with a column each.
        of_targets = isinstance(classes, list) and np.ndim(classes[0]) == 1
        labels: Any = targets if of_targets else classes
        if labels is None or len(labels) != _width(result):
            labels = range(_width(result))
        return [f"{prefix}_{label}" for label in labels]

    return columns


def _classes_of_each(estimator: Any, result: list[Any]) -> Sequence[Any]:
    """List the classes of each target; one estimator a target may hold its own."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:  # MultiOutputClassifier.partial_fit does not set it
        inside = getattr(estimator, "estimators_", [])
        classes = [getattr(each, "classes_", ()) for each in inside]
    known = [len(each) for each in classes] == [_width(each) for each in result]
    return classes if known else [range(_width(each)) for each in result]


def _single(name: str) -> Callable[[Any, Any, Sequence[Hashable]], list[str]]:
    return lambda *_: [name]


def _transformed(estimator: Any, result: Any, _: Sequence[Hashable]) -> list[str]:
    try:
        return [str(name) for name in estimator.get_feature_names_out()]
    except (AttributeError, ValueError):
        columns = getattr(result, "columns", None)
        if columns is not None:
            return [str(name) for name in columns]
        return [f"transform_{i}" for i in range(_width(result))]


def _restored(estimator: Any, result: Any, _: Sequence[Hashable]) -> list[str]:
    names = getattr(estimator, "feature_names_in_", range(_width(result)))
    return [str(n) for n in names] if len(names) == _width(result) else ["inverse"]


_PER_CLASS = "dask DataFrame of shape (n_samples, n_classes)"

#: The single list of response methods; methods, docs and meta are made from it.
RESPONSES: tuple[Response, ...] = (
    Response(
        "predict",
        "Predict the target of each row.",
        "dask Series of shape (n_samples,), or DataFrame for several targets",
        _predictions,
    ),
    Response(
        "predict_proba",
        "Predict the probability of each class.",
        _PER_CLASS,
        _per_class("probability"),
    ),
    Response(
        "predict_log_proba",
        "Predict the logarithm of the probability of each class.",
        _PER_CLASS,
        _per_class("log_probability"),
    ),
    Response(
        "decision_function",
        "Compute the confidence scores of each row.",
        "dask Series of shape (n_samples,), or DataFrame with a column a class",
        _per_class("decision"),
    ),
    Response(
        "score_samples",
        "Compute the score of each row under the model.",
        "dask Series of shape (n_samples,)",
        _single("score_samples"),
    ),
    Response(
        "transform",
        "Transform each row.",
        "dask DataFrame of shape (n_samples, n_features_out)",
        _transformed,
    ),
    Response(
        "inverse_transform",
        "Transform each row back to the original space.",
        "dask DataFrame of shape (n_samples, n_features)",
        _restored,
    ),
)
