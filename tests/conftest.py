from __future__ import annotations

import itertools
import signal

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from tests.processes import fork_workers

FEATURES = ["a", "b", "c"]


def pytest_configure() -> None:
    fork_workers()


@pytest.fixture(autouse=True)
def synchronous_scheduler():
    """Run on the synchronous scheduler unless a test asks for another."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(autouse=True)
def interruptible():
    """Let Ctrl-C interrupt, also where a shell began the tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make_table(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Make a table with three features, two targets, a weight and an identifier."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame(generator.normal(size=(n_rows, 3)), columns=FEATURES)
    noise = generator.normal(scale=0.5, size=n_rows)
    table["amount"] = 2 * table["a"] - table["b"] + noise
    table["late"] = np.where(table["amount"] > 0, "yes", "no")
    table["weight"] = generator.uniform(0.5, 2, n_rows)
    table["id"] = np.arange(n_rows) + 1000
    return table


@pytest.fixture
def table() -> pd.DataFrame:
    return make_table(600)


@pytest.fixture
def frame(table) -> dd.DataFrame:
    """The table in six partitions with known divisions."""
    return dd.from_pandas(table, npartitions=6)


@pytest.fixture
def lake(tmp_path, table):
    """The table as eight Parquet files, the index starting anew in each."""
    folder = tmp_path / "lake"
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(table)), 8)):
        rows = table.iloc[part].reset_index(drop=True)
        rows.to_parquet(folder / f"{number}.parquet")
    return folder


def split_at(table: pd.DataFrame, cuts: list[int]) -> dd.DataFrame:
    """Make a frame of unknown divisions whose partitions end at the cuts."""
    edges = [0, *sorted(cuts), len(table)]
    parts = [table.iloc[low:high] for low, high in itertools.pairwise(edges)]
    return dd.from_map(lambda part: part, parts, meta=table.iloc[:0])
