"""``dfml predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dfml.cli._checks import check_option, read_checks
from dfml.cli._command import names_option, output_options, print_json, print_table
from dfml.cli._model import model_argument, read_model, trust_option
from dfml.cli._rows import database_option, open_places
from dfml.cli._status import Status
from dfml.sinks._targets import FORMATS, MODES
from dfml.table import predict_table

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["predict"]

EXAMPLES = """
\b
Examples:
  dfml predict late.skops lake/ scored/
  dfml predict late.skops "flights/2013-*.parquet" scored/ \\
      --keep id,day --method predict --method predict_proba
  dfml predict late.skops lake/ scored/ --keep-none --mode overwrite --json
  dfml predict late.skops lake/ scored/ --format delta --partition-by month
  dfml predict late.skops lake/ warehouse.duckdb --table scored --mode append
  dfml predict late.skops "FROM flights WHERE month = 12 ORDER BY id" \\
      scored/ --database air.duckdb
"""


@click.command(epilog=EXAMPLES)
@model_argument
@click.argument("source")
@click.argument("target")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    default=["predict"],
    show_default="predict",
    help="Response method, such as predict_proba or transform. Repeatable.",
)
@names_option("--keep", help="Columns of SOURCE to keep; all if not given.")
@click.option("--keep-none", is_flag=True, help="Write the predictions alone.")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="error",
    show_default=True,
    help="What to do with rows of TARGET that another job has written.",
)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    help="What TARGET is. If not given, a folder with a _delta_log is delta, *.duckdb,"
    " *.ddb and *.db are duckdb, and any other path is parquet.",
)
@database_option
@click.option("--table", metavar="NAME", help="Table in the database file TARGET.")
@names_option("--partition-by", help="Columns that a new table is partitioned by.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Go on where an interrupted call of the same job stopped.",
)
@check_option
@click.option("--verify", is_flag=True, help="Read back all that was written.")
@click.option(
    "--on-bad-file",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    show_default=True,
    help="What to do about a broken Parquet file of SOURCE.",
)
@click.option("--name", metavar="COLUMN", help="Name of the one output column.")
@click.option("--prefix", metavar="TEXT", help="Put before the output columns' names.")
@trust_option
@output_options
def predict(
    model: Path,
    source: str,
    target: str,
    methods: tuple[str, ...],
    keep: list[str] | None,
    keep_none: bool,
    mode: str,
    format: str | None,
    database: Path | None,
    table: str | None,
    partition_by: list[str] | None,
    resume: bool,
    checks: tuple[str, ...],
    verify: bool,
    on_bad_file: str,
    name: str | None,
    prefix: str | None,
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the predictions of MODEL for SOURCE to TARGET.

    SOURCE is Parquet, as a file, a glob or a folder, the folder of a Delta table, the
    *.metadata.json of an Iceberg table, SQL text or a .sql file. TARGET is a folder to
    make, or a DuckDB database file with --table, which may be that of the SQL. It
    changes when all rows are written, in one step.
    """
    if keep_none and keep is not None:
        raise click.UsageError("Give --keep or --keep-none, not both.")
    chosen = read_checks(checks)
    fitted = read_model(model, trust)
    with (
        open_places("dfml predict", source, target, database) as (rows, place),
        Status("predicting") as status,
    ):
        report = predict_table(
            fitted,
            rows,
            place,
            method=list(methods),
            keep=[] if keep_none else keep,
            mode=mode,
            format=format,
            table=table,
            partition_by=partition_by,
            resume=resume,
            checks=chosen,
            verify=verify,
            on_bad_file=on_bad_file,
            name=name,
            prefix=prefix,
            progress=status.count,
        )
    (print_json if as_json else print_report)(report.to_dict())


def print_report(report: dict[str, Any]) -> None:
    """Print what was written, and how fast."""
    if report["done_before"]:
        click.echo("nothing to do: an earlier call of this job has written the target")
    facts = {
        "target": report["target"],
        "columns": ", ".join(report["columns"]),
        "rows": f"{report['rows']:,}",
        "files": f"{report['files']:,}, {report['bytes']:,} bytes",
        "skipped": describe_skipped(report["skipped_files"]),
        "model": report["model"][:16],
        "job": report["job"],
    }
    print_table(facts if report["done_before"] else {**facts, **work_in(report)})


def work_in(report: dict[str, Any]) -> dict[str, str | None]:
    """Say what this call has done of a job."""
    rate = report["rows_per_second"]
    resumed = report["resumed_parts"]
    return {
        "resumed": f"{resumed:,} of {report['parts']:,} parts" if resumed else None,
        "seconds": f"{report['seconds']:.1f}"
        + (f", {rate:,.0f} rows a second" if report["predicted_rows"] else ""),
    }


def describe_skipped(files: dict[str, str]) -> str | None:
    """Name the files that were skipped, on a line each after the first."""
    lines = [f"{path}: {reason}" for path, reason in files.items()]
    return "\n         ".join(lines) or None
