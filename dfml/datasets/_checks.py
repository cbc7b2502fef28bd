"""Checks of the generators' parameters, with one form of message."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from dfml.exceptions import DfmlError

__all__ = ["check_counts", "check_number", "refuse"]


def refuse(where: str, expected: str, got: str, hint: str) -> ValueError:
    """Build the ValueError of a parameter, worded as every error of dfml."""
    return ValueError(str(DfmlError.expecting(where, expected, got, hint)))


def check_counts(where: str, minimum: int, **counts: Any) -> None:
    """Refuse what is not an integer of at least the minimum."""
    for name, value in counts.items():
        is_count = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_count or int(value) < minimum:
            raise refuse(
                where,
                f"{name} to be an integer of at least {minimum}",
                repr(value),
                f"pass {name} as an int",
            )


def check_number(
    where: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> None:
    """Refuse what is not a finite number within the bounds."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (math.isfinite(value) and low <= value <= high):
        raise refuse(
            where,
            f"{name} to be a finite number from {low:g} to {high:g}",
            repr(value),
            f"pass {name} as a float",
        )
