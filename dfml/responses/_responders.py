"""A response method made ready for partitions: checked columns, known output.

Everything that must be known before a lazy answer can be promised is found out
here, from what ``fit`` has learnt or from the fitted estimator itself.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from dask.dataframe.utils import make_meta
from joblib import parallel_config
from pandas.api.types import is_object_dtype
from sklearn import config_context, get_config
from sklearn.base import is_regressor
from sklearn.utils.validation import _num_samples

from dfml._schema import (
    Contract,
    OutputSchema,
    array_dtype,
    kind_of,
    listed,
    times_of,
)
from dfml._threads import limit_threads, threads_per_task
from dfml.arrays._announced_kinds import announced_kinds, with_times
from dfml.arrays._blocks import conform, label_result, pack_features
from dfml.exceptions import ColumnMismatchError, UnknownOutputError
from dfml.responses._learnt_columns import (
    example_rows,
    learnt_kinds,
    with_known_missing,
)
from dfml.responses._methods import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from dfml._schema import Kind

__all__ = ["Responder", "call", "learn_schemas", "make_responder"]

_BY_NAME = {response.name: response for response in RESPONSES}


def call(
    estimator: Any, name: str, X: Any, config: dict[str, Any], params: dict[str, Any]
) -> Any:
    """Call a response method inside a task, as the caller would have called it.

    scikit-learn keeps its configuration per thread, so the caller's is entered
    anew. Partitions are the parallelism: ``n_jobs`` inside them is switched off, and
    BLAS and OpenMP share the cores.
    """
    config = {**config, "transform_output": "default"}
    if name != "inverse_transform":
        X = with_known_missing(estimator, X)
    with (
        config_context(**config),
        parallel_config(backend="sequential"),
        limit_threads(threads_per_task()),
    ):
        result = getattr(estimator, name)(X, **params)
    _check_length(estimator, name, X, result)
    return result.to_pandas() if hasattr(result, "to_pandas") else result


def _check_length(estimator: Any, name: str, X: Any, result: Any) -> None:
    """Refuse more or fewer answers than rows: they would be those of other rows."""
    first = result[0] if isinstance(result, list) and result else result
    n_answers, n_rows = _num_samples(first), _num_samples(X)
    if n_answers != n_rows:
        raise UnknownOutputError.expecting(
            f"{type(estimator).__name__}.{name}",
            f"to give an answer for each of {n_rows} rows",
            f"{n_answers} answers",
            "let the estimator answer row by row",
        )


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
    kinds : tuple or None
        What the table has announced of these features; None for a Series.
    times : mapping or None
        The units and zones of those that are times, as the model has seen them.
    """

    estimator: Any
    name: str
    schema: OutputSchema
    columns: list[Hashable] | None
    dtype: Any
    named: bool
    config: dict[str, Any]
    params: dict[str, Any]
    kinds: Sequence[Kind | None] | None = None
    times: Mapping[Hashable, str] | None = None

    def __call__(self, partition: Any) -> Any:
        """Answer for one pandas partition, with exactly the schema announced."""
        if len(partition) == 0:
            return self.schema.meta(partition.index)
        X = pack_features(
            partition, self.dtype, self.kinds, times=self.times, named=self.named
        )
        return self.answer(X, partition.index)

    def answer(self, X: Any, index: Any) -> Any:
        """Answer for packed rows, at least one, with exactly the schema announced."""
        result = call(self.estimator, self.name, X, self.config, self.params)
        return conform(label_result(result, index, self.schema.names), self.schema)


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
    is_frame = isinstance(features, pd.DataFrame)
    texts: set[Hashable] = set()
    if is_frame and columns is not None and owner._contract is not None:
        features = with_times(features, owner._contract.times)
        texts = owner._contract.texts
    params = how.get("params") or {}
    named = how.get("named", True) and knows_names(owner)
    return Responder(
        estimator=owner._response_estimator,
        name=name,
        schema=_schema_for(owner, where, name, features, meta, params),
        columns=columns,
        dtype=array_dtype(features) if is_frame else None,
        named=named,
        config=get_config(),
        params=params,
        kinds=announced_kinds(features, texts) if is_frame else None,
        times=times_of(features) if is_frame else None,
    )


def _feature_columns(
    owner: Any, where: str, name: str, meta: Any
) -> list[Hashable] | None:
    """Take the columns of the contract, or complain before any task runs."""
    if name == "inverse_transform":
        return None
    contract = contract_of(owner)
    if isinstance(meta, pd.Series):
        _check_takes_series(owner, where, meta, contract)
        return None
    if contract is not None:
        columns = contract.check(where, meta)
        if contract.kinds is None:
            _check_learnt_kinds(owner._response_estimator, where, meta[columns])
        return columns
    expected = getattr(owner._response_estimator, "n_features_in_", None)
    if expected is not None and expected != len(meta.columns):
        raise ColumnMismatchError.expecting(
            where,
            f"{expected} features, as the model knows no column names",
            f"{len(meta.columns)} columns: {listed(meta.columns)}",
            "pass a table of just the feature columns, in their order",
        )
    return None


def _check_learnt_kinds(estimator: Any, where: str, meta: pd.DataFrame) -> None:
    """Refuse columns of other kinds than encoders have learnt.

    To them it would be an unknown category, which many of them pass over.
    """
    learnt = learnt_kinds(estimator, list(meta.columns))
    kinds = {name: kind_of(dtype) for name, dtype in meta.dtypes.items()}
    for name, kind in learnt.items():
        is_open = kind != "number" and is_object_dtype(meta.dtypes[name])
        kinds[name] = kinds[name] if is_open else kind
    Contract(tuple(kinds), tuple(kinds.values())).check(where, meta)


def _check_takes_series(
    owner: Any, where: str, meta: Any, contract: Contract | None
) -> None:
    """Refuse a Series where the model was fitted on columns."""
    expected = getattr(owner._response_estimator, "n_features_in_", None)
    if contract is None and expected is None:
        return  # made for one column of texts, as vectorizers are
    names = None if contract is None else listed(contract.names)
    raise ColumnMismatchError.expecting(
        where,
        f"a DataFrame with {names or f'{expected} features'}",
        f"a Series, {meta.name!r}",
        f"select columns as a frame, ddf[[{meta.name!r}]]",
    )


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
    owner: Any,
    where: str,
    name: str,
    features: Any,
    meta: Any,
    params: dict[str, Any],
) -> OutputSchema:
    if meta is not None:
        return OutputSchema.of(make_meta(meta))
    if not params and name in owner._schemas:
        return cast("OutputSchema", owner._schemas[name])
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
    """Ask the estimator about two rows that are made up."""
    if not isinstance(meta, pd.DataFrame):
        return None
    estimator, dtype = owner._response_estimator, array_dtype(meta)
    if dtype is None:
        rows: Any = example_rows(estimator, meta)
        if rows is None:
            return None
        return probe(estimator, name, rows, targets, params, infer=True)
    ones = np.ones((2, len(meta.columns)), dtype=dtype)
    rows = pd.DataFrame(ones, columns=meta.columns) if knows_names(owner) else ones
    return probe(estimator, name, rows, targets, params)


def probe(
    estimator: Any,
    name: str,
    rows: Any,
    targets: Sequence[Hashable],
    params: dict[str, Any] | None = None,
    *,
    infer: bool = False,
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
    infer : bool, default=False
        Whether a column of objects, as text and numbers in one array are, gets the type
        of its values; only for rows without a missing value.

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
        labelled = label_result(result, index, names)
        return OutputSchema.of(labelled.infer_objects() if infer else labelled)
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
    if name == "predict" and is_regressor(estimator):
        return OutputSchema(("prediction",), ("float64",), is_series=True)
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
