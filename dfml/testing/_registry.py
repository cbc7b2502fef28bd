"""A list of lazy checks; a check is a documented function of one case."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfml.testing._case import Case

__all__ = ["Registry"]


class Registry(dict[str, "Callable[[Case], None]"]):
    """Checks by the names of their functions, in the order of the file."""

    def __call__(self, check: Callable[[Case], None]) -> Callable[[Case], None]:
        """Decorate a check: put it on the list."""
        self[check.__name__] = check
        return check
