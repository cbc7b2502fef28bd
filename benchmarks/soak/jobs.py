"""Jobs of ``predict_table`` that are killed: to every kind of target, with rivals.

    python benchmarks/soak/jobs.py [--jobs 100] [--seed 0]

Each job writes to a table that a reader looks at all the time. Its drivers, one or two,
are killed by ``kill -9`` at random times and begun again until they are left to end.
Rivals either see each other's locks or stage apart, as on two machines. What must hold:
readers see the old rows or the new ones, in the end each row is there once, and nothing
is left. Prints one line a job and the figures; exits 1 if one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

KINDS = (
    "parquet",
    "parquet by day",
    "delta",
    "delta by day",
    "iceberg",
    "iceberg by day",
    "duckdb",
)
MODES = {
    "parquet": ("error", "overwrite"),
    "parquet by day": ("error", "overwrite"),
    "delta by day": ("error", "overwrite", "append", "overwrite_partitions"),
    "iceberg by day": ("error", "overwrite", "append", "overwrite_partitions"),
}
OTHER_MODES = ("error", "overwrite", "append")
PARTS, ROWS = 8, 500
#: How long a driver may live that is to be killed, and how many of them are.
LIFE = (0.02, 1.5)
KILLS = 4
#: Seconds that drivers who are left alone may take together; then they hang.
PATIENCE = 300.0
TABLE = "ns.scored"


class Times(RegressorMixin, BaseEstimator):
    """Answers with a multiple of the feature, and takes its time."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):  # noqa: ARG002
        self.n_features_in_ = 1
        self.feature_names_in_ = np.array(["a"], dtype=object)
        return self

    def predict(self, X):
        time.sleep(0.03)
        return np.asarray(X)[:, 0] * self.factor


@dataclass(frozen=True)
class Job:
    """One job and its table, in a folder of its own; it pickles."""

    number: int
    folder: str
    kind: str
    mode: str
    rivals: int
    apart: bool

    @property
    def source(self):
        return f"{self.folder}/source"

    def options(self, stack):
        by = {"partition_by": ["day"]} if self.kind.endswith("by day") else {}
        if self.kind.startswith("parquet"):
            return {"target": f"{self.folder}/out", **by}
        if self.kind.startswith("delta"):
            return {"target": f"{self.folder}/out", "format": "delta", **by}
        if self.kind == "duckdb":
            file = f"{self.folder}/w.duckdb"
            return {"target": file, "format": "duckdb", "table": "scored"}
        catalog = stack.enter_context(contextlib.closing(open_catalog(self.folder)))
        return {"target": catalog, "table": TABLE, **by}


def open_catalog(folder):
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog(
        "soak", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}"
    )


def run_job(job, factor, mode, rival=0):
    """Do the job to its end, waiting for a rival who holds it."""
    import dask

    from dfml.exceptions import TargetExistsError
    from dfml.sinks._targets import open_target
    from dfml.table import plan_job
    from dfml.table import run_job as run

    dask.config.set(scheduler="threads", num_workers=2)
    with contextlib.ExitStack() as stack:
        planned = plan_job(Times(factor).fit(None), job.source, ["predict"])
        while True:
            place = open_target("soak", **job.options(stack), mode=mode)
            if rival and job.apart and hasattr(place, "_home"):
                place._home.path += f"-{rival}"
            try:
                run(planned, place)
            except TargetExistsError as err:
                if "lock that another call" not in str(err):
                    raise
                time.sleep(0.05)
            else:
                return


def rows_seen(job):
    """The answers in the table by identifier, or None if there is no table."""
    with contextlib.ExitStack() as stack:
        if job.kind.startswith("parquet"):
            import pyarrow.parquet as pq

            path = f"{job.folder}/out"
            if not os.path.exists(path):
                return None
            table = pq.read_table(path, columns=["id", "prediction"])
        elif job.kind.startswith("delta"):
            import deltalake
            import pyarrow as pa

            if not deltalake.DeltaTable.is_deltatable(f"{job.folder}/out"):
                return None
            found = deltalake.DeltaTable(f"{job.folder}/out")
            table = pa.table(found.scan(columns=["id", "prediction"]))
        elif job.kind == "duckdb":
            return rows_in_database(job)
        else:
            catalog = stack.enter_context(contextlib.closing(open_catalog(job.folder)))
            if not catalog.table_exists(TABLE):
                return None
            table = catalog.load_table(TABLE).scan().to_arrow()
        ids, answers = (table[name].to_pylist() for name in ("id", "prediction"))
        return Counter(zip(ids, answers, strict=True))


def rows_in_database(job):
    import duckdb

    if not os.path.exists(f"{job.folder}/w.duckdb"):
        return None
    with duckdb.connect(f"{job.folder}/w.duckdb") as connection:
        connection.execute("SET enable_progress_bar = false")
        names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        if ("scored",) not in names:
            return None
        return Counter(
            connection.execute("SELECT id, prediction FROM scored").fetchall()
        )


def watch(job, allowed, stop, told):
    """Read the table again and again; tell how often, and what was torn."""
    reads = torn = late = 0
    while not stop.is_set():
        try:
            seen = rows_seen(job)
        except Exception:  # noqa: BLE001 - a reader who comes late gets an error
            late += 1
            continue
        reads += 1
        torn += seen not in allowed
        time.sleep(0.005)
    told.put((reads, torn, late))


def expected(factor):
    ids = np.arange(PARTS * ROWS)
    return Counter(zip(ids.tolist(), (ids / 8.0 * factor).tolist(), strict=True))


def make_source(job):
    os.makedirs(job.source)
    ids = np.arange(PARTS * ROWS)
    days = np.array(["mon", "tue", "a/b"])[ids % 3]
    frame = pd.DataFrame({"id": ids, "day": days, "a": ids / 8.0})
    for number in range(PARTS):
        some = frame[number * ROWS : (number + 1) * ROWS]
        some.to_parquet(f"{job.source}/{number}.parquet", index=False)
    if job.kind.startswith("iceberg"):
        with contextlib.closing(open_catalog(job.folder)) as catalog:
            catalog.create_namespace("ns")


def leftovers(job):
    """What is there that is no table: staging, and files that no version names."""
    kept = {"lock", "report.json"}
    homes = [path for path in Path(job.folder).rglob(".*dfml*") if path.is_dir()]
    found = {name for home in homes for name in os.listdir(home)} - kept
    if job.kind.startswith("delta"):
        log = "".join(
            p.read_text() for p in Path(job.folder).rglob("_delta_log/*.json")
        )
        parts = Path(job.folder, "out").glob("part-*.parquet")
        found |= {path.name for path in parts if path.name not in log}
    elif job.kind.startswith("iceberg"):
        with contextlib.closing(open_catalog(job.folder)) as catalog:
            files = catalog.load_table(TABLE).inspect.all_files()["file_path"]
        named = {os.path.basename(path) for path in files.to_pylist()}
        found |= {p.name for p in Path(job.folder).rglob("part-*.parquet")} - named
    return found


def prepare(job):
    make_source(job)
    if job.mode != "error":
        run_job(job, -1.0, "error")


def check(job, wanted, told):
    told.put((rows_seen(job) == wanted, sorted(leftovers(job))))


class Runner:
    """Starts processes from a server that has imported everything already."""

    def __init__(self, seed):
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["jobs", "dfml", "deltalake", "pyiceberg.catalog.sql", "duckdb"]
        )
        self.random = np.random.default_rng(seed)
        self.n_kills = 0

    def start(self, function, *arguments):
        process = self.context.Process(target=function, args=arguments)
        process.start()
        return process

    def call(self, function, *arguments):
        process = self.start(function, *arguments)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{function.__name__} failed: {arguments}")

    def asked(self, function, *arguments):
        told = self.context.SimpleQueue()
        self.call(function, *arguments, told)
        return told.get()

    def drive(self, job):
        """Kill drivers, and in the end let all of them finish."""
        for _ in range(self.random.integers(1, KILLS + 1)):
            drivers = self.drivers_of(job)
            lives = self.random.uniform(*LIFE, size=len(drivers))
            begun = time.monotonic()
            for life, driver in sorted(
                zip(lives, drivers, strict=True), key=lambda p: p[0]
            ):
                driver.join(max(0.0, begun + life - time.monotonic()))
                if driver.is_alive():
                    os.kill(driver.pid, signal.SIGKILL)
                    self.n_kills += 1
                driver.join()
        drivers = self.drivers_of(job)
        until = time.monotonic() + PATIENCE
        for driver in drivers:
            driver.join(max(0.0, until - time.monotonic()))
            if driver.is_alive():
                driver.kill()
                driver.join()
        return all(driver.exitcode == 0 for driver in drivers)

    def drivers_of(self, job):
        return [
            self.start(run_job, job, 1.0, job.mode, rival)
            for rival in range(job.rivals)
        ]

    def run(self, job):
        """Do one job; give what was seen."""
        self.call(prepare, job)
        old = None if job.mode == "error" else expected(-1.0)
        new = expected(1.0) + (old if job.mode == "append" else Counter())
        stop, told = self.context.Event(), self.context.SimpleQueue()
        reader = self.start(watch, job, [old, new], stop, told)
        try:
            ended = self.drive(job)
        finally:
            stop.set()
            reads, torn, late = told.get()
            reader.join()
        is_exact, left = self.asked(check, job, new)
        return reads, torn, late, is_exact and ended, left


class Seen:
    """What was seen of all jobs."""

    def __init__(self):
        self.n_jobs = 0
        self.totals = np.zeros(3, dtype=int)
        self.inexact, self.littered, self.broken = [], [], []

    def note(self, job, runner):
        """Do one job and print its line; one that breaks ends no other."""
        rivals = "alone" if job.rivals == 1 else "apart" if job.apart else "rivals"
        name = f"job {job.number}: {job.kind}, {job.mode}, {rivals}"
        self.n_jobs += 1
        try:
            *counts, is_exact, left = runner.run(job)
        except Exception as err:  # noqa: BLE001 - it is told, and fails the soak
            self.broken.append(job.number)
            print(f"{name}: BROKE {err!r}", flush=True)
            return
        self.totals += counts
        if not is_exact:
            self.inexact.append(job.number)
        if left:
            self.littered.append(job.number)
        print(
            f"{name}: {counts[0]} reads, {counts[1]} torn, "
            f"{'exact' if is_exact else 'NOT EXACT'}, left {left}",
            flush=True,
        )

    def tell(self):
        """Print the figures; give whether all are met."""
        reads, torn, late = self.totals
        lines = [
            ("torn reads", torn == 0, f"{torn} in {reads} reads, {late} came late"),
            ("exact tables", not self.inexact, f"all but {self.inexact}"),
            ("nothing left", not self.littered, f"all but {self.littered}"),
            ("to the end", not self.broken, f"all but {self.broken}"),
        ]
        for what, met, figure in lines:
            print(f"{'yes' if met else 'NO ':4}{what}: {figure} of {self.n_jobs}")
        return all(met for _, met, _ in lines)


def plan(folder, n_jobs):
    for number in range(n_jobs):
        kind = KINDS[number % len(KINDS)]
        modes = MODES.get(kind, OTHER_MODES)
        mode = modes[number // len(KINDS) % len(modes)]
        rivals = 1 + number % 2
        apart = number % 4 == 3
        own = f"{folder}/{number}"
        os.makedirs(own)
        yield Job(number, own, kind, mode, rivals, apart)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    runner = Runner(options.seed)
    seen = Seen()
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for job in plan(os.path.realpath(folder), options.jobs):
                seen.note(job, runner)
    finally:  # whatever stops it, what was seen is told
        seconds = time.monotonic() - begun
        print(f"{seen.n_jobs} jobs, {runner.n_kills} kills, {seconds:.0f} s")
        all_met = seen.tell()
    sys.exit(not all_met or seen.n_jobs < options.jobs)


if __name__ == "__main__":
    main()
