# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.random_projection import GaussianRandomProjection as _GaussianRandomProjection
from sklearn.random_projection import SparseRandomProjection as _SparseRandomProjection

from dfml.iid._classes import FirstPartitionMixin


class GaussianRandomProjection(FirstPartitionMixin, _GaussianRandomProjection):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SparseRandomProjection(FirstPartitionMixin, _SparseRandomProjection):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
