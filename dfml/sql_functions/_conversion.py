"""A model as one SELECT: its fields, its answers, and the rows that it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfml.responses._learnt_columns import plain
from dfml.sources._columns import quoted
from dfml.sql_functions._linear import LINEAR
from dfml.sql_functions._steps import refusal, transform
from dfml.sql_functions._text import Query, number, sum_of, text
from dfml.sql_functions._trees import TREES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfml.sql_functions._answer import SqlModel

__all__ = ["REFUSED", "Converted", "Limits", "convert"]

# From here on a double becomes infinite when it is rounded to float32.
_SINGLE = number(3.4028235677973366e38)
#: What marks a refused row where a failure would stop the query.
REFUSED = "NULL"


@dataclass(frozen=True)
class Limits:
    """Which values of a field the model takes.

    Parameters
    ----------
    missing : bool
        NULL and NaN.
    infinite : bool
        Infinity.
    above_single : bool
        What is infinite in float32 only.
    """

    missing: bool
    infinite: bool
    above_single: bool

    def condition(self, column: str) -> str | None:
        """Return what has to be true of a number; missing ones are NULL if taken."""
        if self.infinite:
            held = None if self.missing else f"NOT isnan({column})"
        elif self.above_single:
            held = f"isfinite({column})"
        else:
            held = f"({column} > -{_SINGLE} AND {column} < {_SINGLE})"
        if held is None or not self.missing:
            return held
        return f"({column} IS NULL OR {held})"


@dataclass(frozen=True)
class Converted:
    """A model as SQL, before it is decided what happens to rows it refuses.

    Parameters
    ----------
    query : Query
        All columns of the source, and what has been computed of them.
    outputs : list of str
        One column of the query for each output.
    names : list of str
        What the outputs are called.
    quick : str or None
        True for nearly all rows that the model answers, and for none without a value.
    exact : str or None
        True for all rows with a value that the model answers; None if those are all.
    empty : str
        True for rows that hold no value.
    found : list of str
        Expressions that name what the model refuses in a row, or are NULL.
    """

    query: Query
    outputs: list[str]
    names: list[str]
    quick: str | None
    exact: str | None
    empty: str
    found: list[str]

    def select(self, keep: Sequence[str] | None) -> str:
        """Return the statement, which fails at rows that the model refuses."""
        kept = None if keep is None else [quoted(name) for name in keep]
        found = ", ".join(self.found)
        message = f"'The model refuses: ' || concat_ws(', ', {found})"
        is_answered = f"({self.is_answered(f'error({message})')})"
        return self.query.select(
            kept,
            [
                f"CASE WHEN {is_answered} THEN {column} END AS {quoted(name)}"
                for column, name in zip(self.outputs, self.names, strict=True)
            ],
        )

    def is_answered(self, otherwise: str) -> str:
        """Return an expression: true, or false where a row has no answer."""
        if self.exact is None:
            return f"NOT ({self.empty})"
        quick = "" if self.quick is None else f"WHEN {self.quick} THEN true "
        return (
            f"CASE {quick}WHEN {self.empty} THEN false "
            f"WHEN {self.exact} THEN true ELSE {otherwise} END"
        )


def convert(
    model: SqlModel,
    source: str,
    limits: dict[str, Limits],
    types: Sequence[Any],
    kept: Sequence[str] = (),
) -> Converted:
    """Write a model as SQL.

    Parameters
    ----------
    model : SqlModel
        The model.
    source : str
        The table as it stands after FROM.
    limits : dict
        By field, what the model takes.
    types : sequence
        The SQL type of each output.
    kept : sequence of str
        Columns of the table that are selected by their names.

    Raises
    ------
    EstimatorTypeError
        If the model, or a part of it, has no SQL here.
    """
    query = Query(source, [*model.fields, *kept])
    fields = query.add([_cast(*each) for each in model.fields.items()])
    columns = _without_nan(model, fields, limits, query)
    answers = _answers(model.responder.estimator, model.responder.name, columns, query)
    if len(answers) != len(types):
        raise refusal("one target with one label a row", model.responder.estimator)
    if any(str(kind) == "FLOAT" for kind in types):
        answers = query.add(answers)
    pairs = zip(answers, types, strict=True)
    outputs = query.add([_as_output(each, str(kind)) for each, kind in pairs])
    is_number = dict(zip(columns, model.fields.values(), strict=True))
    held = {
        column: condition
        for column, name in zip(columns, model.fields, strict=True)
        if is_number[column] == "DOUBLE"
        and (condition := limits[name].condition(column))
    }
    found = [
        f"CASE WHEN NOT coalesce({held[column]}, false) THEN "
        f"{text(f'{name} = ')} || coalesce(CAST({field} AS VARCHAR), 'NULL') END"
        for name, field, column in zip(model.fields, fields, columns, strict=True)
        if column in held
    ]
    names = dict(zip(columns, model.fields, strict=True))
    found += [
        f"CASE WHEN NOT coalesce({condition}, false) THEN "
        f"{text(f'{names[column]} = ' if column in names else '')} || "
        f"coalesce(CAST({column} AS VARCHAR), 'NULL') || ', an unknown category' END"
        for condition, column in query.conditions
    ]
    known = [condition for condition, _ in query.conditions]
    exact = [*held.values(), *known]
    takes_nothing = all(limits[name].missing for name in model.fields)
    quick = [] if takes_nothing else [*_quick(held), *known]
    return Converted(
        query=query,
        outputs=outputs,
        names=list(model.outputs.names),
        quick=" AND ".join(quick) or None,
        exact=" AND ".join(exact) or None,
        empty=" AND ".join(f"{field} IS NULL" for field in fields),
        found=found,
    )


def _as_output(answer: str, kind: str) -> str:
    cast = f"CAST({answer} AS {kind})"
    if kind != "FLOAT":
        return cast
    # DuckDB fails to cast what is beyond; in NumPy it is infinite.
    return (
        f"CASE WHEN {answer} >= {_SINGLE} AND NOT isnan({answer}) "
        f"THEN CAST('inf' AS FLOAT) WHEN {answer} <= -{_SINGLE} "
        f"THEN CAST('-inf' AS FLOAT) ELSE {cast} END"
    )


def _cast(name: str, kind: str) -> str:
    cast = f"CAST({quoted(name)} AS {kind})"
    # Categories are compared as Python compares text, whatever the column's collation.
    return f'({cast} COLLATE "binary")' if kind == "VARCHAR" else cast


def _without_nan(
    model: SqlModel, fields: Sequence[str], limits: dict[str, Limits], query: Query
) -> list[str]:
    """Make NaN the NULL that the model takes it for, where it takes it."""
    nan = number(float("nan"))
    changed = {
        field: f"nullif({field}, {nan})"
        for field, (name, kind) in zip(fields, model.fields.items(), strict=True)
        if kind == "DOUBLE" and limits[name].missing
    }
    made = dict(zip(changed, query.add(list(changed.values())), strict=True))
    return [made.get(field, field) for field in fields]


def _quick(held: dict[str, str]) -> list[str]:
    """Test finite columns by one sum: it is finite, as a rule, if all of them are."""
    finite = [c for c, condition in held.items() if condition == f"isfinite({c})"]
    others = [condition for c, condition in held.items() if c not in finite]
    return [f"isfinite({sum_of(finite)})", *others] if finite else others


def _answers(
    estimator: Any, method: str, columns: Sequence[str], query: Query
) -> list[str]:
    """Add what the last step of a model needs, and return one expression an output."""
    estimator = plain(estimator)
    is_sklearn = type(estimator).__module__.startswith("sklearn.")
    name = type(estimator).__name__ if is_sklearn else ""
    if method == "transform":
        return transform(estimator, columns, query)
    if name == "Pipeline":
        for _, step in estimator.steps[:-1]:
            if step not in (None, "passthrough"):
                columns = transform(step, columns, query)
        return _answers(estimator.steps[-1][1], method, columns, query)
    predictors = {**LINEAR, **TREES}
    if name not in predictors:
        known = "a linear model, a tree, a forest or boosted trees of scikit-learn"
        raise refusal(known, f"a {type(estimator).__name__}")
    answers = predictors[name](estimator, method, columns, query)
    if answers is None:
        raise refusal("a method that has SQL", f"{method!r} of {estimator}")
    return answers
