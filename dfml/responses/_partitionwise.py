"""The mixin that gives an estimator its response methods, in memory and lazily."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask
import dask.dataframe as dd
import numpy as np
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from dfml import _frames
from dfml.responses._methods import RESPONSES, Response
from dfml.responses._responders import Responder, make_responder

if TYPE_CHECKING:
    from dfml._schema import Contract, OutputSchema

__all__ = ["PartitionwiseMixin"]


def _answer_partition(
    partition: Any, responder: Responder, partition_info: dict[str, Any] | None = None
) -> Any:
    try:
        return responder(partition)
    except Exception as err:
        number = "?" if partition_info is None else partition_info["number"]
        err.add_note(f"dfml: in partition {number} of {responder.name}.")
        raise


def respond(
    owner: PartitionwiseMixin, name: str, X: Any, meta: Any, params: dict[str, Any]
) -> Any:
    """Answer a call of a response method: eagerly in memory, lazily otherwise.

    Parameters
    ----------
    owner : estimator of dfml
        It knows the fitted estimator, the contract and the schemas.
    name : str
        Name of the response method.
    X : array-like or lazy
        The rows.
    meta : pandas object, optional
        Overrides what is known of the lazy result.
    params : dict
        Further arguments of the method.

    Returns
    -------
    result : array, dask Series, DataFrame or Array
        The estimator's own result for in-memory input.
    """
    if not _frames.is_lazy(X):
        owner._check_ready()
        return getattr(owner._response_estimator, name)(X, **params)
    check_is_fitted(owner)
    where = f"{type(owner).__name__}.{name}"
    frame = _frames.as_frame(where, X)
    named = not _frames.is_array(X)
    responder = make_responder(
        owner, where, name, frame._meta, meta=meta, named=named, params=params
    )
    if not named:
        responder = replace(responder, schema=responder.schema.for_arrays())
    result = dd.map_partitions(
        _answer_partition,
        frame if responder.columns is None else frame[responder.columns],
        # One key in the graph, however many partitions there are.
        dask.delayed(responder, pure=True, traverse=False),
        meta=responder.schema.meta(frame._meta.index),
        enforce_metadata=False,
        token=name.replace("_", "-"),
    )
    return result if named else _as_array(result, X)


def _as_array(result: Any, X: Any) -> Any:
    known = not any(np.isnan(X.chunks[0]))
    return result.to_dask_array(lengths=X.chunks[0] if known else None)


class PartitionwiseMixin:
    """Response methods for in-memory and lazy input, and what they rest on.

    A class that uses the mixin says with ``_response_estimator`` which in-memory
    fitted estimator sees each partition, and sets ``_contract`` and ``_schemas``
    in ``fit``.
    """

    _contract: Contract | None = None
    _schemas: dict[str, OutputSchema] = {}  # noqa: RUF012 - replaced, never changed

    def _check_ready(self) -> None:
        """Refuse in-memory calls before ``fit``."""
        check_is_fitted(self)

    if TYPE_CHECKING:

        @property
        def _response_estimator(self) -> Any: ...

        def predict(self, X: Any, *, meta: Any = None, **params: Any) -> Any: ...
        def predict_proba(self, X: Any, *, meta: Any = None, **params: Any) -> Any: ...
        def predict_log_proba(
            self, X: Any, *, meta: Any = None, **params: Any
        ) -> Any: ...
        def decision_function(
            self, X: Any, *, meta: Any = None, **params: Any
        ) -> Any: ...
        def score_samples(self, X: Any, *, meta: Any = None, **params: Any) -> Any: ...
        def transform(self, X: Any, *, meta: Any = None, **params: Any) -> Any: ...
        def inverse_transform(
            self, X: Any, *, meta: Any = None, **params: Any
        ) -> Any: ...


_DOC = """{summary}

        Lazy input gives a lazy result: nothing is computed now, and each partition is
        answered by itself when the result is. Columns are taken by name, so X may be
        wider or in another order than in ``fit``.

        Parameters
        ----------
        X : dask DataFrame or Array, DuckDB relation or array-like
            The rows, of shape (n_samples, n_features). A relation is run now and
            spilled to disk (see :func:`dfml.read_sql`).
        meta : pandas Series or DataFrame, optional
            Empty object like the lazy result, where dfml cannot know it.
        **params : dict
            Further arguments of the estimator's own method.

        Returns
        -------
        result : {returns}
            With the index and the partitions of X; a dask Array for an Array; what
            the estimator returns for in-memory input. Lazily, sparse results become
            dense columns.

        Raises
        ------
        ColumnMismatchError
            If lazy X lacks columns of ``fit``, or has them with another kind.
        """


def _make_method(response: Response) -> Any:
    name = response.name

    def method(
        self: PartitionwiseMixin, X: Any, *, meta: Any = None, **params: Any
    ) -> Any:
        return respond(self, name, X, meta, params)

    def has_it(self: PartitionwiseMixin) -> bool:
        getattr(self._response_estimator, name)
        return True

    method.__name__ = name
    method.__qualname__ = f"{PartitionwiseMixin.__name__}.{name}"
    method.__doc__ = _DOC.format(summary=response.summary, returns=response.returns)
    return available_if(has_it)(method)


for _response in RESPONSES:
    setattr(PartitionwiseMixin, _response.name, _make_method(_response))
    # `meta` is no metadata in the sense of scikit-learn's routing, which knows these
    # methods but for score_samples, and would take its name for that of `score`.
    if _response.name != "score_samples":
        _request = f"__metadata_request__{_response.name}"
        setattr(PartitionwiseMixin, _request, {"meta": UNUSED})
