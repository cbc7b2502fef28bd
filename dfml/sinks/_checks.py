"""Checks of a table that decide, before anybody sees it, whether it is committed.

Each part is measured while it is written, and its figures are kept in its record, so
that they are merged without reading the table again, also those of an earlier call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pandas import isna
from pandas.api.types import is_scalar

from dfml.exceptions import CheckFailedError, ColumnMismatchError, InputTypeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Check", "Meter", "bind_checks", "check_figures", "covers", "merge_figures"]

#: Of one column: rows, nulls, minimum, maximum, and counts by the text of the value.
Figures = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """What a column of predictions has to be for the table to become visible.

    Parameters
    ----------
    nulls : int or float, optional
        At most so many nulls: a number of rows, or a float as a share of them. NaN
        is null.
    minimum, maximum : float, optional
        Bounds of all numbers that are there, both included.
    shares : dict, optional
        Lowest and highest share of the rows, by value: ``{"late": (0.1, 0.4)}``.

    Examples
    --------
    >>> from dfml import Check
    >>> checks = {
    ...     "prediction": Check(nulls=0, shares={"late": (0.1, 0.4)}),
    ...     "probability_late": Check(minimum=0, maximum=1),
    ... }
    """

    nulls: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    shares: Mapping[Any, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        """Refuse rules that no table could keep, or that any would.

        Raises
        ------
        InputTypeError
            Naming the rule.
        """
        for name, is_right, expected in _RULES:
            given = getattr(self, name)
            if given is not None and not is_right(given):
                raise InputTypeError.expecting(
                    "Check",
                    f"{name}= as {expected}",
                    repr(given),
                    "see help(dfml.Check)",
                )
        if any(is_scalar(value) and isna(value) for value in self.shares or ()):
            raise InputTypeError.expecting(
                "Check",
                "values in shares= that are there",
                f"{list(self.shares or ())}, with one that is null",
                "bound the nulls by nulls=, a number of rows or a float as a share",
            )
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and low > high:
            raise InputTypeError.expecting(
                "Check",
                "a minimum= that is not above maximum=",
                f"{low} and {high}",
                "swap them",
            )

    def texts(self) -> list[str]:
        """Give the values of ``shares`` as figures name them."""
        return [str(value) for value in self.shares or ()]

    def to_dict(self) -> dict[str, Any]:
        """Give what is checked as plain data that fits in JSON."""
        plain = {key: each for key, each in asdict(self).items() if each is not None}
        if self.shares:
            plain["shares"] = {str(k): list(each) for k, each in self.shares.items()}
        return plain


def _is_plain_number(value: Any) -> bool:
    return isinstance(value, (Real, Decimal)) and not isinstance(value, bool)


def _is_limit(value: Any) -> bool:
    return _is_plain_number(value) and 0 <= value <= (1 if _is_share(value) else value)


def _is_share(value: float) -> bool:
    return not isinstance(value, Integral)


def _is_bound(value: Any) -> bool:
    return _is_plain_number(value) and not math.isnan(value)


def _are_shares(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_range, value.values()))


def _is_range(value: Any) -> bool:
    if not isinstance(value, Sequence) or len(value) != 2:
        return False
    return all(map(_is_plain_number, value)) and 0 <= value[0] <= value[1] <= 1


_RULES = (
    ("nulls", _is_limit, "a number of rows, or a float from 0 to 1"),
    ("minimum", _is_bound, "a number"),
    ("maximum", _is_bound, "a number"),
    ("shares", _are_shares, "pairs from 0 to 1 by value, the lower one first"),
)


def bind_checks(
    where: str, checks: Mapping[str, Check] | None, schema: Any
) -> dict[str, Check]:
    """Find the columns of checks; the values of ``shares`` get their columns' types.

    Raises
    ------
    ColumnMismatchError
        If there is no such column.
    InputTypeError
        If a check does not go with the column's type, or is none.
    """
    missing = [name for name in checks or () if name not in schema.names]
    if missing:
        raise ColumnMismatchError.expecting(
            where,
            f"checks of columns among {schema.names}",
            f"{missing}",
            "correct the names in checks=",
        )
    return {
        name: _bind(where, name, check, _value_type(schema.field(name).type))
        for name, check in (checks or {}).items()
    }


def _bind(where: str, name: str, check: Any, type_: Any) -> Check:
    if not isinstance(check, Check):
        raise InputTypeError.expecting(
            where,
            f"a Check for column {name!r}",
            type(check).__name__,
            "write checks={...: dfml.Check(...)}",
        )
    bounds = [each for each in (check.minimum, check.maximum) if each is not None]
    if bounds and not _is_number(type_):
        raise InputTypeError.expecting(
            where,
            f"minimum and maximum for columns of numbers, and {name!r} to be one",
            str(type_),
            "check its nulls and shares",
        )
    shares = {
        _to_type(where, name, value, type_): (float(low), float(high))
        for value, (low, high) in (check.shares or {}).items()
    }
    return Check(check.nulls, check.minimum, check.maximum, shares or None)


def _value_type(type_: Any) -> Any:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _is_number(type_: Any) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_kind(type_) for is_kind in kinds)


def _to_type(where: str, name: str, value: Any, type_: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    try:
        if isinstance(plain, str):  # as on the command line
            return pa.scalar(plain).cast(type_).as_py()
        return pa.scalar(plain, type_).as_py()
    except (pa.ArrowException, TypeError, ValueError) as err:
        raise InputTypeError.expecting(
            where,
            f"values of {name!r} in shares, {type_}",
            repr(value),
            "give the values that are written",
        ) from err


class Meter:
    """Measures one part while its rows pass.

    Parameters
    ----------
    checks : dict of str to Check
        From :func:`bind_checks`.

    Attributes
    ----------
    figures : dict
        By column; complete when all rows have passed.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self.figures: dict[str, Figures] = {}

    def watch(self, tables: Iterable[Any]) -> Iterator[Any]:
        """Give the tables on as they are."""
        for table in tables:
            for name, check in self._checks.items():
                found = _measure(table.column(name), check)
                before = self.figures.get(name)
                self.figures[name] = _merge(before, found) if before else found
            yield table


def _measure(column: Any, check: Check) -> Figures:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_float16(column.type):  # Arrow has no bounds of these
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    low = high = None
    if _is_number(column.type):
        bounds = pc.min_max(column).as_py()
        low, high = (_number(bounds[key]) for key in ("min", "max"))
    return {
        "rows": len(column),
        "nulls": column.null_count,
        "minimum": low,
        "maximum": high,
        "counts": {str(each): _count(column, each) for each in check.shares or ()},
    }


def _number(value: Any) -> int | float | None:
    return value if value is None or isinstance(value, int) else float(value)


def _count(column: Any, value: Any) -> int:
    equal = pc.equal(column, pa.scalar(value, column.type))
    return pc.sum(equal).as_py() or 0


def merge_figures(parts: Iterable[Mapping[str, Figures]]) -> dict[str, Figures]:
    """Put the figures of parts together.

    Parameters
    ----------
    parts : iterable of dict
        Figures by column, of the same columns.

    Returns
    -------
    figures : dict
        By column, of all rows.
    """
    merged: dict[str, Figures] = {}
    for part in parts:
        for name, found in part.items():
            before = merged.get(name)
            merged[name] = _merge(before, found) if before else found
    return merged


def _merge(left: Figures, right: Figures) -> Figures:
    def choose(best: Any, key: str) -> Any:
        there = [each[key] for each in (left, right) if each[key] is not None]
        return best(there) if there else None

    return {
        "rows": left["rows"] + right["rows"],
        "nulls": left["nulls"] + right["nulls"],
        "minimum": choose(min, "minimum"),
        "maximum": choose(max, "maximum"),
        "counts": {
            key: n + right["counts"].get(key, 0) for key, n in left["counts"].items()
        },
    }


def covers(figures: Mapping[str, Figures], checks: Mapping[str, Check]) -> bool:
    """Tell if figures that were taken for other checks are enough for these."""
    return all(
        name in figures and figures[name]["counts"].keys() >= set(check.texts())
        for name, check in checks.items()
    )


def check_figures(
    where: str, checks: Mapping[str, Check], figures: Mapping[str, Figures], hint: str
) -> None:
    """Compare the figures of a whole table with what is expected.

    Raises
    ------
    CheckFailedError
        Naming all columns that are not as expected, and their figures.
    """
    failed = [
        failure
        for name, check in checks.items()
        for failure in _failures(name, check, figures[name])
    ]
    if failed:
        expected, got = ("; ".join(texts) for texts in zip(*failed, strict=True))
        raise CheckFailedError.expecting(where, expected, got, hint)


def _failures(name: str, check: Check, found: Figures) -> Iterator[tuple[str, str]]:
    n_rows, nulls = found["rows"], found["nulls"]
    if check.nulls is not None:
        is_share = _is_share(check.nulls)
        limit = check.nulls * n_rows if is_share else check.nulls
        if nulls > limit:
            most = f"{check.nulls}"
            if is_share:
                most = f"a share of {_exactly(check.nulls)} as"
            yield f"at most {most} nulls in {name!r}", f"{nulls:,} of {n_rows:,} rows"
    low, high = found["minimum"], found["maximum"]
    if check.minimum is not None and low is not None and low < check.minimum:
        yield f"no value of {name!r} below {_exactly(check.minimum)}", f"{low}"
    if check.maximum is not None and high is not None and high > check.maximum:
        yield f"no value of {name!r} above {_exactly(check.maximum)}", f"{high}"
    for value, (least, most_) in (check.shares or {}).items():
        count = found["counts"][str(value)]
        share = count / n_rows if n_rows else 0.0
        if not least <= share <= most_:
            yield (
                f"a share of {value!r} in {name!r} from {_exactly(least)} to "
                f"{_exactly(most_)}",
                f"{share:.4g}, {count:,} of {n_rows:,} rows",
            )


def _exactly(value: float) -> str:
    """Show a bound in few digits if these are all that it has."""
    short = f"{value:g}"
    return short if float(short) == value else str(value)
