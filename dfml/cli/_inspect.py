"""``dfml inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dfml.cli._command import output_options, print_json, print_table
from dfml.cli._model import model_argument
from dfml.models import inspect_model

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["inspect"]

EXAMPLES = """
\b
Examples:
  dfml inspect late.skops
  dfml inspect late.skops --json
"""


@click.command(epilog=EXAMPLES)
@model_argument
@output_options
def inspect(model: Path, as_json: bool) -> None:
    """Show what is in MODEL, without making any object of it."""
    card = inspect_model(model).to_dict()
    if as_json:
        print_json(card)
        return
    parameters = card.pop("parameters") or {}
    print_table({name: as_text(name, value) for name, value in card.items()})
    if parameters:
        click.echo("parameters")
    for name, value in parameters.items():
        click.echo(f"  {name}={value!r}")


def as_text(name: str, value: Any) -> Any:
    """Show a field of the card on a line; None for what is empty."""
    if name == "file_size":
        return f"{value:,} bytes"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return value
