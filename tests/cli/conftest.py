from __future__ import annotations

import warnings

import duckdb
import pytest
from click.testing import CliRunner

from dfml.cli import main

SGD = "sklearn.linear_model.SGDClassifier"

ROWS = """
SELECT i AS id, (i * 7919 % 1000) / 1000.0 AS a, (i * 104729 % 997) / 997.0 AS b,
    CASE WHEN (i * 7919 % 1000) + (i * 104729 % 997) > 900 THEN 'yes' ELSE 'no' END
        AS late,
    1.0 + i % 3 AS weight, 'depot ' || i % 4 AS depot, i // 200 AS part
FROM range(600) t(i)
"""


@pytest.fixture
def run():
    """Run the command line in this process."""
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="session")
def lake(tmp_path_factory):
    """Three Parquet files of 200 rows."""
    folder = tmp_path_factory.mktemp("lake")
    for part in range(3):
        query = f"SELECT * EXCLUDE (part) FROM ({ROWS}) WHERE part = {part}"
        duckdb.sql(query).write_parquet(str(folder / f"{part}.parquet"))
    return folder


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """A DuckDB file with the same rows in the table ``parcels``."""
    path = tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(f"CREATE TABLE parcels AS {ROWS}")
    return path


@pytest.fixture(scope="session")
def model(lake, tmp_path_factory):
    """A model file that ``dfml fit`` has written."""
    path = tmp_path_factory.mktemp("models") / "late.skops"
    options = ["--target", "late", "--features", "a,b", "--param", "loss=log_loss"]
    options += ["--estimator", SGD, "--random-state", "0", "--output", str(path)]
    # Whoever asks first makes it for all, so it takes no marks of theirs.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The inplace keyword")  # in dask's reader
        result = CliRunner().invoke(main, ["fit", str(lake), *options])
    assert result.exit_code == 0, result.output
    return path
