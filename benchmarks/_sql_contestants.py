"""Ways to answer rows of DuckDB with a model, in a process that takes orders.

python _sql_contestants.py duckdb
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import _orders
import _table
import joblib
import numpy as np
import pandas as pd
from _table import FEATURES

CORES = os.cpu_count()


def load_models(folder):
    return {path.stem: joblib.load(path) for path in Path(folder).glob("*.joblib")}


class DuckDB:
    """One connection; each way is a relation of one feature and the label."""

    def prepare(self, folder, models, source="parquet"):
        import duckdb

        self.models = load_models(models)
        self.connection = duckdb.connect()
        kind = {"parquet": "VIEW", "table": "TABLE"}[source]
        self.connection.execute(
            f"CREATE {kind} rows AS FROM read_parquet('{folder}/*.parquet')"
        )

    def run(self, way, model="linear"):
        """Read all rows of a way; the model is registered, or written, before."""
        make = getattr(self, way)(self.models[model])
        start = time.perf_counter()
        n_rows = sum(batch.num_rows for batch in make().to_arrow_reader())
        return {"seconds": time.perf_counter() - start, "rows": n_rows}

    def check(self, way, model):
        """Sum the labels with their rows: the same for all ways."""
        relation = getattr(self, way)(self.models[model])()
        ((total,),) = relation.aggregate("sum(hash(x0, p))").fetchall()
        return {"answers": str(total)}

    def stream(self, _):
        return lambda: self.connection.table("rows").project(", ".join(FEATURES))

    def register(self, model):
        import dfml

        dfml.register(self.connection, "answer", model, replace=True)
        return lambda: self.connection.sql("SELECT x0, answer(r) AS p FROM rows r")

    def predict_sql(self, model):
        import dfml

        rows = self.connection.table("rows")
        return lambda: dfml.predict_sql(model, rows, name="p").project("x0, p")

    def export_sql(self, model):
        import dfml

        sql = dfml.export_sql(model, "rows", keep=["x0"], name="p")
        return lambda: self.connection.sql(sql)

    def close(self):
        self.connection.close()


class Arrays:
    """Nothing but ``predict``, on arrays that are ready, a thread for each core."""

    def prepare(self, folder, models, source=None):  # noqa: ARG002 - as the other one
        self.models = load_models(models)
        self.blocks = [
            pd.DataFrame(
                np.ascontiguousarray(pd.read_parquet(path)[FEATURES].to_numpy()),
                columns=FEATURES,
            )
            for path in _table.files(Path(folder))
        ]

    def run(self, model="linear"):
        from threadpoolctl import threadpool_limits

        fitted = self.models[model]

        def predict(block):
            with joblib.parallel_config(backend="sequential"):
                return fitted.predict(block)

        start = time.perf_counter()
        with threadpool_limits(1), ThreadPoolExecutor(CORES) as pool:
            n_rows = sum(len(labels) for labels in pool.map(predict, self.blocks))
        return {"seconds": time.perf_counter() - start, "rows": n_rows}


if __name__ == "__main__":
    _orders.serve({"duckdb": DuckDB, "arrays": Arrays})
