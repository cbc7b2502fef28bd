"""From an import path and ``name=value`` texts to an estimator."""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import TYPE_CHECKING, Any

import click
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_value", "import_estimator", "make_estimator"]


EXAMPLE = "Give a path such as sklearn.linear_model.SGDClassifier."


def import_estimator(path: str) -> type[BaseEstimator]:
    """Import an estimator class.

    Raises
    ------
    click.UsageError
        If the path cannot be imported, or is something else.
    """
    module, dot, name = path.rpartition(".")
    if not dot or path.startswith("."):
        raise click.UsageError(f"--estimator: {path!r} names no module. {EXAMPLE}")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as err:
        raise click.UsageError(
            f"--estimator: {path!r} cannot be imported: {err}. {EXAMPLE}"
        ) from err
    if not (inspect.isclass(found) and issubclass(found, BaseEstimator)):
        raise click.UsageError(
            f"--estimator: {path!r} is not an estimator class. {EXAMPLE}"
        )
    return found


def as_value(text: str) -> Any:
    """Read a Python literal, such as ``1e-4`` or ``(10, 5)``; anything else is text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def make_estimator(
    cls: type[BaseEstimator], parameters: Sequence[str], random_state: int | None
) -> BaseEstimator:
    """Make an estimator from ``name=value`` texts.

    Raises
    ------
    click.UsageError
        If a text has no ``=``, or the estimator has no such parameter.
    """
    given: dict[str, Any] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--param expects name=value. Got {text!r}.")
        given[name.strip()] = as_value(value)
    known = list(inspect.signature(cls).parameters)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise click.UsageError(
            f"{cls.__name__} has no parameter {', '.join(unknown)}."
            f" It has: {', '.join(known)}."
        )
    if random_state is not None and "random_state" in known:
        given.setdefault("random_state", random_state)
    try:
        return cls(**given)
    except TypeError as err:
        raise click.UsageError(f"{cls.__name__} cannot be made: {err}.") from err
