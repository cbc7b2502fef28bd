"""The response methods: one table, one way to answer, one mixin made from them.

A response method is one that a fitted estimator has, such as ``predict``. On
in-memory input it is the estimator's own; on lazy input it maps over partitions.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from joblib import parallel_config
from sklearn import config_context, get_config
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from dfml import _frames
from dfml._arrays import conform, label_result, pack_features
from dfml._schema import Contract, OutputSchema, array_dtype
from dfml.exceptions import ColumnMismatchError, UnknownOutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = [
    "RESPONSES",
    "PartitionwiseMixin",
    "Responder",
    "Response",
    "learn_schemas",
    "make_responder",
    "respond",
]


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
            of_each = zip(names, classes or [], strict=True)
            return [
                f"{prefix}_{name}_{c}" for name, several in of_each for c in several
            ]
        if len(result.shape) == 1:
            return [prefix]
        known = classes is not None and len(classes) == _width(result)
        labels: Any = classes if known else range(_width(result))
        return [f"{prefix}_{label}" for label in labels]

    return columns


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

_BY_NAME = {response.name: response for response in RESPONSES}


def call(
    estimator: Any, name: str, X: Any, config: dict[str, Any], params: dict[str, Any]
) -> Any:
    """Call a response method inside a task, as the caller would have called it.

    scikit-learn keeps its configuration per thread, so the caller's is entered
    anew. Partitions are the parallelism: ``n_jobs`` inside them is switched off.
    """
    config = {**config, "transform_output": "default"}
    with config_context(**config), parallel_config(backend="sequential"):
        result = getattr(estimator, name)(X, **params)
    return result.to_pandas() if hasattr(result, "to_pandas") else result


@dataclass(frozen=True)
class Responder:
    """A response method ready to answer partitions; it pickles, and ships once.

    Parameters
    ----------
    estimator : estimator
        Fitted, of scikit-learn.
    name : str
        The response method.
    schema : OutputSchema
        What every partition's answer looks like, empty ones included.
    columns : list or None
        Features to take from a frame, in order; None takes all.
    dtype : numpy dtype or None
        One array of this dtype a partition; None keeps the frame.
    named : bool
        False if the estimator knows no feature names.
    config : dict
        scikit-learn's configuration where the response was asked for.
    params : dict
        Further arguments of the method.
    """

    estimator: Any
    name: str
    schema: OutputSchema
    columns: list[Hashable] | None
    dtype: Any
    named: bool
    config: dict[str, Any]
    params: dict[str, Any]

    def __call__(self, partition: Any) -> Any:
        """Answer for one pandas partition, with exactly the schema announced."""
        if len(partition) == 0:
            return self.schema.meta(partition.index)
        X = pack_features(partition, self.dtype, named=self.named)
        result = call(self.estimator, self.name, X, self.config, self.params)
        labelled = label_result(result, partition.index, self.schema.names)
        return conform(labelled, self.schema)


def make_responder(
    owner: Any, where: str, name: str, frame_meta: Any, *, meta: Any = None, **how: Any
) -> Responder:
    """Check a frame's meta against the contract and fix the schema of the answer.

    Parameters
    ----------
    owner : estimator of dfml
        Fitted.
    where : str
        The call, for messages.
    name : str
        The response method.
    frame_meta : pandas DataFrame or Series
        Empty, with the dtypes of the rows to come.
    meta : pandas object, optional
        Overrides what is known of the result.
    **how : dict
        ``named=False`` for rows that come as bare arrays; ``params``.

    Returns
    -------
    responder : Responder
        Nothing was computed but the answer to at most two made-up rows.
    """
    columns = _feature_columns(owner, where, name, frame_meta)
    features = frame_meta if columns is None else frame_meta[columns]
    params = how.get("params") or {}
    named = how.get("named", True) and knows_names(owner)
    return Responder(
        estimator=owner._response_estimator,
        name=name,
        schema=_schema_for(owner, where, name, features, meta, params),
        columns=columns,
        dtype=array_dtype(features) if isinstance(features, pd.DataFrame) else None,
        named=named,
        config=get_config(),
        params=params,
    )


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


def _feature_columns(
    owner: PartitionwiseMixin, where: str, name: str, meta: Any
) -> list[Hashable] | None:
    """Take the columns of the contract, or complain before any task runs."""
    if name == "inverse_transform" or not isinstance(meta, pd.DataFrame):
        return None
    contract = contract_of(owner)
    if contract is not None:
        return contract.check(where, meta)
    expected = getattr(owner._response_estimator, "n_features_in_", None)
    if expected is not None and expected != len(meta.columns):
        raise ColumnMismatchError.expecting(
            where,
            f"{expected} features, as the model knows no column names",
            f"{len(meta.columns)} columns: {list(meta.columns)[:10]}",
            "select the feature columns in their order, ddf[names]",
        )
    return None


def knows_names(owner: Any) -> bool:
    """Tell whether a model was fitted with feature names; frames then keep them.

    One that was fitted on arrays would warn about names in every partition.
    """
    if owner._contract is not None:
        return bool(owner._contract.named)
    estimator = owner._response_estimator
    has_names = hasattr(estimator, "feature_names_in_")
    return has_names or not hasattr(estimator, "n_features_in_")


def contract_of(owner: Any) -> Contract | None:
    """Get what ``fit`` has learnt, or the names that a model fitted elsewhere has."""
    if owner._contract is not None:
        return cast("Contract", owner._contract)
    names = getattr(owner._response_estimator, "feature_names_in_", None)
    return None if names is None else Contract(tuple(str(name) for name in names))


def _schema_for(
    owner: PartitionwiseMixin,
    where: str,
    name: str,
    features: Any,
    meta: Any,
    params: dict[str, Any],
) -> OutputSchema:
    if meta is not None:
        return OutputSchema.of(dd.utils.make_meta(meta))
    if not params and name in owner._schemas:
        return owner._schemas[name]
    targets = () if owner._contract is None else owner._contract.targets
    schema = _schema_from_probe(
        owner, name, features, targets, params
    ) or _schema_from_attributes(owner._response_estimator, name)
    if schema is None:
        raise UnknownOutputError.expecting(
            where,
            "to know the columns of its result before it is computed",
            f"a {type(owner._response_estimator).__name__} fitted elsewhere",
            "pass meta=, an empty pandas Series or DataFrame like the result",
        )
    return schema


def _schema_from_probe(
    owner: Any,
    name: str,
    meta: Any,
    targets: Sequence[Hashable],
    params: dict[str, Any],
) -> OutputSchema | None:
    """Ask the estimator about two rows of ones; text columns cannot be made up."""
    dtype = array_dtype(meta) if isinstance(meta, pd.DataFrame) else None
    if dtype is None:
        return None
    ones = np.ones((2, len(meta.columns)), dtype=dtype)
    rows = pd.DataFrame(ones, columns=meta.columns) if knows_names(owner) else ones
    return probe(owner._response_estimator, name, rows, targets, params)


def probe(
    estimator: Any,
    name: str,
    rows: Any,
    targets: Sequence[Hashable],
    params: dict[str, Any] | None = None,
) -> OutputSchema | None:
    """Read the schema of a response off its answer to a few rows.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    name : str
        Name of the response method.
    rows : DataFrame or array
        Two rows that the estimator should take.
    targets : sequence
        Names of the target columns.
    params : dict, optional
        Further arguments of the method.

    Returns
    -------
    schema : OutputSchema or None
        None if the estimator refuses the rows; a lazy call will then say why.
    """
    response = _BY_NAME[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = call(estimator, name, rows, get_config(), params or {})
            names = response.columns(estimator, result, targets)
        index = pd.RangeIndex(len(rows))
        return OutputSchema.of(label_result(result, index, names))
    except Exception:  # noqa: BLE001 - any refusal of the rows means "not known"
        return None


def _schema_from_attributes(estimator: Any, name: str) -> OutputSchema | None:
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, np.ndarray):
        if name == "predict":
            dtype = str(pd.Series(classes).dtype)
            return OutputSchema(("prediction",), (dtype,), is_series=True)
        if name in ("predict_proba", "predict_log_proba"):
            prefix = name.removeprefix("predict_").replace("proba", "probability")
            names = tuple(f"{prefix}_{c}" for c in classes)
            return OutputSchema(names, ("float64",) * len(names), is_series=False)
        if name == "decision_function":
            several = len(classes) > 2
            names = (
                tuple(f"decision_{c}" for c in classes) if several else ("decision",)
            )
            return OutputSchema(names, ("float64",) * len(names), not several)
    if name == "transform" and hasattr(estimator, "get_feature_names_out"):
        names = tuple(str(n) for n in estimator.get_feature_names_out())
        return OutputSchema(names, ("float64",) * len(names), is_series=False)
    return None


def learn_schemas(
    estimator: Any, rows: Any, targets: Sequence[Hashable]
) -> dict[str, OutputSchema]:
    """Call each response method on a few training rows and keep what came back.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    rows : DataFrame or array
        Two training rows, as the estimator was given them.
    targets : sequence
        Names of the target columns.

    Returns
    -------
    schemas : dict
        By method name, for those methods that the estimator has.
    """
    schemas = {}
    for response in RESPONSES:
        if response.name == "inverse_transform" or not hasattr(
            estimator, response.name
        ):
            continue
        schema = probe(estimator, response.name, rows, targets)
        if schema is not None:
            schemas[response.name] = schema
    return schemas


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
    # `meta` is no metadata in the sense of scikit-learn's routing.
    _request = f"__metadata_request__{_response.name}"
    setattr(PartitionwiseMixin, _request, {"meta": UNUSED})
