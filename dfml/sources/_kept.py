"""Spills that are kept, and known again by a later run of the same query."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from dfml.exceptions import InputTypeError, TargetExistsError
from dfml.sources._columns import Column
from dfml.sources._spill import open_spill
from dfml.sources._spill_folder import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dfml.sources._spill import Spill

__all__ = ["KeptQuery", "check_target"]


def check_target(target: str | os.PathLike[str]) -> Path:
    """Return the path of a directory that is new, empty or a spill that was kept."""
    hint = "name a directory"
    if not isinstance(target, str | os.PathLike) or not os.fspath(target):
        raise InputTypeError.expecting(
            "read_sql", "spill_to to be a path", repr(target), hint
        )
    path = local_path("read_sql", "spill_to", target, hint).absolute()
    if path.is_symlink():
        # A folder can take the place of an empty one, and not that of a link.
        path = path.resolve()
    if path.exists() and not (path.is_dir() and _may_be_used(path)):
        raise TargetExistsError.expecting(
            "read_sql",
            "spill_to to be an empty directory or a new one",
            str(path),
            "give another directory, or empty this one",
        )
    return path


def _may_be_used(directory: Path) -> bool:
    """Tell whether a directory is empty or a spill."""
    return not any(directory.iterdir()) or open_spill(directory) is not None


@dataclass(frozen=True)
class KeptQuery:
    """A query whose rows are kept.

    Attributes
    ----------
    target : Path
        Where they are, or will be.
    digest : str
        From :func:`dfml.sources._query_digest.query_digest`.
    source : str
        The query, for messages.
    types : list of [name, type], or None
        The columns that the query has now, None if that cannot be told.
    """

    target: Path
    digest: str
    source: str
    types: list[list[str]] | None

    def find(self) -> tuple[Spill, list[Column]] | None:
        """Return the rows that an earlier run has kept, None if there are none yet.

        Raises
        ------
        TargetExistsError
            If they are of another query.
        """
        found = open_spill(self.target)
        if found is None:
            return None
        spill, label = found
        if label.get("digest") != self.digest:
            self._refuse(
                "rows of this query, parameters and database",
                "rows of the same text with others of these, or with another schema, "
                "time zone, setting, frame, view, macro, variable or working directory"
                if label.get("query") == self.source
                else f"rows of:\n{label.get('query')}",
            )
        if self.types is not None and label["types"] != self.types:
            self._refuse(f"columns {self.types}", f"columns {label['types']}")
        columns = [
            Column(field.name, kind, field.type, None if values is None else (*values,))
            for field, (kind, values) in zip(
                spill.schema(), label["columns"], strict=True
            )
        ]
        return spill, columns

    def _refuse(self, expected: str, got: str) -> NoReturn:
        raise TargetExistsError.expecting(
            "read_sql",
            f"spill_to={str(self.target)!r} to hold the {expected}:\n{self.source}\n",
            got,
            "give another directory, or remove this one",
        )

    def label(self, columns: Sequence[Column]) -> dict[str, Any]:
        """Return what to note beside the rows."""
        return {
            "digest": self.digest,
            "query": self.source,
            "types": self.types,
            "columns": [(column.sql_type, column.categories) for column in columns],
        }
