"""Where rows come from: SQL queries and Parquet files, as dask DataFrames."""

from __future__ import annotations
