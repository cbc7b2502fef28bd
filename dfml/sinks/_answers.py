"""Responses of a model as Arrow columns beside columns of the source.

What a sink writes is fixed here before any part is read: the columns, their names
and their Arrow types. Columns that are carried through never pass through pandas.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dfml.arrays._arrow_columns import has_plain_numbers, to_array
from dfml.arrays._reused_arrays import ReusedArrays
from dfml.exceptions import (
    ColumnCollisionError,
    ColumnMismatchError,
    EstimatorTypeError,
    UnknownOutputError,
)
from dfml.responses._methods import RESPONSES
from dfml.responses._responders import make_responder
from dfml.sources._pandas import to_pandas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dfml.responses._responders import Responder
    from dfml.sources._base import SourceTable

__all__ = ["Answers", "make_answers", "to_arrow"]


@dataclass(frozen=True)
class Answers:
    """Response methods ready to answer Arrow tables; it pickles, and ships once.

    Parameters
    ----------
    responders : tuple of Responder
        One for each response method.
    features : tuple of str
        Columns of the source that the model takes, in its order.
    categories : frozenset of str
        Those of them that become pandas categories, as in ``fit``.
    kept : tuple of str
        Columns of the source that are written.
    needed : pyarrow Schema
        What is read.
    schema : pyarrow Schema
        What is written: the kept columns, then the responses.
    arrays : ReusedArrays, optional
        Where features are: the memory of those that were answered serves the next.
    """

    responders: tuple[Responder, ...]
    features: tuple[str, ...]
    categories: frozenset[str]
    kept: tuple[str, ...]
    needed: Any
    schema: Any
    arrays: ReusedArrays = field(default_factory=ReusedArrays, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that the responses give."""
        return tuple(self.schema.names[len(self.kept) :])

    @cached_property
    def _feature_index(self) -> pd.Index[Any]:
        return pd.Index(self.features)  # making one takes as long as small answers

    def __call__(self, table: Any) -> Any:
        """Answer for one table of the schema ``needed``, row by row."""
        columns = [table.column(name) for name in self.kept]
        for answer in self._respond(table.select(self.features)):
            for column in _columns(answer):
                columns.append(to_arrow(column, self.schema.field(len(columns))))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _respond(self, features: Any) -> Iterator[Any]:
        if not (features.num_rows and self._has_arrays(features.schema)):
            frame = to_pandas(features, self.categories)
            for responder in self.responders:
                yield responder(frame)
            return
        # Numbers go to their array at once: by way of a frame they are copied twice.
        for responder in self.responders:
            X: Any = to_array(features.columns, responder.dtype, self.arrays.empty)
            if responder.named:
                X = pd.DataFrame(X, columns=self._feature_index, copy=False)
            yield responder.answer(X, pd.RangeIndex(len(X)))

    def _has_arrays(self, schema: Any) -> bool:
        is_array = all(responder.dtype is not None for responder in self.responders)
        return is_array and has_plain_numbers(schema)


def make_answers(
    owner: Any,
    table: SourceTable,
    methods: Sequence[str],
    *,
    keep: Sequence[str] | None = None,
    name: str | None = None,
    prefix: str | None = None,
) -> Answers:
    """Check the model against the table and fix what will be written.

    Parameters
    ----------
    owner : estimator of dfml
        Fitted.
    table : SourceTable
        The source; ``table.where`` is used in messages.
    methods : sequence of str
        Response methods.
    keep : sequence of str, optional
        Columns of the source to write; all by default.
    name : str, optional
        Name of the single output column.
    prefix : str, optional
        Put before the names of all output columns.

    Returns
    -------
    answers : Answers
        No row was read.

    Raises
    ------
    EstimatorTypeError
        If the model does not have a method.
    ColumnMismatchError
        If the table does not have the columns that the model or ``keep`` needs.
    ColumnCollisionError
        If two columns would have one name.
    SourceError
        If files disagree on a needed column.
    """
    where = table.where
    _check_methods(where, owner, methods)
    kept = _check_kept(where, table, keep)
    categories = _categories(owner, table)
    meta = to_pandas(table.schema().empty_table(), categories)
    responders = tuple(make_responder(owner, where, each, meta) for each in methods)
    features = responders[0].columns or table.names
    needed = table.schema([n for n in table.names if n in {*features, *kept}])
    outputs = [field for each in responders for field in _output_fields(each)]
    names = _output_names(where, [field.name for field in outputs], name, prefix)
    _check_collisions(where, [*kept, *names])
    return Answers(
        responders=responders,
        features=tuple(str(each) for each in features),
        categories=categories.intersection(features),
        kept=kept,
        needed=needed,
        schema=pa.schema(
            [needed.field(each) for each in kept]
            + [field.with_name(n) for field, n in zip(outputs, names, strict=True)]
        ),
    )


def _check_methods(where: str, owner: Any, methods: Sequence[str]) -> None:
    known = [response.name for response in RESPONSES]
    has = [name for name in known if hasattr(owner, name)]
    wrong = [name for name in methods if name not in has]
    if wrong or not methods:
        raise EstimatorTypeError.expecting(
            where,
            f"response methods that {type(owner._response_estimator).__name__} has",
            repr(wrong),
            f"choose among {has} in method=",
        )


def _check_kept(
    where: str, table: SourceTable, keep: Sequence[str] | None
) -> tuple[str, ...]:
    if keep is None:
        return tuple(table.names)
    missing = [name for name in keep if name not in table.names]
    if missing:
        raise ColumnMismatchError.expecting(
            where,
            "keep to name columns of the source",
            f"{missing}, unknown among {table.names}",
            "correct keep=",
        )
    return tuple(keep)


def _categories(owner: Any, table: SourceTable) -> frozenset[str]:
    """Find the folder keys that the model saw as text: dask makes them categories."""
    contract = owner._contract
    if contract is None or contract.kinds is None:
        return frozenset()
    kinds = dict(zip(contract.names, contract.kinds, strict=True))
    return frozenset(name for name in table.keys if kinds.get(name) == "text")


def _output_names(
    where: str, names: list[str], name: str | None, prefix: str | None
) -> list[str]:
    if name is not None:
        if len(names) != 1:
            raise ColumnMismatchError.expecting(
                where,
                "one output column for name=",
                repr(names),
                "pass prefix= instead",
            )
        names = [name]
    return [f"{prefix or ''}{each}" for each in names]


def _check_collisions(where: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        # A function has one struct of outputs, and no say in their names.
        is_function = where == "register"
        raise ColumnCollisionError.expecting(
            where,
            "columns to write with names that are different",
            f"{twice} twice",
            "rename the columns or classes, and fit again"
            if is_function
            else "pass name=, prefix= or a shorter keep=",
        )


def _output_fields(responder: Responder) -> list[Any]:
    schema = responder.schema
    return [
        pa.field(name, _arrow_type(dtype, responder.estimator))
        for name, dtype in zip(schema.names, schema.dtypes, strict=True)
    ]


def _arrow_type(text: str, estimator: Any) -> Any:
    # pandas does not read what it prints for some fill values of sparse columns.
    is_sparse = text.startswith("Sparse[")
    plain = text.removeprefix("Sparse[").split(",")[0] if is_sparse else text
    dtype = pd.api.types.pandas_dtype(plain)
    if pd.api.types.is_object_dtype(dtype):  # the classes tell what it holds
        classes = getattr(estimator, "classes_", None)
        is_array = isinstance(classes, np.ndarray)
        return pa.array(classes, from_pandas=True).type if is_array else pa.string()
    if isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)):
        return pa.string()
    return pa.array(pd.Series([], dtype=dtype)).type


def _columns(answer: Any) -> Iterator[pd.Series[Any]]:
    if isinstance(answer, pd.Series):
        yield answer
    else:
        yield from (answer.iloc[:, i] for i in range(answer.shape[1]))


def _check_flags(column: Any) -> None:
    """Refuse numbers that are no flags: Arrow would take any but 0 for True."""
    if column.dtype.kind in "iuf":
        values = np.asarray(column)
        others = values[~(np.isnan(values) | (values == 0) | (values == 1))]
        if len(others):
            raise pa.ArrowInvalid(f"there is {others[0]}")


def to_arrow(column: Any, field: Any) -> Any:
    """Turn one output column, a Series or an array, into the Arrow type of its field.

    Raises
    ------
    UnknownOutputError
        If it holds values of other types.
    """
    if isinstance(column.dtype, pd.SparseDtype):
        column = pd.Series(column.array.to_dense(), name=column.name)
    elif isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        if pa.types.is_boolean(field.type):
            _check_flags(column)
        return pa.array(column, type=field.type, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as err:
        raise UnknownOutputError(
            f"The values of output column {field.name!r} are not all {field.type}: "
            f"{err}.\n\nHint: let the estimator return numbers or text; of a "
            "transformer, set_output(transform='pandas') keeps the type of each column."
        ) from err
