"""One way to score a lake, in a process of its own that takes orders line by line.

    python _lake_contestants.py predict-table

It is run by the environment that has the library, and imports only that one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _orders
import _table
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _table import FEATURES
from threadpoolctl import threadpool_limits

CORES = os.cpu_count()
KEPT = {"one": ["label"], "all": [*FEATURES, "label"]}
COMPRESSION = "zstd"


class Contestant:
    """A way to write predictions for the files of a folder to another folder."""

    def prepare(self, folder, models):
        self.folder = Path(folder)
        self.models = {path.stem: path for path in Path(models).glob("*.joblib")}
        self.target = self.folder.parent / f"scored-by-{type(self).__name__}"

    def run(self, model="sgd", keep="one"):
        self.clear()
        os.sync()  # what others have written is not for this one to wait for
        fitted = joblib.load(self.models[model])
        start = time.perf_counter()
        answer = self.score(fitted, KEPT[keep]) or {}
        return {"seconds": time.perf_counter() - start, **answer}

    def check(self):
        """Count rows and sum predictions: the same for all."""
        rows = pq.read_table(self.target, columns=["prediction", "label"])
        sums = {
            name: float(np.sum(rows[name].to_numpy())) for name in rows.schema.names
        }
        self.clear()
        return {"rows": rows.num_rows, **sums}

    def clear(self):
        shutil.rmtree(self.target, ignore_errors=True)
        home = self.target.parent / f".{self.target.name}.dfml"
        shutil.rmtree(home, ignore_errors=True)


class PredictTable(Contestant):
    """dfml, on dask's threads."""

    def score(self, model, keep):
        import dfml

        dfml.predict_table(model, self.folder, self.target, keep=keep)


class Cluster(PredictTable):
    """dfml, on two worker processes of a ``LocalCluster``."""

    stack = None

    def prepare(self, folder, models):
        from distributed import Client, LocalCluster

        super().prepare(folder, models)
        if self.stack is None:
            self.stack = contextlib.ExitStack()
            cluster = LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            )
            self.stack.enter_context(cluster)
            self.client = self.stack.enter_context(Client(cluster))

    def score(self, model, keep):
        super().score(model, keep)
        return {"worker_peak": max(self.client.run(peak_memory).values())}

    def close(self):
        self.stack.close()


def peak_memory():
    """Megabytes that this process has had at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class ToParquet(Contestant):
    """The same predictions, written by dask."""

    def score(self, model, keep):
        import dask.dataframe as dd

        import dfml

        frame = dd.read_parquet(_table.files(self.folder))
        scored = frame.ml.predict(dfml.ParallelPostFit(model))
        scored[[*keep, "prediction"]].to_parquet(
            self.target, write_index=False, compression=COMPRESSION
        )


class Pool(Contestant):
    """A thread pool over files, as tight as one gets it by hand."""

    def score(self, model, keep):
        self.target.mkdir()
        work = lambda path: self.score_file(model, keep, path)  # noqa: E731
        on_all_cores(work, _table.files(self.folder))

    def score_file(self, model, keep, path):
        rows = pq.ParquetFile(path).read(use_threads=False)
        X = np.empty((rows.num_rows, len(FEATURES)))
        for i, name in enumerate(FEATURES):
            X[:, i] = rows[name].to_numpy()
        prediction = model.predict(pd.DataFrame(X, columns=FEATURES, copy=False))
        scored = rows.select(keep).append_column("prediction", pa.array(prediction))
        floats = pa.types.is_floating
        pq.write_table(
            scored,
            self.target / os.path.basename(path),
            compression=COMPRESSION,
            use_dictionary=[f.name for f in scored.schema if not floats(f.type)],
        )


class SyncedPool(Pool):
    """The same, and what it writes is on the disk when it ends, as dfml's is."""

    def score_file(self, model, keep, path):
        super().score_file(model, keep, path)
        with open(self.target / os.path.basename(path), "r+b") as file:
            os.fsync(file.fileno())


class Predictions(Contestant):
    """The limit: nothing but the predictions, on all cores, of arrays in memory."""

    def prepare(self, folder, models):
        super().prepare(folder, models)
        files = _table.files(self.folder)
        arrays = (pd.read_parquet(path)[FEATURES].to_numpy() for path in files)
        self.frames = [
            pd.DataFrame(np.ascontiguousarray(X), columns=FEATURES, copy=False)
            for X in arrays
        ]

    def score(self, model, keep):  # noqa: ARG002
        on_all_cores(model.predict, self.frames)


def on_all_cores(work, items):
    """Call a function for each item, by a thread for each core."""
    with threadpool_limits(1), ThreadPoolExecutor(CORES, initializer=alone) as pool:
        list(pool.map(work, items))


def alone():
    """Let a thread have one thread of OpenMP, which counts for each anew."""
    threadpool_limits(1, "openmp")


class Loop(Contestant):
    """Nothing but the predictions, one file after the other, on rows in memory."""

    def prepare(self, folder, models):
        super().prepare(folder, models)
        files = _table.files(self.folder)
        self.frames = [pd.read_parquet(path)[FEATURES] for path in files]

    def score(self, model, keep):  # noqa: ARG002
        for frame in self.frames:
            model.predict(frame)


class Spark(Contestant):
    """PySpark: ``mapInPandas`` on as many local threads as there are cores."""

    session = None

    def prepare(self, folder, models):
        super().prepare(folder, models)
        if self.session is None:
            self.session = self.start()

    def start(self):
        from pyspark.sql import SparkSession

        os.environ["PYSPARK_PYTHON"] = sys.executable

        options = {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "4g",
            "spark.ui.enabled": "false",
            "spark.sql.parquet.compression.codec": COMPRESSION,
            "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
        }
        builder = SparkSession.builder.master(f"local[{CORES}]")
        for name, value in options.items():
            builder = builder.config(name, value)
        return builder.getOrCreate()

    def score(self, model, keep):
        sent = self.session.sparkContext.broadcast(model)

        def answer(frames):
            fitted = sent.value
            for frame in frames:
                yield frame[keep].assign(prediction=fitted.predict(frame[FEATURES]))

        rows = self.session.read.parquet(str(self.folder))
        fields = ", ".join(
            f"{name} {kind}" for name, kind in rows.dtypes if name in keep
        )
        scored = rows.mapInPandas(answer, f"{fields}, prediction long")
        scored.write.parquet(str(self.target))

    def close(self):
        self.session.stop()


CONTESTANTS = {
    "predict-table": PredictTable,
    "predict-table-cluster": Cluster,
    "to-parquet": ToParquet,
    "pool": Pool,
    "synced-pool": SyncedPool,
    "predictions": Predictions,
    "loop": Loop,
    "spark": Spark,
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _orders.serve(CONTESTANTS)
