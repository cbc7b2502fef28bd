"""Train and run scikit-learn models on tables larger than memory.

A table is a dask DataFrame, or a DuckDB query that becomes one. Estimators train
partition by partition or on one partition, and answer lazily with dask Series and
DataFrames whose index and partitions are those of the input. ``import dfml`` also
gives dask DataFrames the accessor ``ddf.ml``.
"""

from __future__ import annotations

from dfml import datasets, exceptions, iid
from dfml.accessor import MLAccessor as _MLAccessor  # noqa: F401 - registers ddf.ml
from dfml.estimators import IID, Incremental, ParallelPostFit
from dfml.models import inspect_model, load_model, save_model
from dfml.sources import read_delta, read_iceberg, read_sql
from dfml.sql_functions import (
    export_sql,
    predict_sql,
    register,
    registered,
    unregister,
)
from dfml.table import Check, predict_table

__version__ = "0.1.0"

__all__ = [
    "IID",
    "Check",
    "Incremental",
    "ParallelPostFit",
    "__version__",
    "datasets",
    "exceptions",
    "export_sql",
    "iid",
    "inspect_model",
    "load_model",
    "predict_sql",
    "predict_table",
    "read_delta",
    "read_iceberg",
    "read_sql",
    "register",
    "registered",
    "save_model",
    "unregister",
]


def __dir__() -> list[str]:
    """List the public names; packages inside are for the library itself."""
    return list(__all__)
