"""``--check``: what a column has to be, as one text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from dfml.exceptions import InputTypeError
from dfml.table import Check

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_option", "read_checks"]

_SHARE = re.compile(r"share\((.+)\)")
_RANGE = re.compile(r"(.+?)\.\.(.+)")

check_option = click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="COLUMN:RULES",
    help="What a written column has to be before TARGET changes, such as"
    ' "prediction: nulls=0, share(late)=0.1..0.4" or "p: minimum=0, maximum=1".'
    " Repeatable.",
)


def read_checks(texts: Sequence[str]) -> dict[str, Check]:
    """Read the checks of columns, by column.

    Parameters
    ----------
    texts : sequence of str
        Each ``COLUMN: RULE=VALUE, ...``.

    Returns
    -------
    checks : dict of str to Check
        For ``predict_table``.

    Raises
    ------
    click.UsageError
        If one cannot be read.

    Examples
    --------
    >>> read_checks(["p: nulls=0, maximum=0.5, share(a)=0.1..0.4"])["p"].shares
    {'a': (0.1, 0.4)}
    """
    checks: dict[str, Check] = {}
    for text in texts:
        name, colon, rules = text.partition(":")
        if not colon or not rules.strip():
            raise click.UsageError(f"--check expects COLUMN: RULE=VALUE. Got {text!r}.")
        if name.strip() in checks:
            raise click.UsageError(f"--check names {name.strip()!r} twice.")
        checks[name.strip()] = _read_rules(text, rules)
    return checks


def _read_rules(text: str, rules: str) -> Check:
    found: dict[str, Any] = {}
    shares: dict[str, tuple[float, float]] = {}
    for rule in rules.split(","):
        name, _, value = (piece.strip() for piece in rule.partition("="))
        share, between = _SHARE.fullmatch(name), _RANGE.fullmatch(value)
        try:
            if share and between:
                shares[share[1].strip()] = float(between[1]), float(between[2])
            elif name in ("nulls", "minimum", "maximum"):
                found[name] = _number(value)
            else:
                raise ValueError
        except ValueError as err:
            raise click.UsageError(
                "--check expects nulls=N, minimum=N, maximum=N or"
                f" share(VALUE)=LOW..HIGH. Got {rule.strip()!r} in {text!r}."
            ) from err
    try:
        return Check(**found, shares=shares or None)
    except InputTypeError as err:
        raise click.UsageError(f"--check cannot be {text!r}: {err}") from err


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
