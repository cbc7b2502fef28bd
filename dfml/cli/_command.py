"""What all commands share: errors, warnings, interruption, and how results look.

Results go to stdout and everything else to stderr.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dfml.cli._wording import in_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ErrorReportingGroup",
    "Failure",
    "names_option",
    "output_options",
    "print_json",
    "print_table",
]

F = TypeVar("F", bound="Callable[..., Any]")

INTERRUPTED = 130


class Failure(click.ClickException):
    """The work failed: a message on stderr and exit code 1."""

    def __init__(self, err: Exception, command: click.Command | None = None) -> None:
        text = str(err) or type(err).__name__
        if isinstance(err, LookupError):  # their text is only what was not found
            text = f"{type(err).__name__}: {text}"
        notes = getattr(err, "__notes__", [])
        whole = "\n".join([text, *notes])
        super().__init__(whole if command is None else in_options(whole, command))


class ErrorReportingGroup(click.Group):
    """Ends each command with one short message and the right exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; ``--debug`` lets errors through, with their traceback."""
        ctx.ensure_object(dict)
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except BrokenPipeError:  # as in `dfml inspect model | head`
                raise
            except KeyboardInterrupt as interrupt:
                click.echo(" ".join(["Interrupted.", *interrupt.args]), err=True)
                ctx.exit(INTERRUPTED)
            except Exception as err:
                if ctx.obj.get("debug"):
                    raise
                command = self.get_command(ctx, ctx.invoked_subcommand or "")
                raise Failure(err, command) from err


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning as one text on stderr, without the line of code."""
    context = click.get_current_context(silent=True)
    text = in_options(str(message), context.command) if context else str(message)
    click.echo(f"Warning: {text}", err=True)


def output_options(command: F) -> F:
    """Add ``--json`` and ``--debug`` to a command."""
    command = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show the traceback of an error.",
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object."
    )(command)


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(dict)["debug"] = value


def names_option(name: str, *, help: str) -> Callable[[F], F]:
    """Make an option for names, ``a,b,c``; more than one of it adds to the list."""
    return click.option(
        name, multiple=True, callback=_split_names, metavar="A,B,...", help=help
    )


def _split_names(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> Any:
    if not texts:
        return None
    names = [name.strip() for text in texts for name in text.split(",")]
    return [name for name in names if name]


def print_json(facts: Mapping[str, Any]) -> None:
    """Print one JSON object; what is not plain data is shown as text."""
    click.echo(json.dumps(facts, indent=2, default=str))


def print_table(facts: Mapping[str, Any]) -> None:
    """Print names and values in two columns, leaving out what is None."""
    shown = {name: value for name, value in facts.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {value}")
