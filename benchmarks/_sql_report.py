"""The page of the SQL benchmark, made of what was measured."""

from __future__ import annotations

import os

import _sql_training
from _report import at_least, at_most, met, spread, table, times

CORES = os.cpu_count()
HEAD = ("what", "demanded", "measured", "met")
#: Model, and where its rows are.
CASES = (("linear", "parquet"), ("linear", "table"), ("forest", "parquet"))
MODELS = {
    "linear": "LogisticRegression",
    "forest": "RandomForestClassifier, 50 trees",
}
SOURCES = {"parquet": "Parquet files", "table": "a table of DuckDB"}
WAYS = {
    "stream": "stream of the features alone",
    "arrays": "`predict` alone, arrays ready",
    "predict_sql": "`predict_sql`",
    "register": "`register`",
    "export_sql": "`export_sql`",
}


def ways_of(model):
    """Which ways are timed: a forest as SQL takes minutes, and the docs say so."""
    return [way for way in WAYS if way != "export_sql" or model == "linear"]


def rows(m):
    """Make the lines of the table: what, demanded, measured, met."""
    for model, source in CASES:
        case = f"{MODELS[model]}, {SOURCES[source]}"
        seconds = {w: m.seconds(f"{w} {model} {source}") for w in ways_of(model)}
        limit = max(seconds["stream"], seconds["arrays"])
        what = f"{case}: `predict_sql` over the slower of predict and stream"
        ratio = seconds["predict_sql"] / limit
        yield of_forests(model, at_most, what, 1.25, ratio)
        what = f"{case}: rows a second, `register` over `predict_sql`"
        ratio = seconds["predict_sql"] / seconds["register"]
        yield of_forests(model, at_least, what, 0.4, ratio)
        if "export_sql" in seconds:
            yield at_least(
                f"{case}: `predict_sql` over `export_sql`",
                2,
                seconds["predict_sql"] / seconds["export_sql"],
            )
    yield from agreement(m)


def of_forests(model, judge, what, limit, ratio):
    """Make a line; of a model that is as fast as a sum nothing is demanded."""
    is_demanded = model == "forest"
    return judge(what, limit, ratio) if is_demanded else (what, "", times(ratio), "")


def agreement(m):
    for model, source in CASES:
        found = [each["answers"] for each in m[f"check {model} {source}"]]
        alike = len(set(found)) == 1
        yield (
            f"{MODELS[model]}, {SOURCES[source]}: labels of {len(found)} ways",
            "equal in every row",
            "equal" if alike else "different",
            met(alike),
        )


def seconds_table(m):
    lines = [
        (
            f"{MODELS[model]}, {SOURCES[source]}: {WAYS[way]}",
            *spread(m, f"{way} {model} {source}", "seconds"),
        )
        for model, source in CASES
        for way in ways_of(model)
    ]
    return table(("seconds", "median", "from", "to"), lines)


def page(m, versions, options):
    return f"""\
# Speed of models in SQL

Written by `make bench` (`benchmarks/sql.py`), everything in one run: contestants take
turns and each figure is the median of its rounds. Parquet files of {options.rows:,}
rows, 20 float64 features, read from the page cache: {options.files} of them, for the
forest {options.forest_files}. Each way gives one feature and the label of all rows to
an Arrow reader. Models are registered, and written as SQL, before the clock starts.

{m.conditions(versions)}

{table(HEAD, list(rows(m)))}

A forest as SQL is not raced: DuckDB needs some 3 microseconds for each node of its
trees and 2,048 rows. With a model as fast as a sum, reading is most of the work of
`predict_sql`, and while DuckDB waits for answers it has one thread less to read with.

## Training on a query

{table(HEAD, list(_sql_training.rows(m)))}

{_sql_training.NOTES}

## Seconds

{seconds_table(m)}
"""
