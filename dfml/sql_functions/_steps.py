"""Transformers as SQL: columns in, columns out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfml.exceptions import EstimatorTypeError
from dfml.responses._learnt_columns import plain, selected
from dfml.sql_functions._text import number, text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dfml.sql_functions._text import Query

__all__ = ["transform"]


def transform(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    """Add the columns that a fitted transformer makes, and return their names.

    Raises
    ------
    EstimatorTypeError
        If the transformer, or the way it was set up, has no SQL here.
    """
    step = plain(step)
    name = type(step).__name__ if _is_sklearn(step) else ""
    if name not in _STEPS:
        raise refusal(f"a step of {', '.join(_STEPS)}", step)
    return _STEPS[name](step, columns, query)


def refusal(expected: str, got: Any) -> EstimatorTypeError:
    """Make the error for a model, or a part of one, that has no SQL."""
    return EstimatorTypeError.expecting(
        "export_sql", expected, str(got), "use register or predict_sql for any model"
    )


def _is_sklearn(estimator: Any) -> bool:
    return type(estimator).__module__.startswith("sklearn.")


def _pipeline(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    for _, each in step.steps:
        if each not in (None, "passthrough"):
            columns = transform(each, columns, query)
    return list(columns)


def _columns(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    names = list(getattr(step, "feature_names_in_", range(len(columns))))
    of_name = dict(zip(names, columns, strict=True))
    made: list[str] = []
    for _, each, chosen in step.transformers_:
        inputs = [of_name[name] for name in selected(chosen, names)]
        if each == "passthrough":
            made += inputs
        elif each != "drop" and inputs:
            made += transform(each, inputs, query)
    return made


def _identity(step: Any, columns: Sequence[str], _: Query) -> list[str]:
    if step.func is not None:
        raise refusal("steps without functions of Python", step)
    return list(columns)


# Scalers: the same operations in the same order, so the same bits


def _standard(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    return _moved(
        columns,
        query,
        [("-", step.mean_ if step.with_mean else None), ("/", step.scale_)],
    )


def _robust(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    return _moved(columns, query, [("-", step.center_), ("/", step.scale_)])


def _min_max(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    made = _moved(columns, query, [("*", step.scale_), ("+", step.min_)])
    return _clipped(made, query, *step.feature_range) if step.clip else made


def _max_abs(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    made = _moved(columns, query, [("/", step.scale_)])
    return _clipped(made, query, -1, 1) if getattr(step, "clip", False) else made


def _moved(
    columns: Sequence[str], query: Query, operations: list[tuple[str, Any]]
) -> list[str]:
    made = list(columns)
    for sign, values in operations:
        if values is not None:
            made = [
                f"({column} {sign} {number(value)})"
                for column, value in zip(made, values, strict=True)
            ]
    return query.add(made)


def _clipped(columns: Sequence[str], query: Query, low: Any, high: Any) -> list[str]:
    low, high = number(low), number(high)
    return query.add(
        [
            f"CASE WHEN {column} < {low} THEN {low} "
            f"WHEN {column} > {high} THEN {high} ELSE {column} END"
            for column in columns
        ]
    )


# Values: imputers and encoders


def _imputed(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    missing = step.missing_values
    is_missing_nan = isinstance(missing, float) and np.isnan(missing)
    is_empty = any(pd.isna(value) for value in step.statistics_)
    if not is_missing_nan or step.add_indicator or is_empty:
        raise refusal("imputers of NaN, without indicators and empty columns", step)
    return query.add(
        [
            f"coalesce({column}, {_literal(value)})"
            for column, value in zip(columns, step.statistics_, strict=True)
        ]
    )


def _one_hot(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    if getattr(step, "_infrequent_enabled", False):
        raise refusal("encoders without infrequent categories", step)
    made = []
    for i, (column, known) in enumerate(zip(columns, step.categories_, strict=True)):
        if step.handle_unknown == "error":
            _refuse_unknown(column, known, query)
        dropped = None if step.drop_idx_ is None else step.drop_idx_[i]
        made += [
            f"CASE WHEN {condition} THEN 1e0 ELSE 0e0 END"
            for j, condition in enumerate(_conditions(column, known))
            if j != dropped
        ]
    return query.add(made)


def _ordinal(step: Any, columns: Sequence[str], query: Query) -> list[str]:
    if getattr(step, "_infrequent_enabled", False):
        raise refusal("encoders without infrequent categories", step)
    made = []
    for column, known in zip(columns, step.categories_, strict=True):
        if step.handle_unknown == "error":
            _refuse_unknown(column, known, query)
            unknown = "NULL"
        else:
            unknown = _literal(step.unknown_value)
        # None is a category like others: only NaN has a code of its own.
        codes = [
            step.encoded_missing_value if value != value else code
            for code, value in enumerate(known)
        ]
        cases = " ".join(
            f"WHEN {condition} THEN {_literal(code)}"
            for condition, code in zip(_conditions(column, known), codes, strict=True)
        )
        made.append(f"CASE {cases} ELSE {unknown} END")
    return query.add(made)


def _refuse_unknown(column: str, known: Sequence[Any], query: Query) -> None:
    query.refuse_unless(f"({' OR '.join(_conditions(column, known))})", column)


def _conditions(column: str, known: Sequence[Any]) -> list[str]:
    """Write when a column has each of the values that are known.

    NULL is NaN where that is known, and else None.
    """
    conditions = [
        "FALSE" if pd.isna(value) else f"{column} = {_literal(value)}"
        for value in known
    ]
    missing = [i for i, value in enumerate(known) if pd.isna(value)]
    if missing:  # where both are known, NaN is the last
        conditions[missing[-1]] = f"{column} IS NULL"
    return conditions


def _literal(value: Any) -> str:
    """Write a category: text or a number, which are all that columns hold here."""
    if isinstance(value, str):
        return text(value)
    if not isinstance(value, (bool, int, float, np.bool_, np.number)):
        raise refusal("categories that are text or numbers", repr(value))
    return "NULL" if value != value else number(value)


_STEPS: dict[str, Callable[[Any, Sequence[str], Query], list[str]]] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _columns,
    "FunctionTransformer": _identity,
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "SimpleImputer": _imputed,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
}
