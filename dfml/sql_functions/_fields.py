"""What a model asks of a row: the fields by name, and the SQL type of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

import pandas as pd
import pyarrow as pa
from sklearn.utils.validation import check_is_fitted

from dfml._schema import IN_WORDS, kind_of
from dfml.estimators import ParallelPostFit, as_lazy
from dfml.exceptions import ColumnMismatchError
from dfml.responses._learnt_columns import example_rows, learnt_kinds
from dfml.responses._responders import contract_of
from dfml.sources._columns import folded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dfml._schema import Contract

__all__ = [
    "ARROW_OF",
    "as_owner",
    "field_types",
    "free_name",
    "is_text",
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
    EstimatorTypeError
        If it is no estimator.
    NotFittedError
        If it is not fitted.
    ColumnMismatchError
        If the model was fitted without column names.
    """
    owner = as_lazy(where, model)
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
        rows = example_rows(estimator, pd.DataFrame(columns=list(contract.names)))
        assert rows is not None  # columns of objects leave no doubt
        learnt = learnt_kinds(estimator, contract.names)
        kinds = tuple(
            learnt.get(name, kind_of(dtype)) for name, dtype in rows.dtypes.items()
        )
        owner._contract = replace(contract, kinds=kinds)
    return owner


def field_types(where: str, owner: Any) -> dict[str, str]:
    """Return the fields in the order of the model, and the SQL type of each."""
    contract = owner._contract
    kinds = dict(zip(contract.names, contract.kinds, strict=True))
    refused = [
        f"{n!r} is {IN_WORDS[kind]}" for n, kind in kinds.items() if kind not in _SQL_OF
    ]
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
