"""``dfml score``."""

from __future__ import annotations

import time
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click
from sklearn.metrics import get_scorer_names

from dfml._scoring import score_lazily
from dfml.cli._command import output_options, print_json, print_table
from dfml.cli._model import model_argument, read_model, trust_option
from dfml.cli._rows import Rows, source_options
from dfml.cli._status import Status

if TYPE_CHECKING:
    from pathlib import Path

    import dask.dataframe as dd

__all__ = ["check_scoring", "score", "score_model"]

EXAMPLES = """
\b
Examples:
  dfml score late.skops holdout.parquet
  dfml score late.skops "lake/month=12/*.parquet" --scoring roc_auc
  dfml score late.skops "SELECT * FROM flights WHERE month = 12" \\
      --database air.duckdb --scoring neg_log_loss --json
"""


@click.command(epilog=EXAMPLES)
@model_argument
@source_options
@click.option(
    "--target", metavar="COLUMN", help="The truth; the target of fit if none."
)
@click.option(
    "--scoring",
    metavar="NAME",
    help="Scorer of scikit-learn, such as roc_auc; greater is better.",
)
@click.option("--sample-weight", metavar="COLUMN", help="Weights of the rows.")
@trust_option
@output_options
def score(
    model: Path,
    source: str | None,
    sql: str | None,
    database: Path | None,
    rows_per_partition: int | None,
    target: str | None,
    scoring: str | None,
    sample_weight: str | None,
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """Score MODEL on SOURCE, without collecting the rows.

    SOURCE is SQL text, a .sql file, Parquet as a file, a glob or a folder, or the
    folder of a Delta table. The score is accuracy for classifiers and R squared for
    regressors, unless --scoring or the model says otherwise.
    """
    check_scoring(scoring)
    begin = time.perf_counter()
    fitted = read_model(model, trust)
    with Status("reading") as status:
        frame = Rows("dfml score", database, rows_per_partition).read(source, sql)
        status.say("scoring")
        value = score_model(fitted, frame, target, scoring, sample_weight)
        n_rows = len(frame)
    facts = {
        "model": str(model),
        "scoring": scoring or getattr(fitted, "scoring", None) or "default",
        "score": value,
        "rows": n_rows,
        "seconds": round(time.perf_counter() - begin, 3),
    }
    if as_json:
        print_json(facts)
    else:
        shown = {"score": f"{value:.6g}", "rows": f"{n_rows:,}"}
        print_table({**facts, **shown})


def check_scoring(scoring: str | None) -> None:
    """Refuse a name that scikit-learn does not know, before any work.

    Raises
    ------
    click.UsageError
        Naming what is near.
    """
    names = get_scorer_names()
    if scoring is not None and scoring not in names:
        near = get_close_matches(scoring, names, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"--scoring: there is no scorer {scoring!r}.{hint}")


def score_model(
    model: Any,
    frame: dd.DataFrame,
    target: str | None = None,
    scoring: str | None = None,
    sample_weight: str | None = None,
) -> float:
    """Score a model of dfml; `scoring` goes before the model's own.

    Raises
    ------
    click.UsageError
        If neither the caller nor the model says which column is the truth.
    """
    contract = model._contract
    if target is None and (contract is None or contract.target is None):
        raise click.UsageError("The model does not know its target. Pass --target.")
    truth = target if target is not None else contract.target
    if truth == sample_weight:
        raise click.UsageError(f"The target and --sample-weight are both {truth}.")
    chosen = model._scoring if scoring is None else scoring
    return score_lazily(model, frame, target, sample_weight, chosen)
