"""The page of the lake benchmark, made of what was measured."""

from __future__ import annotations

import os

from _report import at_least, at_most, met, spread, table, times

CORES = os.cpu_count()
#: Model, and which columns are written before its predictions.
CASES = (("sgd", "one"), ("histgb", "one"), ("sgd", "all"))
MODELS = {"sgd": "SGDClassifier", "histgb": "HistGradientBoostingClassifier"}
KEPT = {"one": "one column kept", "all": "all columns kept"}
SPARK = {"sgd": 2.5, "histgb": 1.6}
HEAVY = 200


def rows(m):
    """Make the lines of the table: what, demanded, measured, met."""
    for model, keep in CASES:
        case = f"{MODELS[model]}, {KEPT[keep]}"
        ours = m.seconds(f"predict-table {model} {keep}")
        others = {n: m.seconds(f"{n} {model} {keep}") for n in RACED}
        yield at_least(f"{case}: pool by hand over dfml", 0.95, others["pool"] / ours)
        synced = times(others["synced-pool"] / ours)
        yield f"{case}: the pool, each file synced, over dfml", "", synced, ""
        yield at_least(
            f"{case}: PySpark over dfml", SPARK[model], others["spark"] / ours
        )
        limit = times(others["spark"] / others["predictions"])
        yield f"{case}: PySpark over predictions alone, on all cores", "", limit, ""
        yield at_most(
            f"{case}: dfml over to_parquet", 1.15, ours / others["to-parquet"]
        )
    yield from memory_rows(m)


RACED = ("pool", "synced-pool", "spark", "to-parquet", "predictions")


def memory_rows(m):
    few, many = m.of("memory few", "peak"), m.of("memory many", "peak")
    yield at_most(
        "peak memory: 40 files a core over 4 files a core",
        1.1,
        many / few,
        f" ({many:.0f} and {few:.0f} MB)",
    )
    above = m.seconds("heavy predict-table-cluster") - m.seconds("heavy loop")
    yield (
        f"model of {HEAVY} MB, 40 parts, 2 workers: seconds above the predictions",
        "<= 3",
        times(above),
        met(above <= 3),
    )
    peak = m.of("heavy predict-table-cluster", "worker_peak")
    yield at_most(
        "the same: peak memory of a worker over the model's",
        3,
        peak / HEAVY,
        f" ({peak:.0f} MB)",
    )


def seconds_table(m):
    names = {
        "predict-table": "dfml, predict_table",
        "pool": "pool by hand",
        "synced-pool": "pool by hand, each file synced",
        "to-parquet": "dfml, lazy predict, dask's to_parquet",
        "spark": "PySpark, mapInPandas",
        "predictions": "predictions alone, on all cores",
    }
    lines = [
        (
            f"{MODELS[model]}, {KEPT[keep]}: {names[name]}",
            *spread(m, f"{name} {model} {keep}", "seconds"),
        )
        for model, keep in CASES
        for name in names
    ]
    return table(("seconds", "median", "from", "to"), lines)


def agreement(m):
    for name, figures in m.items():
        if name.startswith("check") and len({str(each) for each in figures}) > 1:
            return f"**The contestants did not write the same rows: {name}.**"
    return "All contestants wrote the same rows and predictions."


def page(m, versions, options):
    return f"""\
# Speed and memory of scoring a lake

Written by `make bench` (`benchmarks/lake.py`), everything in one run: contestants take
turns and each figure is the median of its rounds. {options.files} Parquet files of
{options.rows:,} rows, 20 float64 features and an integer, read from the page cache and
written with zstd to a disk. Only the work is timed, after a warm-up, with the model in
memory; PySpark (`local[{CORES}]`) runs in its own environment on the same files.

- The *pool by hand* is a thread for each core, pyarrow for reading and writing, one
  array a file. Columns and compression are the same, but it waits for no disk, writes
  no checksums of pages, checks nothing and leaves half a table when it fails.
- *Each file synced* is the same pool, but what it has written is on the disk.
- *Predictions alone* are those of arrays in memory, a thread for each core: the limit
  of whoever predicts with scikit-learn.
- *to_parquet* is `ddf.ml.predict(model).to_parquet(...)`: the same predictions without
  the commit.

{m.conditions(versions)}

{table(("what", "demanded", "measured", "met"), list(rows(m)))}

{agreement(m)}

## Seconds

{seconds_table(m)}
"""
