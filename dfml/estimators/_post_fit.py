"""``ParallelPostFit``: a model fitted in memory, answering on lazy tables."""

from __future__ import annotations

import os
from typing import Any

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from dfml import _frames
from dfml.estimators._base import MetaEstimator
from dfml.exceptions import EstimatorTypeError
from dfml.responses._partitionwise import PartitionwiseMixin

__all__ = ["ParallelPostFit", "as_lazy"]


class ParallelPostFit(MetaEstimator):
    """Use a model that fits in memory on tables that do not.

    Wraps an estimator that is fitted already, or fits a clone of one in memory; its
    response methods then answer lazy tables partition by partition, and any other
    input as the estimator itself does.

    Parameters
    ----------
    estimator : estimator
        Fitted or not; it is never changed.

    Attributes
    ----------
    estimator_ : estimator
        The clone that ``fit`` has fitted; absent if ``estimator`` came fitted.

    See Also
    --------
    Incremental : Trains on tables larger than memory.
    IID : Fits on one partition.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from dfml import ParallelPostFit
    >>> pdf = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 3.0, 5.0, 7.0]})
    >>> model = ParallelPostFit(LinearRegression().fit(pdf[["a"]], pdf["b"]))
    >>> model.predict(dd.from_pandas(pdf, npartitions=2)).compute().round().tolist()
    [1.0, 3.0, 5.0, 7.0]
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 - as scikit-learn
        "estimator": [HasMethods(["fit"])],
    }

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> ParallelPostFit:
        """Fit a clone of the estimator in memory.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Lazy tables are refused, as they may not fit in memory.
        y : array-like or column name, optional
            The target.
        **fit_params : dict
            Passed to the estimator's ``fit``.

        Returns
        -------
        self : ParallelPostFit
            Fitted.

        Raises
        ------
        InputTypeError
            If X is lazy.
        """
        self._validate_params()
        where = "ParallelPostFit.fit"
        hint = "use dfml.Incremental or dfml.IID for lazy tables, or X.compute()"
        self._reject_lazy(where, X, hint)
        fit_params = self._routed("fit", fit_params)
        weight = fit_params.pop("sample_weight", None)
        X, y, weight = _frames.split_columns(where, X, y, weight)
        if weight is not None:
            fit_params["sample_weight"] = weight
        self.estimator_ = clone(self.estimator).fit(X, y, **fit_params)
        self._forget_outputs()
        return self

    def _learnt_from(self) -> Any:
        return self._response_estimator if self.__sklearn_is_fitted__() else None

    def __sklearn_is_fitted__(self) -> bool:
        try:
            check_is_fitted(self._response_estimator)
        except NotFittedError:
            return False
        return True


def as_lazy(where: str, model: Any) -> Any:
    """Give a model that answers on lazy tables, itself or wrapped.

    Parameters
    ----------
    where : str
        The call, for messages.
    model : estimator
        Fitted, of dfml or scikit-learn.

    Returns
    -------
    model : estimator of dfml
        With the response methods of the model.

    Raises
    ------
    EstimatorTypeError
        If it is no estimator.
    """
    if isinstance(model, PartitionwiseMixin):
        return model
    is_class = isinstance(model, type)
    if is_class or not hasattr(model, "fit"):
        is_path = isinstance(model, (str, os.PathLike))
        raise EstimatorTypeError.expecting(
            where,
            "a fitted estimator of dfml or scikit-learn",
            f"the class {model.__name__}" if is_class else f"{model!r:.80}",
            "load it with dfml.load_model" if is_path else "fit an estimator before",
        )
    return ParallelPostFit(model)
