"""Models inside DuckDB: as SQL functions, and over whole relations."""

from __future__ import annotations

from dfml.sql_functions._export import export_sql
from dfml.sql_functions._register import (
    RegisteredFunction,
    register,
    registered,
    unregister,
)
from dfml.sql_functions._scan import predict_sql

__all__ = [
    "RegisteredFunction",
    "export_sql",
    "predict_sql",
    "register",
    "registered",
    "unregister",
]
