"""SQL as text: literals, and SELECTs inside one another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dfml.exceptions import EstimatorTypeError
from dfml.sources._columns import folded, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Query",
    "argmax",
    "label_literal",
    "number",
    "sum_in_order",
    "sum_of",
    "text",
]

# DuckDB refuses expressions that are a thousand levels deep.
_DEPTH = 200


def text(value: str) -> str:
    """Return text as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def number(value: Any) -> str:
    """Return a number as a DOUBLE that is bit-equal.

    Without an exponent DuckDB would read a DECIMAL, and round when it casts that.
    """
    value = float(value)
    if not math.isfinite(value):
        return f"CAST('{value}' AS DOUBLE)"
    written = repr(value)
    return written if "e" in written else f"{written}e0"


def label_literal(label: Any) -> str:
    """Return a class as an SQL literal, to be cast to the type of the labels."""
    value = label.item() if hasattr(label, "item") else label
    if isinstance(value, str):
        if "\0" in value:
            raise EstimatorTypeError.expecting(
                "export_sql",
                "classes that SQL text can hold",
                f"{value!r}, with a zero character",
                "use register or predict_sql",
            )
        return text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    raise EstimatorTypeError.expecting(
        "export_sql",
        "classes that are text, numbers or booleans",
        f"a {type(value).__name__}",
        "use register or predict_sql",
    )


def sum_of(terms: Sequence[str]) -> str:
    """Add terms in pairs, so that thousands of them are few levels deep."""
    terms = list(terms) or [number(0)]
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [f"({' + '.join(pair)})" if pair[1:] else pair[0] for pair in pairs]
    return terms[0]


def sum_in_order(query: Query, terms: Sequence[str]) -> str:
    """Add terms one after another, as a loop does: the same bits."""
    total, *rest = terms
    while rest:
        total = query.add([" + ".join([total, *rest[:_DEPTH]])])[0]
        rest = rest[_DEPTH:]
    return total


def argmax(query: Query, scores: Sequence[str], answers: Sequence[str]) -> str:
    """Take the answer that belongs to the largest score, the first if there are two."""
    (largest,) = query.add([f"greatest({', '.join(scores)})"])
    cases = " ".join(
        f"WHEN {score} = {largest} THEN {answer}"
        for score, answer in zip(scores, answers, strict=True)
    )
    return f"CASE {cases} END"


class Query:
    """A SELECT that is wrapped into another one for each set of columns that is added.

    So a value that is needed more than once is computed once, and each expression is
    small.

    Parameters
    ----------
    source : str
        What stands after FROM.
    known : sequence of str
        Names that are not to be given to columns that are added. They stand before the
        columns of the source: of two columns with one name DuckDB renames the second.
    """

    def __init__(self, source: str, known: Sequence[str]) -> None:
        self._prefix = "dfml: "
        while any(folded(name).startswith(self._prefix) for name in known):
            self._prefix = f"dfml {self._prefix}"
        # Inside a SELECT it has no columns but its own: no rowid, and no column of its
        # own name, its rows as a STRUCT.
        self._text = f"(FROM {source}) AS {quoted(f'{self._prefix}rows')}"
        self.added: list[str] = []
        self.conditions: list[tuple[str, str]] = []

    def add(self, expressions: Sequence[str]) -> list[str]:
        """Add columns, and return what they are called."""
        if not expressions:
            return []
        first = len(self.added)
        names = [quoted(f"{self._prefix}{first + i}") for i in range(len(expressions))]
        columns = ",\n  ".join(
            f"{expression} AS {name}"
            for expression, name in zip(expressions, names, strict=True)
        )
        self._text = f"(SELECT\n  {columns},\n  *\nFROM {self._text})"
        self.added += names
        return names

    def refuse_unless(self, condition: str, column: str) -> None:
        """Note that the model answers only rows of which a condition is true."""
        self.conditions.append((condition, column))

    def select(self, kept: Sequence[str] | None, outputs: Sequence[str]) -> str:
        """Return the statement: columns of the source, all by default, and outputs."""
        if kept is None:
            kept = [f"* EXCLUDE ({', '.join(self.added)})"]
        return f"SELECT {', '.join([*kept, *outputs])}\nFROM {self._text}"
