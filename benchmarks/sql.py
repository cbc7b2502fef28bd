"""Models in SQL against predict and DuckDB's stream, and training from SQL.

    python benchmarks/sql.py

All figures come from one run: contestants take turns, and the figure of each is the
median of its rounds. What other programs disturb is measured again. The page
docs/benchmarks/sql.md is written by this program; its part on training is in
_sql_training.py.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import _sql_report
import _sql_training
import _table
import joblib
import pandas as pd
from _processes import Contestant, Measured, Patience, undisturbed
from _table import FEATURES
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "sql.md"
PACKAGES = ("dask", "duckdb", "numpy", "pandas", "pyarrow", "scikit-learn")


class Bench:
    def __init__(self, options):
        self.options = options
        cache = _table.cache() / f"sql-{options.files}-{options.rows}"
        whole = _table.make_table("table", options.files, options.rows)
        part = _table.link(
            _table.files(whole)[: options.forest_files],
            cache / f"first-{options.forest_files}",
        )
        self.folders = {"linear": str(whole), "forest": str(part)}
        self.models = str(make_models(cache / "models", _table.files(whole)[0]))
        self.measured = Measured()

    def race(self, rounds):
        for model, source in _sql_report.CASES:
            with ExitStack() as stack:
                racers = {
                    name: stack.enter_context(
                        Contestant(name, program="_sql_contestants.py")
                    )
                    for name in ("duckdb", "arrays")
                }
                for racer in racers.values():
                    racer.do(
                        "prepare",
                        folder=self.folders[model],
                        models=self.models,
                        source=source,
                    )
                for turn in range(rounds + 1):  # the first is to warm up
                    for way in _sql_report.ways_of(model):
                        self.turn(racers, turn, way, model, source)

    def turn(self, racers, turn, way, model, source):
        if way == "arrays":
            racer, order = racers["arrays"], {"model": model}
        else:
            racer, order = racers["duckdb"], {"way": way, "model": model}
        figures = undisturbed(lambda: racer.do("run", **order))
        if turn:
            self.measured.keep(f"{way} {model} {source}", figures)
        elif way not in ("arrays", "stream"):
            answers = racer.do("check", **order)
            self.measured.keep(f"check {model} {source}", answers)


def make_models(folder, path):
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.read_parquet(path)[:20_000]
    models = {
        "linear": LogisticRegression(),
        "forest": RandomForestClassifier(50, random_state=0),
    }
    for name, model in models.items():
        joblib.dump(model.fit(rows[FEATURES], rows["label"]), folder / f"{name}.joblib")
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=_table.N_FILES)
    parser.add_argument("--forest-files", type=int, default=10)
    parser.add_argument("--rows", type=int, default=_table.N_ROWS, help="of each file")
    parser.add_argument(
        "--patience", type=float, default=420.0, help="seconds to wait for others"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    Patience.left = options.patience
    bench = Bench(options)
    bench.race(options.rounds)
    tables = {
        "small": _table.make_table("small", 4, max(10, options.rows // 100)),
        "table": _table.make_table("table", options.files, options.rows),
    }
    _sql_training.race(bench.measured, tables, options.rounds)
    _sql_training.memory(bench.measured, tables, 3)
    versions = {name: version(name) for name in PACKAGES}
    page = _sql_report.page(bench.measured, versions, options)
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
