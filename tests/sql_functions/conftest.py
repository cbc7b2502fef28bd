from __future__ import annotations

import dask
import duckdb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.conftest import FEATURES


@pytest.fixture
def con(table):
    """A connection with the table as ``t``, wider and in another order."""
    wide = table.assign(
        city=np.where(table["c"] > 0, "York", "Bath"), extra=[[1]] * len(table)
    )
    with duckdb.connect() as connection:
        connection.register("source", wide[["id", "c", "city", "extra", "b", "a"]])
        connection.execute("CREATE TABLE t AS FROM source")
        connection.unregister("source")
        yield connection


@pytest.fixture(autouse=True)
def spills(tmp_path):
    directory = tmp_path / "spills"
    with dask.config.set({"dfml.spill-directory": str(directory)}):
        yield directory


def column(con, expression, source="t"):
    relation = con.sql(f"FROM {source} t") if isinstance(source, str) else source
    rows = relation.set_alias("t").order("id").project(expression).fetchall()
    return [value for (value,) in rows]


def fitted(table, estimator=None, target="late"):
    estimator = LogisticRegression() if estimator is None else estimator
    return estimator.fit(table[FEATURES], table[target])
