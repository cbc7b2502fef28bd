"""From the words of the library to those of a command line: ``keep=`` is ``--keep``."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

__all__ = ["HINTS", "in_options"]

#: Advice that names Python, and what it is to somebody at a command line.
HINTS = {
    "create it in DuckDB, or register a Python object under that name, "
    "connection.register(name, frame); variables are not looked up by name": "name "
    "the file of the table with --database; a file of rows is FROM 'rows.parquet'",
    "run it with connection.execute, and read": "run it in DuckDB, and read",
    "run the others with connection.execute, and read": "run the others in DuckDB, and "
    "read",
    "convert them, for example ddf.astype({name: dtype})": "convert them in the "
    "source, in SQL with CAST(name AS DOUBLE)",
    "a DuckDBPyConnection": "a DuckDB database",
    "pass one of these, with the format that it has": "leave --format out, or name "
    "another target",
}
#: Options whose arguments in Python have another name.
_ARGUMENTS = {"check": "checks", "trust": "trusted"}
# A call around what is to be passed, as in `dfml.IID(estimator, sample=0.1)`.
_CALL = re.compile(
    r"\b(?:dfml\.\w+\(estimator|fit\(\.\.\.|load_model\(path), (\w+=[^()]*)\)"
)
_DROPNA = re.compile(r"(leave those rows out): ddf\.dropna\(subset=.*?\), or (in SQL)")


def in_options(text: str, command: click.Command) -> str:
    """Say a message of the library in the options of a command.

    Parameters
    ----------
    text : str
        It may name arguments as Python does.
    command : click.Command
        The command that was called.

    Returns
    -------
    text : str
        With options in place of those arguments that the command has.

    Examples
    --------
    >>> from dfml.cli import main
    >>> in_options('pass mode="overwrite", or resume=False', main.commands["predict"])
    'pass --mode overwrite, or --no-resume'
    """
    for library, line in HINTS.items():
        text = text.replace(library, line)
    text = _DROPNA.sub(r"\1, \2 with", _CALL.sub(r"\1", text))
    for parameter in command.params:
        options = [each for each in parameter.opts if each.startswith("--")]
        if options:
            text = _replace(text, options[0], parameter)
    return text


def _replace(text: str, option: str, parameter: click.Parameter) -> str:
    name = option.removeprefix("--").replace("-", "_")
    # Not in a path, where `name=value` is a folder.
    start = rf"(?<![\w/]){_ARGUMENTS.get(name, name)}="
    if parameter.secondary_opts:
        return re.sub(rf"{start}False\b", parameter.secondary_opts[0], text)
    text = re.sub(rf"{start}None\b", f"no {option}", text)
    text = re.sub(rf'{start}"([^"]*)"', rf"{option} \1", text)
    text = re.sub(rf"{start}(\d[\d.]*\d|\d)", rf"{option} \1", text)

    def in_list(match: re.Match[str]) -> str:
        values = [each for each in ast.literal_eval(match[1]) if each is not ...]
        return " ".join(f"{option} {each}" for each in values) or option

    text = re.sub(rf"{start}(\[[^\]]*\])", in_list, text)
    return re.sub(rf"{start}(?:\{{[^}}]*\}}|(?=[\s,.;)]|$))", option, text)
