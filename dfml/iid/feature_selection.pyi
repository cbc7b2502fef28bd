# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.feature_selection import RFE as _RFE
from sklearn.feature_selection import RFECV as _RFECV
from sklearn.feature_selection import GenericUnivariateSelect as _GenericUnivariateSelect
from sklearn.feature_selection import SelectFdr as _SelectFdr
from sklearn.feature_selection import SelectFpr as _SelectFpr
from sklearn.feature_selection import SelectFromModel as _SelectFromModel
from sklearn.feature_selection import SelectFwe as _SelectFwe
from sklearn.feature_selection import SelectKBest as _SelectKBest
from sklearn.feature_selection import SelectPercentile as _SelectPercentile
from sklearn.feature_selection import SequentialFeatureSelector as _SequentialFeatureSelector
from sklearn.feature_selection import VarianceThreshold as _VarianceThreshold

from dfml.iid._classes import FirstPartitionMixin


class RFE(FirstPartitionMixin, _RFE):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...

class RFECV(FirstPartitionMixin, _RFECV):
    partition_: int | None
    def fit(self, X: Any, y: Any, **params: Any) -> Self: ...

class GenericUnivariateSelect(FirstPartitionMixin, _GenericUnivariateSelect):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SelectFdr(FirstPartitionMixin, _SelectFdr):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SelectFpr(FirstPartitionMixin, _SelectFpr):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SelectFromModel(FirstPartitionMixin, _SelectFromModel):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **fit_params: Any) -> Self: ...

class SelectFwe(FirstPartitionMixin, _SelectFwe):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SelectKBest(FirstPartitionMixin, _SelectKBest):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SelectPercentile(FirstPartitionMixin, _SelectPercentile):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SequentialFeatureSelector(FirstPartitionMixin, _SequentialFeatureSelector):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **params: Any) -> Self: ...

class VarianceThreshold(FirstPartitionMixin, _VarianceThreshold):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
