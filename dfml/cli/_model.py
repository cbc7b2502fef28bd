"""The model file that a command works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dfml.estimators import as_lazy
from dfml.models import load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["model_argument", "read_model", "trust_option"]

model_argument = click.argument(
    "model", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
trust_option = click.option(
    "--trust",
    multiple=True,
    metavar="TYPE",
    help="Also make objects of this type from the model file. Repeatable.",
)


def read_model(path: Path, trusted: Sequence[str]) -> Any:
    """Load a model; one of scikit-learn is wrapped, so that it takes lazy frames."""
    return as_lazy("load_model", load_model(path, trusted=trusted))
