"""What every estimator of dfml shares: delegation, score, composite methods."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from dfml import _frames
from dfml._schema import Contract
from dfml._scoring import resolve_scorer, score_lazily
from dfml.estimators._signatures import FitMethod
from dfml.exceptions import InputTypeError
from dfml.responses._methods import RESPONSES
from dfml.responses._partitionwise import PartitionwiseMixin
from dfml.responses._responders import contract_of, learn_schemas

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LazyEstimatorMixin", "MetaEstimator", "answers"]


def answers(*names: str) -> Callable[[Any], bool]:
    """Condition for ``available_if``: the estimator inside has one of the methods."""

    def check(self: Any) -> bool:
        inner = self._response_estimator
        return any(hasattr(inner, name) for name in names)

    return check


class LazyEstimatorMixin(PartitionwiseMixin):
    """Response methods, ``score``, ``fit_transform`` and ``fit_predict``."""

    if TYPE_CHECKING:

        def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Any: ...

    @property
    def _scoring(self) -> Any:
        """The scorer that ``score`` uses; None for the estimator's own."""
        return None

    @available_if(answers("score"))
    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, **params: Any
    ) -> float:
        """Score the model; a lazy table is scored now, without collecting it.

        Parameters
        ----------
        X : dask DataFrame or Array, DuckDB relation or array-like
            The rows, of shape (n_samples, n_features). It may hold y as a column.
        y : column name(s), dask Series or Array, or array-like, optional
            The true target. None stands for the target of a ``fit`` on a lazy table,
            on lazy input and on a pandas frame that has it as a column.
        sample_weight : column name, dask Series or Array, or array-like, optional
            Weights of the rows.
        **params : dict
            Further arguments of the estimator's own ``score``, in memory only.

        Returns
        -------
        score : float
            Accuracy for classifiers, R squared for regressors, merged from
            partitions; ``scoring`` of the estimator where it has one.

        Raises
        ------
        EstimatorTypeError
            If the estimator's score cannot be merged from partitions.

        Notes
        -----
        With another scorer the responses and labels of all rows are gathered: eight
        bytes a row and column of the response, never the features.
        """
        if _frames.is_lazy(X):
            check_is_fitted(self)
            return score_lazily(self, X, y, sample_weight, self._scoring)
        self._check_ready()
        where = f"{type(self).__name__}.score"
        learnt = self._learnt_from_table(X) if y is None else None
        y = y if learnt is None else list(learnt.targets)
        X, y, sample_weight = _frames.split_columns(where, X, y, sample_weight)
        if learnt is not None:
            X = X[learnt.check(where, X.iloc[:0])]
        if sample_weight is not None:
            params = self._routed("score", {**params, "sample_weight": sample_weight})
        estimator = self._response_estimator
        if self._scoring is None:
            return float(estimator.score(X, y, **params))
        return float(resolve_scorer(where, self._scoring)(estimator, X, y, **params))

    def _learnt_from_table(self, X: Any) -> Contract | None:
        """Get what a lazy fit has learnt, if a pandas frame has its target."""
        contract = contract_of(self)
        if contract is None or contract.target is None:
            return None
        if not isinstance(X, pd.DataFrame) or not set(contract.targets) <= set(X):
            return None
        return contract

    def _routed(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        """Check metadata against scikit-learn's routing; only wrappers need to."""
        return params

    def _fit_and_answer(self, name: str, X: Any, y: Any, params: Any) -> Any:
        self.fit(X, y, **params)
        if not _frames.is_lazy(X):
            where = f"{type(self).__name__}.fit_{name}"
            weight = params.get("sample_weight")
            X, _, _ = _frames.split_columns(where, X, y, weight)
        return getattr(self, name)(X)

    @available_if(answers("transform"))
    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit, then transform the same table: ``fit(X, y).transform(X)``.

        Parameters
        ----------
        X, y : lazy or array-like
            As in ``fit``.
        **fit_params : dict
            As in ``fit``.

        Returns
        -------
        X_new : dask DataFrame or array
            Lazy if X is lazy.
        """
        return self._fit_and_answer("transform", X, y, fit_params)

    @available_if(answers("fit_predict"))
    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit, then predict the same table: ``fit(X, y).predict(X)``.

        Parameters
        ----------
        X, y : lazy or array-like
            As in ``fit``.
        **fit_params : dict
            As in ``fit``.

        Returns
        -------
        prediction : dask Series or array
            Lazy if X is lazy.
        """
        return self._fit_and_answer("predict", X, y, fit_params)

    def _learn_outputs(
        self, features: Any, target: Any, named: bool, rows: Any
    ) -> None:
        """Keep the contract and the schemas of the responses, after a fit."""
        is_table = isinstance(features, pd.DataFrame)
        self._contract = (
            Contract.learn(features, named=named, target=target) if is_table else None
        )
        targets = () if self._contract is None else self._contract.targets
        self._schemas = learn_schemas(self._response_estimator, rows, targets)

    def _forget_outputs(self) -> None:
        """Drop what an earlier lazy fit has learnt, after a fit in memory."""
        self._contract, self._schemas = None, {}


class MetaEstimator(LazyEstimatorMixin, MetaEstimatorMixin, BaseEstimator):
    """A wrapper of one scikit-learn estimator; the fitted one is ``estimator_``."""

    estimator: Any
    estimator_: Any

    # The weights of `score` are the inner estimator's business, as a router sees it.
    __metadata_request__score = {"sample_weight": UNUSED}  # noqa: RUF012 - as scikit-learn

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let ``fit`` name ``sample_weight`` only where the estimator takes it."""
        super().__init_subclass__(**kwargs)
        method = cls.__dict__.get("fit")
        if inspect.isfunction(method):
            cls.fit = FitMethod(method, cls._trains_by())  # type: ignore[assignment,method-assign]

    @classmethod
    def _trains_by(cls) -> str:
        """Name the method of the inner estimator that ``fit`` calls."""
        return "partial_fit" if hasattr(cls, "partial_fit") else "fit"

    def get_metadata_routing(self) -> Any:
        """Say which metadata goes to which method of the inner estimator.

        Returns
        -------
        routing : MetadataRouter
            ``fit`` asks for what the method that trains the estimator has requested:
            ``partial_fit`` for ``Incremental``, else ``fit``.
        """
        mapping = MethodMapping().add(caller="fit", callee=self._trains_by())
        if self._trains_by() == "partial_fit":
            mapping.add(caller="partial_fit", callee="partial_fit")
        known = {response.name for response in RESPONSES} - {"score_samples"}
        for name in ("score", *sorted(known)):
            mapping.add(caller=name, callee=name)
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def _routed(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Refuse metadata that the inner estimator has not asked for.

        scikit-learn does so where its metadata routing is enabled, and only there.
        """
        given = {name: value for name, value in params.items() if value is not None}
        if not given or not get_config()["enable_metadata_routing"]:
            return params
        callee = method if method == "score" else self._trains_by()
        routed: dict[str, Any] = process_routing(self, method, **given).estimator
        return dict(routed[callee])

    @property
    def _response_estimator(self) -> Any:
        return self.__dict__.get("estimator_", self.estimator)

    def __getattr__(self, name: str) -> Any:
        """Show what the fitted estimator has learnt, such as ``coef_``."""
        learnt = name.endswith("_") and not name.startswith("_")
        if learnt and name != "estimator_":
            fitted = self._learnt_from()
            if fitted is not None:
                return getattr(fitted, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def _learnt_from(self) -> Any:
        return self.__dict__.get("estimator_")

    def __sklearn_is_fitted__(self) -> bool:
        return "estimator_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        return copy.deepcopy(get_tags(self.estimator))

    @available_if(answers("get_feature_names_out"))
    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Name the columns of ``transform``, as the fitted estimator does.

        Parameters
        ----------
        input_features : array-like of str, optional
            As in scikit-learn.

        Returns
        -------
        names : ndarray of str
            Names of the output columns.
        """
        return self._response_estimator.get_feature_names_out(input_features)

    @available_if(answers("set_output"))
    def set_output(self, *, transform: Any = None) -> Any:
        """Choose the kind of frame that ``transform`` returns in memory.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            As in scikit-learn. Lazy results are dask objects all the same.

        Returns
        -------
        self : estimator
            The estimator inside, and the fitted one, are set.
        """
        for estimator in (self.estimator, self.__dict__.get("estimator_")):
            if estimator is not None:
                estimator.set_output(transform=transform)
        return self

    def _reject_lazy(self, where: str, X: Any, hint: str) -> None:
        if _frames.is_lazy(X):
            raise InputTypeError.expecting(
                where, "in-memory data", _frames.describe(X), hint
            )
