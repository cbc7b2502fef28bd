"""The meta-estimators: they differ only in how they fit."""

from __future__ import annotations

from dfml.estimators._iid import IID
from dfml.estimators._incremental import Incremental
from dfml.estimators._post_fit import ParallelPostFit, as_lazy

__all__ = ["IID", "Incremental", "ParallelPostFit", "as_lazy"]
