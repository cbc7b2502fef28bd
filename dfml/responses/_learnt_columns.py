"""What a fitted model has learnt about the columns of its table.

scikit-learn keeps the names of the columns and nothing else of the table, so the rest
is asked of the steps of the model that see these columns.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype
from sklearn.compose import ColumnTransformer

from dfml._schema import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dfml._schema import Kind

__all__ = [
    "example_rows",
    "first_steps",
    "learnt_kinds",
    "plain",
    "selected",
    "with_known_missing",
]


def example_rows(estimator: Any, meta: pd.DataFrame) -> pd.DataFrame | None:
    """Make two rows that a model should take: ones, or a value that it has learnt.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    meta : pandas DataFrame
        Its columns. One of Python objects, as in a frame made of names alone, is of
        text where the model has learnt text, and else of numbers.

    Returns
    -------
    rows : pandas DataFrame or None
        Two equal rows without a missing value; None if there are durations and the like
        of which the model has learnt no value.
    """
    known = dict(_known_values(estimator, list(meta.columns)))
    values = {}
    for name, dtype in meta.dtypes.items():
        is_open = is_object_dtype(dtype)
        kind = "number" if is_open else kind_of(dtype)
        if name in known:
            values[name] = _twice(known[name])
        elif isinstance(dtype, pd.CategoricalDtype) and len(dtype.categories):
            values[name] = pd.Series([dtype.categories[0]] * 2, dtype=dtype)
        elif kind in ("time", "time with zone"):
            values[name] = pd.Series(["2000-01-01"] * 2, dtype=dtype)
        elif kind == "text":
            values[name] = _twice("text")
        elif kind == "number":
            is_numpy = isinstance(dtype, np.dtype) and not is_open
            values[name] = _twice(dtype.type(1) if is_numpy else 1.0)
        else:
            return None
    return pd.DataFrame(values)


def _twice(value: Any) -> pd.Series[Any]:
    return pd.Series([value] * 2, dtype="str" if isinstance(value, str) else None)


def _known_values(estimator: Any, names: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Find the columns of text and times of a model that was fitted elsewhere.

    Only the names of the columns are kept by scikit-learn, so the kind is asked of the
    steps that take other things than numbers: encoders and imputers by the values they
    have learnt, and vectorizers by their vocabulary. Yields a value for each column.
    """
    steps = list(first_steps(estimator, names))
    used = {name for step, columns in steps if step != "drop" for name in columns}
    # Text takes whatever is in a column that nobody looks at.
    yield from ((name, "text") for name in names if name not in used)
    for step, columns in steps:
        if hasattr(step, "vocabulary_"):
            yield from ((name, "text") for name in columns)
        for name, values in _learnt(step, ("categories_", "statistics_"), columns):
            kinds = (str, np.datetime64, datetime)
            known = values if isinstance(values, np.ndarray) else [values]
            found = [value for value in known if isinstance(value, kinds)]
            if found:
                yield name, str(found[0]) if isinstance(found[0], str) else found[0]


def _learnt(
    step: Any, attributes: Sequence[str], columns: Sequence[Any]
) -> Iterator[tuple[Any, Any]]:
    """Yield what a step has learnt about each of its columns, if it has."""
    for attribute in attributes:
        learnt = getattr(step, attribute, None)
        # Others than scikit-learn may mean something else by these names.
        if isinstance(learnt, (list, np.ndarray)) and len(learnt) == len(columns):
            yield from zip(columns, learnt, strict=True)
            return


def _categories(step: Any, columns: Sequence[Any]) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield the categories of each column of an encoder."""
    for name, values in _learnt(step, ("categories_",), columns):
        if isinstance(values, np.ndarray):
            yield name, values


def learnt_kinds(estimator: Any, names: Sequence[Any]) -> dict[Any, Kind]:
    """Tell what the columns are to the encoders of a model.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    names : sequence
        Its columns.

    Returns
    -------
    kinds : dict
        Of the columns whose categories are all of one kind.
    """
    kinds: dict[Any, Kind] = {}
    for step, columns in first_steps(estimator, list(names)):
        for name, values in _categories(step, columns):
            found = {_kind_of_value(v) for v in values if v is not None and v == v}
            if len(found) == 1:
                kinds[name] = found.pop()
    return kinds


def _kind_of_value(value: Any) -> Kind:
    if isinstance(value, str):
        return "text"
    if isinstance(value, (np.datetime64, datetime)):
        return "time with zone" if getattr(value, "tzinfo", None) else "time"
    if isinstance(value, (np.timedelta64, timedelta)):
        return "duration"
    # Decimal and date objects among them: lazy tables have other types in their place.
    return "number" if isinstance(value, (int, float, np.number, np.bool_)) else "other"


def with_known_missing(estimator: Any, X: Any) -> Any:
    """Give missing values as None where a model has learnt that, and else as NaN.

    In memory, a column of Python objects can hold both, and encoders tell one from the
    other. Lazy tables and SQL have one kind of missing value.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : DataFrame or array
        Rows for it.

    Returns
    -------
    X : DataFrame or array
        The same object if nothing had to be changed. Where the model knows both, values
        are what they are.
    """
    if getattr(X, "ndim", 0) != 2:
        return X
    is_frame = isinstance(X, pd.DataFrame)
    names = list(X.columns) if is_frame else list(range(X.shape[1]))
    missing = dict(_known_missing(estimator, names))
    objects = [n for n, t in X.dtypes.items() if is_object_dtype(t)] if is_frame else []
    text = [n for n, t in X.dtypes.items() if kind_of(t) == "text"] if is_frame else []
    unseen = [name for name in text if name not in missing]
    if unseen and _knows_none_behind(estimator, names):
        missing |= {name: {None} for name in unseen}
    for name in dict.fromkeys([*objects, *missing]):
        known = missing.get(name, {np.nan})
        if name not in names or len(known) > 1:
            continue
        (value,) = known
        values = X[name] if is_frame else pd.Series(X[:, name])
        is_missing = values.isna()
        if value is not None and not is_missing.any():
            continue
        values = values.astype(object).mask(is_missing, value)
        if is_frame:
            X = X.copy(deep=False)
            X[name] = values
        else:
            X = X.astype(object)
            X[:, name] = values
    return X


def _known_missing(estimator: Any, names: list[Any]) -> Iterator[tuple[Any, set[Any]]]:
    """Find the columns in which a model knows None, and whether it knows NaN too."""
    for step, columns in first_steps(estimator, names):
        if getattr(step, "missing_values", np.nan) is None:
            yield from ((name, {None}) for name in columns)
        for name, values in _categories(step, columns):
            if any(value is None for value in values):
                # Where both are known, NaN is the last.
                has_nan = isinstance(values[-1], float) and np.isnan(values[-1])
                yield name, {None, np.nan} if has_nan else {None}


def _knows_none_behind(estimator: Any, names: list[Any]) -> bool:
    """Tell whether None is what encoders know that see columns changed before.

    Which of its columns were which of the table is lost there.
    """
    direct = {id(step) for step, _ in first_steps(estimator, names)}
    known = [
        value
        for step in _all_inside(estimator)
        if id(step) not in direct
        for values in getattr(step, "categories_", ())
        for value in values
    ]
    has_nan = any(isinstance(value, float) and np.isnan(value) for value in known)
    return any(value is None for value in known) and not has_nan


def _all_inside(estimator: Any) -> Iterator[Any]:
    """Walk through the estimators that an estimator keeps, itself among them."""
    pending, seen = [estimator], set()
    while pending:
        each = pending.pop()
        if isinstance(each, (list, tuple)):
            pending += each
        elif isinstance(each, dict):
            pending += each.values()
        elif hasattr(each, "get_params") and id(each) not in seen:
            seen.add(id(each))
            yield each
            pending += vars(each).values()


def first_steps(estimator: Any, names: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """List the steps that see columns of the table, with the names of the columns.

    Imputers leave columns where they are, so the step behind one is listed too.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    names : list
        Its columns.

    Yields
    ------
    step, columns : tuple
        A step may come as a text, ``"passthrough"``.
    """
    estimator = plain(estimator)
    inside = _steps_inside(estimator, names)
    if not inside:
        yield estimator, names
    for step, columns in inside:
        yield from first_steps(step, columns)


def _steps_inside(estimator: Any, names: list[Any]) -> list[tuple[Any, list[Any]]]:
    """List what is given columns by an estimator that leaves them as they are."""
    if isinstance(estimator, ColumnTransformer):
        return [
            (s, selected(columns, names)) for _, s, columns in estimator.transformers_
        ]
    return [(step, names) for step in _first_inside(estimator)]


def _first_inside(estimator: Any) -> list[Any]:
    """List the steps that are given all columns, as they are."""
    if getattr(estimator, "steps", None):
        return _start_of_pipeline(estimator)
    inside = getattr(estimator, "estimators_", None)
    if (
        isinstance(inside, list)
        and (
            hasattr(estimator, "named_estimators_")  # voting and stacking
            or any(
                map(_sees_columns, inside[:1])
            )  # one for each output, class or sample
        )
    ):
        return inside
    if hasattr(estimator, "transformer_list"):
        return [step for _, step in estimator.transformer_list]
    if hasattr(estimator, "calibrated_classifiers_"):
        return [each.estimator for each in estimator.calibrated_classifiers_]
    if _sees_columns(getattr(estimator, "estimator_", None)):
        return [estimator.estimator_]
    # Boosted histograms encode their categories with a preprocessor.
    kept = ("_preprocessor", "best_estimator_", "regressor_")
    found = (getattr(estimator, name, None) for name in kept)
    return [each for each in found if each is not None]


def _start_of_pipeline(pipeline: Any) -> list[Any]:
    """List the steps up to the first that does not leave columns where they are."""
    first: list[Any] = []
    for _, step in pipeline.steps:
        first.append(step)
        inner = plain(step)
        does_nothing = getattr(inner, "func", inner) in (None, "passthrough")
        if not does_nothing and not hasattr(inner, "statistics_"):
            break
    return first


def _sees_columns(estimator: Any) -> bool:
    """Tell whether a model has steps that may see columns of the table."""
    return any(hasattr(plain(estimator), each) for each in ("steps", "transformers_"))


def plain(estimator: Any) -> Any:
    """Return the scikit-learn estimator inside one of dfml; others as they are."""
    return getattr(estimator, "_response_estimator", estimator)


def selected(columns: Any, names: list[Any]) -> list[Any]:
    """Return the names that a ColumnTransformer's selection stands for."""
    if isinstance(columns, str):
        return [columns]
    index = pd.Index(names)
    if isinstance(columns, slice):
        by_name = isinstance(columns.start, str) or isinstance(columns.stop, str)
        at = index.slice_indexer(columns.start, columns.stop) if by_name else columns
        return list(index[at])
    chosen = np.atleast_1d(np.asarray(columns))
    by_position = chosen.dtype.kind in "iub"
    return list(index[chosen]) if by_position else list(columns)
