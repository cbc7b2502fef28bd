"""Rows to try a model on, made of what the model has learnt.

Thresholds of trees and their neighbours, categories, centres and spreads of scalers, a
row for each leaf; and one row for each kind of value that a model may refuse.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dfml.exceptions import EstimatorTypeError
from dfml.responses._learnt_columns import first_steps
from dfml.sql_functions._conversion import Limits
from dfml.sql_functions._fields import ARROW_OF
from dfml.sql_functions._trees import TREES, Tree, trees_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from dfml.sql_functions._answer import SqlModel

__all__ = ["Sample", "call_quietly", "make_sample"]

N_ROWS = 2_000
#: Share of the values of a column, where the model takes them.
MISSING = 0.1
_UNKNOWN = "dfml: not a category"
# Missing, infinite, and infinite in float32 only.
_SPECIAL = {"missing": np.nan, "infinite": np.inf, "above_single": 1e39}
_USUAL = (0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, 1e6, -1e6)


@dataclass(frozen=True)
class Sample:
    """Rows, and which of them the model answers.

    Parameters
    ----------
    answered, refused : pyarrow Table
        The fields of the model. The first row that is answered holds no value.
    limits : dict
        By field, which values the model takes.
    """

    answered: Any
    refused: Any
    limits: dict[str, Limits]


def make_sample(model: SqlModel) -> Sample:
    """Make rows that the model answers, and such that it refuses.

    Raises
    ------
    EstimatorTypeError
        If the model does not answer the rows that should be plain.
    """
    values = _Values(model)
    base = {name: pool[0] for name, pool in values.pools.items()}
    _check_plain(model, [base])
    answered: list[dict[str, Any]] = [dict.fromkeys(model.fields), base]
    refused: list[dict[str, Any]] = []
    taken: dict[str, dict[str, bool]] = {name: {} for name in model.fields}
    for special, tried in _odd_rows(model, base).items():
        are_taken = _are_answered(model, list(tried.values()))
        for (name, row), is_taken in zip(tried.items(), are_taken, strict=True):
            (answered if is_taken else refused).append(row)
            taken[name][special] = is_taken
    limits = {
        name: Limits(*(found.get(each, True) for each in _SPECIAL))
        for name, found in taken.items()
    }
    rows = values.rows([name for name, found in taken.items() if found.get("missing")])
    _check_plain(model, rows)
    return Sample(_table(model, [*answered, *rows]), _table(model, refused), limits)


def _odd_rows(
    model: SqlModel, base: dict[str, Any]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Make rows with one odd value each, by what is odd and by the field of it."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, kind in model.fields.items():
        odd = _SPECIAL if kind == "DOUBLE" else {"new": _UNKNOWN, "missing": None}
        for special, value in odd.items():
            row = {**base, name: value}
            if any(each is not None for each in row.values()):  # else nobody asks
                found.setdefault(special, {})[name] = row
    return found


def _check_plain(model: SqlModel, rows: list[dict[str, Any]]) -> None:
    try:
        call_quietly(model, _table(model, rows))
    except Exception as err:
        raise EstimatorTypeError.expecting(
            "export_sql",
            "a model that can be tried on rows made of what it has learnt",
            f"{type(err).__name__}: {err}",
            "use register or predict_sql for any model",
        ) from err


def _are_answered(model: SqlModel, rows: list[dict[str, Any]]) -> list[bool]:
    """Tell which rows a model answers: most often all of one kind, or else none."""
    # A wide table becomes what the model sees once, and not for each of its rows.
    seen = model.rows(_columns(_table(model, rows)))
    if _is_answered(model, seen):
        return [True] * len(rows)
    return [_is_answered(model, seen[i : i + 1]) for i in range(len(rows))]


def _is_answered(model: SqlModel, seen: Any) -> bool:
    try:
        with _quiet():
            model.answer(seen)
    except Exception:  # noqa: BLE001 - whatever it is, the model refuses them
        return False
    return True


def call_quietly(model: SqlModel, table: Any) -> list[Any]:
    """Answer a table; what a model has to say of made-up rows interests nobody."""
    with _quiet():
        return model(_columns(table))


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _columns(table: Any) -> list[Any]:
    columns: list[Any] = table.combine_chunks().columns
    return columns


def _table(model: SqlModel, rows: list[dict[str, Any]]) -> Any:
    return pa.table(
        {
            name: pa.array([row[name] for row in rows], type=ARROW_OF[kind])
            for name, kind in model.fields.items()
        }
    )


class _Values:
    """Values for each field; the first one of each is plain."""

    def __init__(self, model: SqlModel) -> None:
        self.random = np.random.default_rng(0)
        self.names = list(model.fields)
        self.trees: list[Tree] = []
        learnt: dict[str, list[Any]] = {name: [] for name in self.names}
        # All that strict encoders take; not what an imputer puts before one.
        closed: dict[str, list[Any]] = {}
        for step, names in first_steps(model.responder.estimator, self.names):
            for name, values in self._learnt(step, names):
                learnt[name] += values
                if getattr(step, "handle_unknown", None) == "error":
                    closed[name] = values
        self.pools = {
            name: closed.get(name) or self._pool(kind, learnt[name])
            for name, kind in model.fields.items()
        }

    def rows(self, optional: Collection[str]) -> list[dict[str, Any]]:
        """Combine the values at random, and add a row for each leaf of a tree.

        Of the columns that may be missing, some values are.
        """
        columns = {}
        for name, pool in self.pools.items():
            chosen = [pool[i] for i in self.random.integers(len(pool), size=N_ROWS)]
            if name in optional:
                for i in np.flatnonzero(self.random.random(N_ROWS) < MISSING):
                    chosen[i] = None
            columns[name] = chosen
        rows = [
            dict(zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)
            if any(value is not None for value in row)
        ]
        leaves = (bounds for tree in self.trees for bounds in _leaves(tree))
        for row, bounds in zip(list(rows), leaves, strict=False):
            rows.append({**row, **{self.names[i]: v for i, v in bounds.items()}})
        return rows

    def _pool(self, kind: str, learnt: list[Any]) -> list[Any]:
        if kind == "VARCHAR":
            return learnt or ["text"]
        if kind != "DOUBLE":
            return [0, 10**15]
        middle = float(np.median(learnt)) if learnt else 0.0
        spread = float(max(learnt)) - float(min(learnt)) if len(learnt) > 1 else 1.0
        drawn = self.random.normal(middle, spread or 1.0, size=max(50, len(learnt)))
        return [*learnt, *drawn.tolist(), *_USUAL]

    def _learnt(self, step: Any, names: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for attribute in ("categories_", "statistics_"):
            for name, values in zip(names, getattr(step, attribute, ()), strict=False):
                yield name, [v for v in _plain(values) if v is not None and v == v]
        yield from _scaled(step, names)
        if type(step).__name__ in TREES:
            trees = [tree for stage in trees_of(step) for tree in stage]
            self.trees += trees
            for tree in trees[:100]:
                yield from _thresholds(tree, names)


def _scaled(step: Any, names: Sequence[Any]) -> Iterator[tuple[Any, list[float]]]:
    """Yield values around the centre of a scaler, and at its ends."""
    center = getattr(step, "mean_", getattr(step, "center_", None))
    if center is not None and getattr(step, "scale_", None) is not None:
        for name, middle, spread in zip(names, center, step.scale_, strict=True):
            yield name, [middle, *(middle + spread * np.arange(-3, 4)).tolist()]
    for low, high in (("data_min_", "data_max_"), ("max_abs_", "max_abs_")):
        ends = (getattr(step, low, ()), getattr(step, high, ()))
        for name, a, b in zip(names, *ends, strict=False):
            yield name, [float(b), -float(b), float(a), float(a + b) / 2]


def _plain(values: Any) -> list[Any]:
    return [v.item() if isinstance(v, np.generic) else v for v in np.atleast_1d(values)]


def _thresholds(tree: Tree, names: Sequence[Any]) -> Iterator[tuple[Any, list[float]]]:
    """Yield thresholds and what is next to them, as doubles and as float32."""
    for node, child in enumerate(tree.left):
        limit = float(tree.threshold[node])
        if child >= 0 and np.isfinite(limit):
            single = np.float32(limit)
            above, below = (np.nextafter(single, np.float32(s)) for s in (9e37, -9e37))
            yield (
                names[tree.feature[node]],
                [
                    limit,
                    float(np.nextafter(limit, np.inf)),
                    float(np.nextafter(limit, -np.inf)),
                    *map(float, (single, above, below)),
                    (float(single) + float(above)) / 2,
                    (float(single) + float(below)) / 2,
                ],
            )


def _leaves(tree: Tree) -> Iterator[dict[int, float]]:
    """Yield values that lead to each leaf, on the bounds where there are any."""
    todo: list[tuple[int, dict[int, float]]] = [(0, {})]
    while todo:
        node, values = todo.pop()
        if tree.left[node] < 0:
            yield values
            continue
        feature, limit = int(tree.feature[node]), float(tree.threshold[node])
        if not np.isfinite(limit):
            limit = 0.0
        above = float(np.nextafter(np.float32(limit), np.float32(np.inf)))
        todo.append((int(tree.left[node]), {**values, feature: limit}))
        todo.append((int(tree.right[node]), {**values, feature: above}))
