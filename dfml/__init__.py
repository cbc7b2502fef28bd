"""Train and run scikit-learn models on tables larger than memory.

A table is a dask DataFrame, or a DuckDB query that becomes one. Estimators train
partition by partition or on one partition, and answer lazily with dask Series and
DataFrames whose index and partitions are those of the input.
"""

from __future__ import annotations

from dfml.estimators import IID, Incremental, ParallelPostFit

__all__ = ["IID", "Incremental", "ParallelPostFit"]
