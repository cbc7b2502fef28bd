"""The table of the benchmarks: Parquet files of random rows, made once and kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

N_FILES = 40
N_ROWS = 100_000
FEATURES = [f"x{i}" for i in range(20)]
CLASSES = [0, 1]


def cache() -> Path:
    """Where tables are kept between runs; ``DFML_BENCH_CACHE`` moves it."""
    default = Path(tempfile.gettempdir()) / "dfml-benchmarks"
    return Path(os.environ.get("DFML_BENCH_CACHE", default))


def files(folder: str | Path) -> list[str]:
    return [str(path) for path in sorted(Path(folder).glob("*.parquet"))]


def make_tables() -> dict[str, Path]:
    """Make a small table for warming up, the table, and one ten times as long."""
    tables = {"small": make_table("small", 4, 1_000), "table": make_table("table")}
    table = files(tables["table"])
    tables["long"] = link(table * 10, cache() / "long")
    return tables


def make_table(name: str, n_files: int = N_FILES, n_rows: int = N_ROWS) -> Path:
    folder = cache() / f"{name}-{n_files}-{n_rows}"
    if len(files(folder)) == n_files:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(0).normal(size=len(FEATURES))
    for number in range(n_files):
        generator = np.random.default_rng([1, number])
        X = generator.normal(size=(n_rows, len(FEATURES)))
        y = (X @ weights + generator.normal(size=n_rows) > 0).astype("int64")
        columns = dict(zip(FEATURES, X.T, strict=True))
        table = pa.table({**columns, "label": y})
        pq.write_table(table, folder / f"part-{number:04d}.parquet")
    return folder


def link(paths: list[str], folder: Path) -> Path:
    """Name files again, also several times: readers take them for other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        name = folder / f"part-{number:04d}.parquet"
        if not name.exists():
            os.link(path, name)
    for left in files(folder)[len(paths) :]:  # of a longer table
        Path(left).unlink()
    return folder
