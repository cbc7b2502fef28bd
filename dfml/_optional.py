"""Import of optional packages, with an error that names the extra to install."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dfml.exceptions import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType


def import_optional(name: str, *, extra: str, needed_by: str) -> ModuleType:
    """Import a package that only some functions need.

    Parameters
    ----------
    name : str
        The package, as in an import statement.
    extra : str
        The extra of dfml that installs it.
    needed_by : str
        The call that needs it, for the message.

    Returns
    -------
    module : module
        The imported package.

    Raises
    ------
    MissingDependencyError
        If the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as err:
        package = name.partition(".")[0]
        raise MissingDependencyError(
            f"{needed_by} needs the optional package {package!r}.\n\n"
            f'Hint: pip install "dfml[{extra}]".'
        ) from err
