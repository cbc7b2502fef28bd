# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.cross_decomposition import CCA as _CCA
from sklearn.cross_decomposition import PLSSVD as _PLSSVD
from sklearn.cross_decomposition import PLSCanonical as _PLSCanonical
from sklearn.cross_decomposition import PLSRegression as _PLSRegression

from dfml.iid._classes import FirstPartitionMixin


class CCA(FirstPartitionMixin, _CCA):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class PLSSVD(FirstPartitionMixin, _PLSSVD):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class PLSCanonical(FirstPartitionMixin, _PLSCanonical):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class PLSRegression(FirstPartitionMixin, _PLSRegression):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...
