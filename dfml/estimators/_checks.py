"""What is refused before any work starts, because of the estimator."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from dfml._frames import columns_by_kind
from dfml._relations import level_of_caller
from dfml.exceptions import (
    ColumnMismatchError,
    DfmlWarning,
    EstimatorTypeError,
    LabelError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dfml._frames import Table

__all__ = ["check_options", "check_partial_fit", "check_takes_kinds", "check_target"]

_NOT_NUMBERS = ("text", "category", "time", "time with zone", "duration")

#: Estimators of scikit-learn that take text though their tags do not say so.
_TAKE_ANYTHING = frozenset({"DummyClassifier", "DummyRegressor", "FunctionTransformer"})


def check_partial_fit(where: str, estimator: Any) -> None:
    """Refuse an estimator that cannot be trained partition by partition.

    Raises
    ------
    EstimatorTypeError
        If it has no ``partial_fit``.
    """
    if not hasattr(estimator, "partial_fit"):
        name = type(estimator).__name__
        hint = (
            f"use dfml.IID({name}(...)), or the class of that name in dfml.iid, "
            "to fit it on one partition"
        )
        if isinstance(estimator, Pipeline):
            hint = (
                "wrap its steps, make_pipeline(dfml.Incremental(scaler), "
                "dfml.Incremental(model)), or fit it on one partition, dfml.IID(...)"
            )
        raise EstimatorTypeError.expecting(
            where, "an estimator with partial_fit", name, hint
        )


def check_options(where: str, method: Any, names: Iterable[str]) -> None:
    """Refuse arguments that the method that trains does not take.

    Raises
    ------
    EstimatorTypeError
        Naming them, and what there is.
    """
    parameters = inspect.signature(method).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters]
    unknown = [name for name in names if name not in known]
    if unknown:
        owner = type(getattr(method, "__self__", None)).__name__
        raise EstimatorTypeError.expecting(
            where,
            f"arguments of {owner}.{method.__name__}, {known}",
            f"{unknown}",
            "leave them out; the estimator's own parameters, and those of what wraps "
            "it, such as epochs=, belong to their constructors",
        )


def check_target(where: str, estimator: Any, table: Table) -> None:
    """Refuse a table without a target where the estimator learns one.

    Warns where the target is a feature, too.

    Raises
    ------
    LabelError
        Before any work starts.
    """
    if table.target is None:
        if get_tags(estimator).target_tags.required:
            raise LabelError.expecting(
                where,
                f"y, the target that {type(estimator).__name__} learns",
                "None",
                'name its column, fit(ddf, y="label")',
            )
        return
    name = getattr(table.target, "name", None)  # several have none
    features = getattr(table.features, "columns", ())
    if not table.paired and name is not None and name in features:
        warnings.warn(
            f"{where}: the target {name!r} is among the features too.\n\nHint: "
            f"fit(X, y={name!r}) takes it out of them.",
            DfmlWarning,
            stacklevel=level_of_caller(),
        )


def check_takes_kinds(where: str, estimator: Any, table: Table) -> None:
    """Refuse text and times where scikit-learn's estimator takes numbers only.

    Raises
    ------
    ColumnMismatchError
        Naming the columns. Estimators that hand their input on (pipelines, searches)
        or that are not scikit-learn's own are not judged here.
    """
    kinds = columns_by_kind(table)
    if "categorical_features" in inspect.signature(type(estimator)).parameters:
        kinds.pop("category", None)
    found = [f"{kind} in {kinds[kind]}" for kind in _NOT_NUMBERS if kind in kinds]
    if found and _wants_numbers(estimator):
        raise ColumnMismatchError.expecting(
            where,
            f"columns of numbers for {type(estimator).__name__}",
            " and ".join(found),
            "drop or encode them, for example in the SQL or with a ColumnTransformer",
        )


def _wants_numbers(estimator: Any) -> bool:
    if not type(estimator).__module__.startswith("sklearn."):
        return False
    if type(estimator).__name__ in _TAKE_ANYTHING:
        return False
    parameters = estimator.get_params(deep=False).values()
    if any(isinstance(value, (BaseEstimator, list)) for value in parameters):
        return False
    tags = get_tags(estimator).input_tags
    return tags.two_d_array and not (tags.string or tags.categorical)
