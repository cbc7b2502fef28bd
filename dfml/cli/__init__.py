"""The command line: parse, call the public API, print. No work is done here."""

from __future__ import annotations

import click

import dfml
from dfml.cli._command import ErrorReportingGroup
from dfml.cli._demo import demo
from dfml.cli._fit import fit
from dfml.cli._inspect import inspect
from dfml.cli._predict import predict
from dfml.cli._score import score

__all__ = ["main"]

EXAMPLES = """
\b
Examples:
  dfml demo
  dfml fit train.sql --database warehouse.duckdb --target late \\
      --estimator sklearn.linear_model.SGDClassifier \\
      --param loss=log_loss --output late.skops
  dfml predict late.skops lake/ scored/ --keep id
  dfml score late.skops holdout.parquet --scoring roc_auc
  dfml inspect late.skops

\b
Exit codes: 0 done, 1 the work failed, 2 wrong command line, 130 interrupted.
"""


@click.group(cls=ErrorReportingGroup, epilog=EXAMPLES)
@click.version_option(dfml.__version__, prog_name="dfml")
def main() -> None:
    """Train and run scikit-learn models on tables larger than memory."""


for _command in (fit, predict, score, inspect, demo):
    main.add_command(_command)
