"""Where rows come from: SQL queries and Parquet files."""

from __future__ import annotations

from dfml.sources._sql import read_sql

__all__ = ["read_sql"]
