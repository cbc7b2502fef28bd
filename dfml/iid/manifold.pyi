# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.manifold import Isomap as _Isomap
from sklearn.manifold import LocallyLinearEmbedding as _LocallyLinearEmbedding

from dfml.iid._classes import FirstPartitionMixin


class Isomap(FirstPartitionMixin, _Isomap):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class LocallyLinearEmbedding(FirstPartitionMixin, _LocallyLinearEmbedding):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
