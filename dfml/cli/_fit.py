"""``dfml fit``."""

from __future__ import annotations

import inspect
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sklearn.utils import get_tags

import dfml
from dfml._model_places import check_replaceable
from dfml.cli._command import names_option, output_options, print_json, print_table
from dfml.cli._estimators import as_value, import_estimator, make_estimator
from dfml.cli._rows import Rows, choose_columns, is_sql, source_options
from dfml.cli._score import check_scoring, score_model
from dfml.cli._status import Status
from dfml.models import save_model
from dfml.responses._partitionwise import PartitionwiseMixin

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["fit"]

EXAMPLES = """
\b
Examples:
  dfml fit "SELECT * FROM flights WHERE month < 10" --database air.duckdb \\
      --target late --estimator sklearn.linear_model.SGDClassifier \\
      --param loss=log_loss --param alpha=1e-4 --output late.skops
  dfml fit train.sql --target late --epochs 3 --shuffle --random-state 0 \\
      --estimator sklearn.linear_model.SGDClassifier --output late.skops
  dfml fit "lake/*.parquet" --target price --drop id,name --mode iid \\
      --estimator sklearn.ensemble.HistGradientBoostingRegressor \\
      --output price.skops
  dfml fit lake/ --validation newest.parquet --early-stopping --epochs 50 \\
      --target late --estimator sklearn.linear_model.SGDClassifier \\
      --checkpoint late.checkpoint --output late.skops
"""


@click.command(epilog=EXAMPLES)
@source_options
@click.option(
    "--target",
    metavar="COLUMN",
    help="What to predict; for estimators that learn from one.",
)
@click.option(
    "--estimator",
    required=True,
    metavar="IMPORT.PATH",
    help="Class of scikit-learn, or built like them.",
)
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the estimator: a Python literal, or text. Repeatable.",
)
@click.option(
    "--mode",
    type=click.Choice(["incremental", "iid"]),
    default="incremental",
    show_default=True,
    help="Train on all partitions with partial_fit, or fit on the first alone.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Passes over the rows, with --mode incremental.",
)
@click.option(
    "--sample",
    metavar="SAMPLE",
    help="With --mode iid: first or random (partition), a number of rows, or a share"
    " of them such as 0.1.  [default: first]",
)
@click.option("--shuffle", is_flag=True, help="Permute rows and partitions each epoch.")
@click.option(
    "--validation",
    metavar="SOURCE",
    help="Other rows, to score each epoch on; SQL runs in --database too.",
)
@click.option(
    "--early-stopping",
    is_flag=True,
    help="Stop when five epochs have not raised the score on --validation, or else on"
    " the partitions before they are trained on.",
)
@click.option(
    "--scoring",
    metavar="NAME",
    help="Scorer of scikit-learn for these scores, such as roc_auc.",
)
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Save the training here every two seconds: after a crash, or Ctrl-C, the same"
    " command goes on. Rows of SQL are kept here until it is done.",
)
@names_option("--classes", help="All classes; found if not given.")
@click.option("--sample-weight", metavar="COLUMN", help="Weights of the rows.")
@names_option("--features", help="Train on these columns only.")
@names_option("--drop", help="Leave these columns out.")
@click.option("--random-state", type=int, metavar="SEED", help="Make it repeatable.")
@click.option("--score", "scored", is_flag=True, help="Score the rows of SOURCE too.")
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Model file to write; an existing one is replaced, another file never.",
)
@output_options
def fit(
    source: str | None,
    sql: str | None,
    database: Path | None,
    rows_per_partition: int | None,
    target: str | None,
    estimator: str,
    parameters: tuple[str, ...],
    mode: str,
    epochs: int,
    shuffle: bool,
    validation: str | None,
    early_stopping: bool,
    scoring: str | None,
    checkpoint: Path | None,
    sample: str | None,
    classes: list[str] | None,
    sample_weight: str | None,
    features: list[str] | None,
    drop: list[str] | None,
    random_state: int | None,
    scored: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Train a model on SOURCE and write it to a file.

    SOURCE is SQL text, a .sql file, Parquet as a file, a glob or a folder, or the
    folder of a Delta table. The features are all columns but the target and the weight.
    """
    check_output(output)
    cls = import_estimator(estimator)
    inner = make_estimator(cls, parameters, random_state)
    passes = {
        "epochs": epochs,
        "shuffle": shuffle,
        "early_stopping": early_stopping,
        "checkpoint": None if checkpoint is None else str(checkpoint),
    }
    model = make_model(inner, mode, passes, sample, scoring, random_state)
    check_target(inner, target, sample_weight, scored)
    check_validation(model, validation, target)
    check_scoring(scoring)
    if scoring is not None and not (scored or validation or early_stopping):
        raise click.UsageError(
            "--scoring goes with --score, --validation or --early-stopping."
        )
    options: dict[str, Any] = {}
    if classes is not None:
        options["classes"] = [as_value(name) for name in classes]
    if sample_weight is not None:
        options["sample_weight"] = sample_weight
    labels = [name for name in (target, sample_weight) if name is not None]
    rows = Rows("dfml fit", database, rows_per_partition, kept_in=checkpoint)
    with Status("reading") as status:
        begin = time.perf_counter()
        frame = rows.read(source, sql)
        frame = choose_columns("dfml fit", frame, features, drop or [], labels)
        if validation is not None:
            names = [n for n in frame.columns if n not in labels]
            options["validation"] = read_validation(rows, validation, names, target)
        read = time.perf_counter()
        status.say(f"training {cls.__name__} on {frame.npartitions} partitions")
        status.follow()
        try:
            model.fit(frame, y=target, **options)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(how_far(model, checkpoint)) from None
        trained = time.perf_counter()
        status.say("scoring")
        score = score_model(model, frame, target, scoring) if scored else None
        save_model(model, output)
    rows.remove()
    facts = {
        "model": str(output),
        "estimator": estimator,
        "mode": mode,
        "target": target,
        "features": [str(n) for n in frame.columns if n not in labels],
        "classes": plain_classes(model),
        "partitions": frame.npartitions,
        **what_was_seen(model),
        "read_seconds": round(read - begin, 3),
        "fit_seconds": round(trained - read, 3),
        "validation_scores": plain_scores(model),
        "score": score,
    }
    (print_json if as_json else print_fit)(facts)


def check_output(output: Path) -> None:
    """Refuse, before any work, a place where no file can be written.

    Raises
    ------
    click.UsageError
        Naming the folder.
    ModelFileError
        If another kind of file is there.
    """
    folder = output.parent
    if not folder.is_dir():
        raise click.UsageError(f"--output: there is no folder {str(folder)!r}.")
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"--output: nothing can be written to {str(folder)!r}.")
    check_replaceable("dfml fit --output", output)


def check_target(
    estimator: BaseEstimator, target: str | None, weight: str | None, scored: bool
) -> None:
    """Refuse a target that is missing, or is the weight too.

    Raises
    ------
    click.UsageError
        Saying what to pass.
    """
    if target is None and get_tags(estimator).target_tags.required:
        name = type(estimator).__name__
        raise click.UsageError(f"{name} learns from a target. Pass --target COLUMN.")
    if target is None and scored:
        raise click.UsageError("--score compares with the truth. Pass --target COLUMN.")
    if target is not None and target == weight:
        raise click.UsageError(f"--target and --sample-weight are both {target}.")


def check_validation(model: Any, validation: str | None, target: str | None) -> None:
    """Refuse rows to score epochs on where nothing is scored.

    Raises
    ------
    click.UsageError
        Saying what to pass.
    """
    if validation is None:
        return
    if not isinstance(model, dfml.Incremental):
        raise click.UsageError("--validation goes with --mode incremental.")
    if target is None:
        raise click.UsageError("--validation is scored. Pass --target COLUMN.")


def make_sample(text: str | None) -> Any:
    """Read ``--sample``.

    Raises
    ------
    click.UsageError
        If it is no sample.
    """
    sample = "first" if text is None else as_value(text)
    is_known = sample in ("first", "random")
    is_count = type(sample) is int and sample >= 1
    if not (is_known or is_count or (isinstance(sample, float) and 0 < sample < 1)):
        raise click.UsageError(
            "--sample expects first, random, a number of rows, or a share of them"
            f" between 0 and 1. Got {text!r}."
        )
    return sample


def make_model(
    estimator: BaseEstimator,
    mode: str,
    passes: dict[str, Any],
    sample: str | None,
    scoring: str | None,
    random_state: int | None,
) -> Any:
    """Wrap an estimator for tables, unless it is one of dfml's own.

    Raises
    ------
    click.UsageError
        If the estimator, or an option, does not go with the mode.
    """
    if sample is not None and mode != "iid":
        raise click.UsageError("--sample goes with --mode iid.")
    is_own = isinstance(estimator, PartitionwiseMixin)
    if mode == "iid" or is_own:
        check_no_passes(passes)
    if is_own:
        return estimator
    if mode == "iid":
        chosen = make_sample(sample)
        return dfml.IID(estimator, sample=chosen, random_state=random_state)
    if not hasattr(estimator, "partial_fit"):
        name = type(estimator).__name__
        raise click.UsageError(
            f"{name} has no partial_fit, so it cannot be trained on all partitions."
            " Pass --mode iid to fit it on the first one."
        )
    return dfml.Incremental(
        estimator, scoring=scoring, random_state=random_state, **passes
    )


def check_no_passes(passes: dict[str, Any]) -> None:
    """Refuse options of passes over all rows where there are none.

    Raises
    ------
    click.UsageError
        Naming the options.
    """
    defaults = inspect.signature(dfml.Incremental).parameters
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in passes.items()
        if value != defaults[name].default
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: only with --mode incremental, and an --estimator that"
            " has partial_fit."
        )


def read_validation(
    rows: Rows, source: str, features: list[str], target: str | None
) -> tuple[Any, Any]:
    """Read the rows that epochs are scored on: features and target."""
    where = f"{rows.where} --validation"
    if is_sql(source):
        rows = replace(rows, where=where)
    else:
        rows = replace(rows, where=where, database=None, rows_per_partition=None)
    labels = [] if target is None else [target]
    held = choose_columns(where, rows.read(source), features, [], labels)
    return held[features], held[target]


def how_far(model: Any, checkpoint: Path | None) -> str:
    """Say where an interrupted training has come to."""
    n_steps = getattr(model, "n_partitions_seen_", 0)
    text = f"{n_steps} partitions were trained on, and no model was written."
    if checkpoint is None:
        return text
    return f"{text} The same command goes on from the checkpoint in '{checkpoint}'."


def plain_classes(model: Any) -> Any:
    """Return the classes as a list, None where there are none."""
    classes = getattr(model, "classes_", None)
    if isinstance(classes, list):  # several targets
        return [each.tolist() for each in classes]
    return None if classes is None else classes.tolist()


def plain_scores(model: Any) -> list[float | None] | None:
    """Return the scores of the epochs, null where there is none."""
    scores = getattr(model, "validation_scores_", None)
    return scores and [None if math.isnan(each) else each for each in scores]


def what_was_seen(model: Any) -> dict[str, Any]:
    """Say how much the model was trained on."""
    names = ("n_samples_seen_", "n_partitions_seen_", "partition_")
    return {n.rstrip("_"): getattr(model, n) for n in names if hasattr(model, n)}


def print_fit(facts: dict[str, Any]) -> None:
    """Print what was trained, on what, for how long."""
    seen = facts.get("n_samples_seen")
    classes, score = facts["classes"], facts["score"]
    epochs = facts["validation_scores"]
    print_table(
        {
            "model": facts["model"],
            "estimator": f"{facts['estimator']} ({facts['mode']})",
            "target": facts["target"],
            "features": ", ".join(facts["features"]),
            "classes": classes and ", ".join(map(str, classes)),
            "rows": None if seen is None else f"{seen:,}",
            "partitions": describe_partitions(facts),
            "scores of epochs": epochs and ", ".join(map(as_text, epochs)),
            "score": None if score is None else f"{score:.6g} on the rows of SOURCE",
            "seconds": f"{facts['read_seconds']:.1f} to read,"
            f" {facts['fit_seconds']:.1f} to train",
        }
    )


def as_text(score: float | None) -> str:
    """Show a score."""
    return "-" if score is None else f"{score:.6g}"


def describe_partitions(facts: dict[str, Any]) -> str:
    """Say which partitions were trained on."""
    total = facts["partitions"]
    if facts.get("partition") is not None:
        return f"number {facts['partition']} of {total}"
    steps = facts.get("n_partitions_seen")
    return f"{total}" if steps in (None, total) else f"{total}, {steps} steps"
