"""A model ready for Arrow columns: rows in, one Arrow column a response out.

The registered function calls this for 2,048 rows at a time, on DuckDB's threads, so
all that can be decided beforehand is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dfml.arrays._announced_kinds import with_times
from dfml.arrays._arrow_columns import to_array
from dfml.arrays._blocks import label_result
from dfml.exceptions import (
    ColumnMismatchError,
    DfmlError,
    EstimatorTypeError,
    InputTypeError,
    UnknownOutputError,
)
from dfml.responses._responders import call
from dfml.sinks._answers import make_answers, to_arrow
from dfml.sources._pandas import to_pandas
from dfml.sql_functions._fields import (
    ARROW_OF,
    as_owner,
    field_types,
    is_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dfml.responses._responders import Responder

__all__ = ["SqlModel", "make_sql_model", "model_error"]

# What a lazy answer takes, and SQL does not.
_LAZY_HINT = "\n\nHint: pass meta="


@dataclass(frozen=True)
class SqlModel:
    """A response method over columns that SQL has cast already.

    Parameters
    ----------
    fields : dict
        Columns in the order of the model, with the SQL type of each.
    responder : Responder
        The response method.
    outputs : pyarrow Schema
        What it returns.
    whole : dict
        Fields that were whole numbers or flags in ``fit``, with their dtypes.
    """

    fields: dict[str, str]
    responder: Responder
    outputs: Any
    whole: dict[Any, np.dtype[Any]]

    @property
    def class_name(self) -> str:
        """The class of the estimator."""
        return type(self.responder.estimator).__name__

    @property
    def is_single(self) -> bool:
        """Whether an answer is one value, and not one a class or an output."""
        return self.responder.schema.is_series

    def __call__(self, columns: Sequence[Any]) -> list[Any]:
        """Answer for Arrow columns in the order of the fields.

        A row without any value has no answer, and the model does not see it. That is a
        NULL in place of a row, or the row that an outer join did not find.
        """
        empty = _rows_without_value(columns)
        if empty is not None:
            columns = [column.filter(pc.invert(empty)) for column in columns]
        answers = self.answer(self.rows(columns))
        if empty is None:
            return answers
        found = np.cumsum(~empty.to_numpy(zero_copy_only=False)) - 1
        at = pc.if_else(empty, pa.scalar(None, pa.int64()), pa.array(found))
        return [each.take(at) for each in answers]

    def rows(self, columns: Sequence[Any]) -> Any:
        """Make what the model sees of Arrow columns: an array or a frame."""
        if self.responder.dtype is None:
            rows = to_pandas(pa.table(list(columns), names=list(self.fields)))
            for name, dtype in self.whole.items():
                rows[name] = _as_whole(rows[name].to_numpy(), dtype)
            return with_times(rows, self.responder.times)
        array = to_array(columns, np.dtype("float64"))  # NULL becomes NaN
        if len(self.whole) == len(self.fields):
            array = _as_whole(array, np.result_type(*self.whole.values()))
        if not self.responder.named:
            return array
        return pd.DataFrame(array, columns=list(self.fields), copy=False)

    def answer(self, rows: Any) -> list[Any]:
        """Answer rows, of which each has some value, as Arrow columns."""
        if not len(rows):
            return [pa.array([], type_) for type_ in self.outputs.types]
        try:
            result = self._call(rows)
        except Exception as err:
            missing: np.ndarray = np.asarray(pd.isna(rows))
            have_some = np.any(missing, axis=0).tolist()
            nulls = [n for n, some in zip(self.fields, have_some, strict=True) if some]
            if nulls:
                err.add_note(f"These columns hold NULL or NaN: {nulls}")
            raise
        return [to_arrow(*each) for each in zip(result, self.outputs, strict=True)]

    def _call(self, rows: Any) -> list[Any]:
        """Return the answer column by column."""
        how = self.responder
        result = call(how.estimator, how.name, rows, how.config, how.params)
        if isinstance(result, np.ndarray) and result.ndim == 1 and self.is_single:
            return [result]  # 2,048 rows at a time, a Series costs as much as predict
        index = pd.RangeIndex(len(rows))
        labelled = label_result(result, index, how.schema.names)
        table = labelled.to_frame() if isinstance(labelled, pd.Series) else labelled
        return [table.iloc[:, i] for i in range(table.shape[1])]


def make_sql_model(
    where: str,
    model: Any,
    method: str,
    *,
    name: str | None = None,
    prefix: str | None = None,
) -> SqlModel:
    """Check a model and fix its fields and answers, before any row is read.

    Raises
    ------
    InputTypeError
        If a name is no text, or one that SQL does not take.
    ColumnMismatchError
        If the model was fitted without column names, or on ones SQL cannot tell apart,
        or its outputs have names that SQL does not take.
    EstimatorTypeError
        If it does not have the method.
    UnknownOutputError
        If what it returns cannot be known beforehand.
    """
    if method == "inverse_transform":
        raise EstimatorTypeError.expecting(
            where,
            "a method that answers rows of the columns seen in fit",
            repr(method),
            "call it in Python",
        )
    _check_name(where, "name", name, name != "")
    _check_name(where, "prefix", prefix)
    owner = as_owner(where, model)
    fields = field_types(where, owner)
    table = _Fields(where, pa.schema({n: ARROW_OF[t] for n, t in fields.items()}))
    try:
        answers = make_answers(
            owner, cast("Any", table), [method], keep=[], name=name, prefix=prefix
        )
    except UnknownOutputError as err:
        raise UnknownOutputError.expecting(
            where,
            f"to know the columns of {method!r} before it reads a row",
            f"a {type(owner._response_estimator).__name__}, which does not say them",
            "fit it on a lazy table, with Incremental or IID",
        ) from err
    outputs = _outputs(where, answers.schema)
    responder = _for_arrays(answers.responders[0])
    return SqlModel(fields, responder, outputs, owner._contract.whole)


def _as_whole(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Give numbers the dtype they had in ``fit``, if it holds them: SQL has DOUBLE."""
    with np.errstate(invalid="ignore"):
        cast = values.astype(dtype)
    return cast if np.array_equal(cast, values) else values


def _outputs(where: str, schema: Any) -> Any:
    """Return the outputs in types that DuckDB has, if it takes their names."""
    wrong = [name for name in schema.names if not is_text(name)]
    if wrong:
        raise ColumnMismatchError.expecting(
            where,
            "outputs whose names are text that SQL takes",
            repr(wrong[:10]),
            "rename the classes before fit",
        )
    half = pa.float16()
    return pa.schema(
        [each.with_type(pa.float32()) if each.type == half else each for each in schema]
    )


def _check_name(where: str, what: str, name: object, fits: bool = True) -> None:
    if not fits or not (name is None or is_text(name)):
        raise InputTypeError.expecting(
            where, f"{what} to be text that SQL takes", repr(name), "pass another one"
        )


def _for_arrays(responder: Responder) -> Responder:
    """Let an estimator of scikit-learn take bare arrays, if it can do without names.

    Of 2,048 rows as a frame ``LogisticRegression`` spends four fifths of its time on
    checking their names, which SQL has matched already.
    """
    estimator = responder.estimator
    is_plain = type(estimator).__module__.startswith("sklearn.") and not any(
        hasattr(part, "feature_names_in_") for part in _parts(vars(estimator))
    )
    if responder.dtype is None or not is_plain:
        return responder
    nameless = copy.copy(estimator)
    vars(nameless).pop("feature_names_in_", None)
    return replace(responder, estimator=nameless, named=False)


def _parts(value: Any) -> Iterator[Any]:
    """Yield what there is in lists, tuples and dicts, however deep."""
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, (list, tuple, dict)):
            yield from _parts(each)
        else:
            yield each


def model_error(where: str, model: SqlModel, err: Exception) -> DfmlError:
    """Say in one text why the model failed: DuckDB keeps no notes of an exception."""
    notes = "".join(f" {note}." for note in getattr(err, "__notes__", ()))
    said = str(err).partition(_LAZY_HINT)[0]
    text = f"{where} of {model.class_name} failed.{notes} {type(err).__name__}: {said}"
    # DuckDB takes nothing that UTF-8 cannot hold, as half a character.
    return DfmlError(text.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True)
class _Fields:
    """The fields as the kind of table that ``make_answers`` takes."""

    where: str
    fields: Any
    keys: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self.fields.names)

    def schema(self, names: Sequence[str] | None = None) -> Any:
        chosen = self.names if names is None else names
        return pa.schema([self.fields.field(name) for name in chosen])


def _rows_without_value(columns: Sequence[Any]) -> Any:
    """Mark the rows in which every column is NULL; None if there is no such row."""
    if any(column.null_count == 0 for column in columns):
        return None
    marked = columns[0].is_null()
    for column in columns[1:]:
        marked = pc.and_(marked, column.is_null())
    return marked if pc.any(marked).as_py() else None
