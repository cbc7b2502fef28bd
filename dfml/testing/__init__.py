"""Checks that an estimator keeps on lazy tables what it promises in memory.

For the estimators of dfml and of anybody else; pytest is needed for
``parametrize_lazy_checks`` only.
"""

from __future__ import annotations

from dfml.testing._case import Table, example_table
from dfml.testing._runner import (
    LAZY_CHECKS,
    check_lazy_estimator,
    iter_lazy_checks,
    parametrize_lazy_checks,
)

__all__ = [
    "LAZY_CHECKS",
    "Table",
    "check_lazy_estimator",
    "example_table",
    "iter_lazy_checks",
    "parametrize_lazy_checks",
]
