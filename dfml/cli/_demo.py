"""``dfml demo``: what a newcomer sees first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dfml.cli._command import output_options, print_json
from dfml.cli._status import Status
from dfml.demo import OUTPUTS, run_demo

if TYPE_CHECKING:
    from dfml.demo import Step

__all__ = ["demo"]

EXAMPLES = """
\b
Examples:
  dfml demo
  dfml demo --rows 200000 --output small-demo
"""

TITLE = "Which parcels will be late? A year of deliveries, invented by DuckDB."


@click.command(epilog=EXAMPLES)
@click.option(
    "--rows",
    type=click.IntRange(min=10_000),
    default=2_000_000,
    show_default=True,
    help="Parcels in the lake.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-output",
    show_default=True,
    help="Folder to make; that of an earlier demo is replaced.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Same seed, same metric."
)
@output_options
def demo(rows: int, output: Path, seed: int, as_json: bool) -> None:
    """Make a lake, train from SQL, score the lake: a minute at most, no server."""
    if as_json:
        with Status("running the demo"):
            facts = run_demo(output, rows=rows, seed=seed)
        print_json({"output": str(output), **facts})
        return
    with Status("making the lake") as status:
        facts = run_demo(output, rows=rows, seed=seed, report=PrintStep(status))
    print_facts(facts, output)


class PrintStep:
    """Prints a title, then a line for each step that is done."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._title = f"\n{click.style(TITLE, bold=True)}\n"

    def __call__(self, step: Step) -> None:
        """Print what was done, how long it took and how fast it was."""
        name = click.style(f"{step.name:<6}", fg="blue", bold=True)
        rate = f"{step.rows_per_second:>11,.0f} rows/s"
        self._status.clear()
        if self._title:
            click.echo(self._title)
            self._title = ""
        click.echo(
            f"  {name} {step.rows:>9,} {step.text:<43}{step.seconds:>5.1f} s{rate}"
        )
        self._status.say("working")


def print_facts(facts: dict[str, Any], output: Path) -> None:
    """Print the metric, the memory, the files and what DuckDB reads in them."""
    peak = facts["peak_memory_bytes"] / 2**20
    click.echo(
        f"\n  ROC AUC {facts['roc_auc']:.4f} on December, which the model never saw."
        f"\n  {facts['seconds']:.1f} s in all, peak memory {peak:,.0f} MiB.\n"
    )
    for name, text in OUTPUTS.items():
        if (output / name).exists():
            click.echo(f"  {output / name!s:<32} {text}")
    click.echo("\n  DuckDB reads the scored table:\n")
    click.echo("  predicted late   parcels   were late")
    for predicted, parcels, share in facts["counts"]:
        click.echo(f"  {predicted!s:<14}{parcels:>10,}{share:>12.1%}")
    click.echo()
