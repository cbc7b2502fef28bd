"""Scoring a lake against a thread pool by hand, dask's to_parquet and PySpark.

    python benchmarks/lake.py --peer-python .venv-peers/bin/python

All figures come from one run: contestants take turns, and the figure of each is the
median of its rounds. What other programs disturb is measured again. The page
docs/benchmarks/lake.md is written by this program.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import _lake_report
import _table
import joblib
import pandas as pd
from _models import Heavy
from _processes import Contestant, Measured, Patience, undisturbed
from _table import FEATURES
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import SGDClassifier

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "lake.md"
PACKAGES = ("dask", "distributed", "numpy", "pandas", "pyarrow", "scikit-learn")
WRITERS = ("predict-table", "pool", "synced-pool", "to-parquet", "spark")
RACERS = (*WRITERS, "predictions")


class Bench:
    def __init__(self, options):
        self.options = options
        self.cache = _table.cache() / f"lake-{options.files}-{options.rows}"
        self.tables = make_tables(self.cache, options.files, options.rows)
        self.models = make_models(self.cache / "models", self.tables["small"])
        self.measured = Measured()

    def contestant(self, name):
        python = self.options.peer_python if name == "spark" else sys.executable
        return Contestant(name, python, "_lake_contestants.py")

    def prepare(self, contestant, table):
        contestant.do(
            "prepare", folder=str(self.tables[table]), models=str(self.models)
        )

    def warm(self, stack, name):
        """Start a contestant that has scored the small table once."""
        contestant = stack.enter_context(self.contestant(name))
        self.prepare(contestant, "small")
        contestant.do("run")
        self.prepare(contestant, "table")
        return contestant

    def race(self, rounds):
        with ExitStack() as stack:
            racers = [self.warm(stack, name) for name in RACERS]
            for model, keep in _lake_report.CASES:
                for turn in range(rounds + 1):
                    for racer in racers:
                        order = {"model": model, "keep": keep}
                        figures = undisturbed(lambda o=order, r=racer: r.do("run", **o))
                        name = f"{racer.name} {model} {keep}"
                        if turn:  # the first is to warm up
                            self.measured.keep(name, figures)
                        elif racer.name in WRITERS:
                            self.measured.keep(f"check {model}", racer.do("check"))

    def memory(self, rounds):
        """Peaks in new processes: memory that was used before hides growth."""
        for _ in range(rounds):
            for table in ("few", "many"):
                with self.contestant("predict-table") as contestant:
                    self.prepare(contestant, "small")
                    contestant.do("run")
                    self.prepare(contestant, table)
                    figures = contestant.watched("run", keep="all")
                    self.measured.keep(f"memory {table}", figures)

    def large_model(self, rounds):
        for _ in range(rounds):
            for name in ("predict-table-cluster", "loop"):
                with self.contestant(name) as contestant:
                    self.prepare(contestant, "forty")
                    contestant.do("run")  # all workers have what they import then
                    figures = undisturbed(
                        lambda c=contestant: c.do("run", model="heavy")
                    )
                    self.measured.keep(f"heavy {name}", figures)


def make_tables(folder, n_files, n_rows):
    """Make the table, and others of the same files for warming up and for memory."""
    table = _table.make_table("table", n_files, n_rows)
    paths = _table.files(table)
    per_core = [paths[i % len(paths)] for i in range(40 * _lake_report.CORES)]
    tiny = _table.files(_table.make_table("tiny", 40, max(10, n_rows // 100)))
    return {
        "small": _table.link(tiny[:4], folder / "small"),
        "table": _table.link(paths, folder / "table"),
        "few": _table.link(per_core[: 4 * _lake_report.CORES], folder / "few"),
        "many": _table.link(per_core, folder / "many"),
        "forty": _table.link(tiny, folder / "forty"),
    }


def make_models(folder, table):
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.read_parquet(table)
    models = {
        "sgd": SGDClassifier(random_state=0),
        "histgb": HistGradientBoostingClassifier(random_state=0),
        "heavy": Heavy(),
    }
    for name, model in models.items():
        joblib.dump(model.fit(rows[FEATURES], rows["label"]), folder / f"{name}.joblib")
    return folder


def versions(peer_python):
    own = {name: version(name) for name in PACKAGES}
    code = "from importlib.metadata import version; print(version('pyspark'))"
    peer = subprocess.run(
        [peer_python, "-c", code], check=True, capture_output=True, text=True
    )
    return {**own, "pyspark": peer.stdout.strip()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="of an environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=_table.N_FILES)
    parser.add_argument("--rows", type=int, default=_table.N_ROWS, help="of each file")
    parser.add_argument(
        "--patience", type=float, default=420.0, help="seconds to wait for others"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    Patience.left = options.patience
    bench = Bench(options)
    bench.race(options.rounds)
    bench.memory(3)
    bench.large_model(3)
    page = _lake_report.page(bench.measured, versions(options.peer_python), options)
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
