"""What a model asks of a row: the fields by name, and the SQL type of each."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.utils.validation import check_is_fitted

from dfml._responders import contract_of
from dfml.estimators import ParallelPostFit
from dfml.exceptions import ColumnMismatchError
from dfml.sources._columns import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dfml._schema import Contract

__all__ = [
    "ARROW_OF",
    "as_owner",
    "field_types",
    "fields_with_none",
    "first_steps",
    "free_name",
    "is_text",
    "plain",
    "selected",
]

# Kind of the contract -> what SQL casts the field to. Within a kind, dtypes are free.
_SQL_OF = {
    "number": "DOUBLE",
    "text": "VARCHAR",
    "time": "TIMESTAMP",
    "time with zone": "TIMESTAMP WITH TIME ZONE",
}
ARROW_OF = {
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
}


def as_owner(where: str, model: Any) -> Any:
    """Return the model as an estimator of dfml that knows the kinds of its fields.

    Raises
    ------
    NotFittedError
        If the model is not fitted; a TypeError if it is no estimator at all.
    ColumnMismatchError
        If the model was fitted without column names.
    """
    owner = model if hasattr(model, "_response_estimator") else ParallelPostFit(model)
    contract = contract_of(owner)
    if contract is None:
        check_is_fitted(owner._response_estimator)
    if contract is None or not contract.named:
        raise ColumnMismatchError.expecting(
            where,
            "a model that was fitted with column names",
            f"a {type(owner._response_estimator).__name__} fitted on bare arrays",
            "fit it on a table, so that SQL can pass its columns by name",
        )
    _check_names(where, contract)
    if contract.kinds is None:
        estimator = owner._response_estimator
        owner = ParallelPostFit(estimator)
        rows = _example_rows(contract, estimator)
        owner._learn_outputs(rows.iloc[:0], contract.target, True, rows)
    return owner


def field_types(where: str, owner: Any) -> dict[str, str]:
    """Return the fields in the order of the model, and the SQL type of each."""
    contract = owner._contract
    kinds = dict(zip(contract.names, contract.kinds, strict=True))
    refused = [f"{n!r} is a {kind}" for n, kind in kinds.items() if kind not in _SQL_OF]
    if refused:
        raise ColumnMismatchError.expecting(
            where,
            f"a model whose columns are of the kinds {', '.join(_SQL_OF)}",
            "; ".join(refused),
            "train on numbers instead, for example seconds",
        )
    return {name: _SQL_OF[kind] for name, kind in kinds.items()}


def _check_names(where: str, contract: Contract) -> None:
    counts = Counter(folded(str(name)) for name in contract.names)
    wrong = [
        name
        for name in contract.names
        if not (name and is_text(name)) or counts[folded(name)] > 1
    ]
    if wrong:
        raise ColumnMismatchError.expecting(
            where,
            "column names that SQL can tell apart: text, different whatever its case",
            repr(wrong[:10]),
            "rename the columns and train again",
        )


def _example_rows(contract: Contract, estimator: Any) -> pd.DataFrame:
    """Make two rows that the model should take: ones, or a value it has learnt."""
    known = dict(_known_values(estimator, list(contract.names)))
    return pd.DataFrame({name: _twice(known.get(name, 1.0)) for name in contract.names})


def _twice(value: Any) -> pd.Series[Any]:
    return pd.Series([value] * 2, dtype="str" if isinstance(value, str) else None)


def _known_values(estimator: Any, names: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Find the columns of text and times of a model that was fitted elsewhere.

    Only the names of the columns are kept by scikit-learn, so the kind is asked of the
    steps that take other things than numbers: encoders and imputers by the values they
    have learnt, and vectorizers by their vocabulary. Yields a value for each column.
    """
    for step, columns in first_steps(estimator, names):
        if hasattr(step, "vocabulary_"):
            yield from ((name, "text") for name in columns)
        learnt = getattr(step, "categories_", getattr(step, "statistics_", ()))
        if len(learnt) == len(columns):
            for name, values in zip(columns, learnt, strict=True):
                kinds = (str, np.datetime64, datetime)
                found = [v for v in np.atleast_1d(values) if isinstance(v, kinds)]
                if found:
                    yield name, str(found[0]) if isinstance(found[0], str) else found[0]


def fields_with_none(estimator: Any, names: list[Any]) -> Iterator[Any]:
    """Find the columns in which a model has seen None, and knows it as a category."""
    for step, columns in first_steps(estimator, names):
        learnt = getattr(step, "categories_", ())
        if len(learnt) == len(columns):
            for name, values in zip(columns, learnt, strict=True):
                if any(value is None for value in values):
                    yield name


def first_steps(estimator: Any, names: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """List the steps that see columns of the table, with the names of the columns.

    Imputers leave columns where they are, so the step behind one is listed too.
    """
    estimator = plain(estimator)
    if getattr(estimator, "steps", None):
        for _, step in estimator.steps:
            yield from first_steps(step, names)
            if not hasattr(plain(step), "statistics_") and step not in (
                None,
                "passthrough",
            ):
                return
    elif hasattr(estimator, "transformers_"):
        for _, step, columns in estimator.transformers_:
            yield from first_steps(step, selected(columns, names))
    elif getattr(estimator, "_preprocessor", None) is not None:
        # Boosted histograms encode their categories with one.
        yield from first_steps(estimator._preprocessor, names)
    else:
        yield estimator, names


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name that is not taken yet, whatever its case."""
    others = set(map(folded, taken))
    while folded(name) in others:
        name += "_"
    return name


def is_text(value: object) -> TypeGuard[str]:
    """Tell whether SQL takes a value as text: no zero character, no half of one."""
    return (
        isinstance(value, str)
        and "\0" not in value
        and not any("\ud800" <= each <= "\udfff" for each in value)
    )


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
