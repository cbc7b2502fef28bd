"""What is refused before any work starts, because of the estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator
from sklearn.utils import get_tags

from dfml._frames import text_columns
from dfml.exceptions import ColumnMismatchError, EstimatorTypeError

if TYPE_CHECKING:
    from dfml._frames import Table

__all__ = ["check_partial_fit", "check_takes_text"]

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
        raise EstimatorTypeError.expecting(
            where,
            "an estimator with partial_fit",
            name,
            f"use dfml.IID({name}(...)), or the class of that name in dfml.iid, "
            "to fit it on one partition",
        )


def check_takes_text(where: str, estimator: Any, table: Table) -> None:
    """Refuse text columns where scikit-learn's estimator takes numbers only.

    Raises
    ------
    ColumnMismatchError
        Naming the columns. Estimators that hand their input on (pipelines, searches)
        or that are not scikit-learn's own are not judged here.
    """
    columns = text_columns(table)
    if columns and _wants_numbers(estimator):
        raise ColumnMismatchError.expecting(
            where,
            f"columns of numbers for {type(estimator).__name__}",
            f"text in {columns}",
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
