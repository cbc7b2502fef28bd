"""One way to train, in a process of its own that takes orders line by line.

    python _contestants.py dfml-threads

It is run by the environment that has the library, and imports only that one.
"""

from __future__ import annotations

import contextlib
import hashlib
import time

import _orders
import _table
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _models import MODELS
from _table import CLASSES, FEATURES


def digest(model):
    """Name a linear model: equal names are bit-equal models."""
    content = model.coef_.tobytes() + model.intercept_.tobytes()
    return hashlib.sha256(content + repr(model.t_).encode()).hexdigest()[:16]


def on_one_thread():
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


class Steps:
    """S: nothing but the steps, on arrays that are ready; each file has its own."""

    def prepare(self, folder):
        self.blocks = []
        for path in _table.files(folder):
            frame = pq.read_table(path).to_pandas()
            array = np.ascontiguousarray(frame[FEATURES].to_numpy())
            X = pd.DataFrame(array, columns=FEATURES, copy=False)
            self.blocks.append((X, frame["label"].to_numpy()))

    def run(self, model="fast", repeat=1, **parameters):
        seconds = []
        for _ in range(repeat):
            sgd = MODELS[model]().set_params(**parameters)
            start = time.perf_counter()
            for X, y in self.blocks:
                sgd.partial_fit(X, y, classes=CLASSES)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds[0], "model": digest(sgd)}


class Loads:
    """L: nothing but the loads on one thread, by each of the three readers."""

    def prepare(self, folder):
        import duckdb

        on_one_thread()
        self.paths = _table.files(folder)
        self.connection = duckdb.connect(config={"threads": 1})
        self.readers = {
            "pyarrow": lambda path: pq.ParquetFile(path).read(use_threads=False),
            "pandas": pd.read_parquet,
            "DuckDB": lambda path: self.connection.read_parquet(path).fetchnumpy(),
        }

    def run(self, reader="pyarrow", repeat=1):
        seconds = []
        for _ in range(repeat):
            start = time.perf_counter()
            for path in self.paths:
                self.readers[reader](path)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds[0]}


class Loop:
    """What one writes by hand: pandas reads a file, the model trains on it."""

    def prepare(self, folder):
        self.paths = _table.files(folder)

    def run(self, model="fast"):
        sgd = MODELS[model]()
        start = time.perf_counter()
        for path in self.paths:
            frame = pd.read_parquet(path)
            sgd.partial_fit(frame[FEATURES], frame["label"], classes=CLASSES)
        return {"seconds": time.perf_counter() - start, "model": digest(sgd)}


class Dask:
    """What both libraries share: a table read by dask, on threads or a cluster."""

    def __init__(self, place):
        self.place = place
        self.stack = contextlib.ExitStack()

    def start(self):
        import dask

        if self.place == "threads":
            dask.config.set(scheduler="threads")
            return
        from distributed import Client, LocalCluster

        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )
        self.stack.enter_context(cluster)
        self.client = self.stack.enter_context(Client(cluster))

    def prepare(self, folder):
        import dask.dataframe as dd

        if not self.stack._exit_callbacks:
            self.start()
        self.frame = dd.read_parquet(_table.files(folder))

    def tiny(self, n_partitions):
        """Partitions of ten rows, in memory before."""
        import dask.dataframe as dd

        X = np.random.default_rng(0).normal(size=(10 * n_partitions, len(FEATURES)))
        frame = pd.DataFrame(X, columns=FEATURES).assign(label=0)
        frame.loc[::2, "label"] = 1
        self.frame = dd.from_pandas(frame, npartitions=n_partitions, sort=False)
        return {}

    def run(self, model="fast"):
        start = time.perf_counter()
        fitted = self.fit(MODELS[model]())
        answer = {"seconds": time.perf_counter() - start}
        if hasattr(fitted.estimator_, "coef_"):
            answer["model"] = digest(fitted.estimator_)
        for name in ("loading", "training", "waiting"):
            rows = getattr(fitted, "history_", [])
            answer[name] = sum(row[f"seconds_{name}"] for row in rows)
        return answer

    def run_additive(self, name, merge):
        """Train on a table in the workers' memory, merged or as a chain of steps."""
        from sklearn.naive_bayes import GaussianNB
        from sklearn.preprocessing import StandardScaler

        import dfml

        model = {"GaussianNB": GaussianNB, "StandardScaler": StandardScaler}[name]()
        incremental = dfml.Incremental(model, merge=merge)
        frame = self.persisted()
        start = time.perf_counter()
        if name == "GaussianNB":
            incremental.fit(frame, "label", classes=CLASSES)
        else:
            incremental.fit(frame[FEATURES])
        return {"seconds": time.perf_counter() - start}

    def persisted(self):
        from distributed import wait

        if getattr(self, "kept", None) is None:
            self.kept = self.frame.persist()
            wait(self.kept)
        return self.kept

    def close(self):
        self.stack.close()


class Dfml(Dask):
    def fit(self, model):
        import dfml

        return dfml.Incremental(model).fit(self.frame, "label", classes=CLASSES)


class DaskMl(Dask):
    def fit(self, model):
        from dask_ml.wrappers import Incremental

        incremental = Incremental(model, shuffle_blocks=False)
        X, y = self.frame[FEATURES], self.frame["label"]
        return incremental.fit(X, y, classes=CLASSES)


CONTESTANTS = {
    "steps": Steps,
    "loads": Loads,
    "loop": Loop,
    "dfml-threads": lambda: Dfml("threads"),
    "dfml-cluster": lambda: Dfml("cluster"),
    "dask-ml-threads": lambda: DaskMl("threads"),
    "dask-ml-cluster": lambda: DaskMl("cluster"),
}


if __name__ == "__main__":
    _orders.serve(CONTESTANTS)
