"""Training against its limits, a loop by hand and dask-ml.

    python benchmarks/training.py --peer-python .venv-peers/bin/python

All figures come from one run: contestants take turns, and the figure of each is the
median of its rounds. What other programs disturb is measured again. The page
docs/benchmarks/training.md is written by this program.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import _report
import _table
from _processes import Contestant, Measured, undisturbed

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "training.md"
PACKAGES = (
    "dask",
    "distributed",
    "duckdb",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
)
RACERS = (
    "loop",
    "dfml-threads",
    "dask-ml-threads",
    "dfml-cluster",
    "dask-ml-cluster",
)


class Bench:
    def __init__(self, peer_python):
        self.peer_python = peer_python
        self.tables = {name: str(path) for name, path in _table.make_tables().items()}
        self.measured = Measured()

    def contestant(self, name):
        python = self.peer_python if name.startswith("dask-ml") else sys.executable
        return Contestant(name, python)

    def warm(self, stack, name):
        """Start a contestant that has run once already."""
        contestant = stack.enter_context(self.contestant(name))
        contestant.do("prepare", folder=self.tables["small"])
        contestant.do("run")
        contestant.do("prepare", folder=self.tables["table"])
        return contestant

    def race(self, rounds):
        with ExitStack() as stack:
            steps, loads = self.warm(stack, "steps"), self.warm(stack, "loads")
            racers = [self.warm(stack, name) for name in RACERS]
            for contestant in racers:  # once over the table, to warm up
                contestant.do("run")
            for _ in range(rounds):
                keep = self.measured.keep
                keep("S", undisturbed(lambda: steps.do("run")))
                keep("S in order", undisturbed(lambda: steps.do("run", shuffle=False)))
                for reader in _report.READERS:
                    order = {"reader": reader}
                    answer = undisturbed(lambda o=order: loads.do("run", **o))
                    keep(f"L {reader}", answer)
                keep("both", undisturbed(lambda: both(steps, loads)))
                keep("both in order", undisturbed(lambda: both(steps, loads, False)))
                for racer in racers:
                    keep(racer.name, undisturbed(lambda r=racer: r.do("run")))
            keep("slow steps", undisturbed(lambda: steps.do("run", model="slow")))

    def slow(self, rounds):
        """Measure memory in new processes: memory that was used before hides growth."""
        for _ in range(rounds):
            for name in RACERS[1:]:
                self.measured.keep(f"slow {name}", self.watched(name, "table"))
        for name in ("dfml-threads", "dfml-cluster"):
            self.measured.keep(f"long {name}", self.watched(name, "long"))

    def watched(self, name, table):
        with self.contestant(name) as contestant:
            contestant.do("prepare", folder=self.tables["small"])
            contestant.do("run")
            contestant.do("prepare", folder=self.tables[table])
            return contestant.watched("run", model="slow")

    def tiny(self, rounds):
        for _ in range(rounds):
            for n_partitions in (1_000, 10_000):
                with self.contestant("dfml-threads") as contestant:
                    contestant.do("prepare", folder=self.tables["small"])
                    contestant.do("run")
                    contestant.do("tiny", n_partitions=n_partitions)
                    answer = undisturbed(
                        lambda c=contestant: c.watched("run", model="counter")
                    )
                    self.measured.keep(f"tiny {n_partitions}", answer)

    def additive(self, rounds):
        with ExitStack() as stack:
            cluster = self.warm(stack, "dfml-cluster")
            for turn in range(rounds + 1):
                for name in ("GaussianNB", "StandardScaler"):
                    for merge in (True, False):
                        order = {"name": name, "merge": merge}
                        answer = undisturbed(
                            lambda o=order: cluster.do("run_additive", **o)
                        )
                        if turn:  # the first is to warm up
                            way = "merged" if merge else "chain"
                            self.measured.keep(f"{name} {way}", answer)


def both(steps, loads, shuffle=True):
    """Time steps and loads that run at the same time, each in its process."""
    steps.tell("run", repeat=2, shuffle=shuffle)
    loads.tell("run", repeat=3)
    return {"S": steps.hear()["seconds"], "L": loads.hear()["seconds"]}


def versions(peer_python):
    own = {name: version(name) for name in PACKAGES}
    code = "from importlib.metadata import version; print(version('dask-ml'))"
    peer = subprocess.run(
        [peer_python, "-c", code], check=True, capture_output=True, text=True
    )
    return {**own, "dask-ml": peer.stdout.strip()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="of an environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    bench = Bench(options.peer_python)
    bench.race(options.rounds)
    bench.additive(options.rounds)
    bench.tiny(3)
    bench.slow(3)
    page = _report.page(bench.measured, versions(options.peer_python))
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
