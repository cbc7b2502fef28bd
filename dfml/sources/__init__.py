"""Where rows come from: SQL queries, and Parquet, Delta and Iceberg tables."""

from __future__ import annotations

from dfml.sources._lake import read_delta, read_iceberg
from dfml.sources._sql import read_sql

__all__ = ["read_delta", "read_iceberg", "read_sql"]
