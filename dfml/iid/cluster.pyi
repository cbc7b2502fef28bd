# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.cluster import AffinityPropagation as _AffinityPropagation
from sklearn.cluster import Birch as _Birch
from sklearn.cluster import BisectingKMeans as _BisectingKMeans
from sklearn.cluster import FeatureAgglomeration as _FeatureAgglomeration
from sklearn.cluster import KMeans as _KMeans
from sklearn.cluster import MeanShift as _MeanShift
from sklearn.cluster import MiniBatchKMeans as _MiniBatchKMeans

from dfml.iid._classes import FirstPartitionMixin


class AffinityPropagation(FirstPartitionMixin, _AffinityPropagation):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class Birch(FirstPartitionMixin, _Birch):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class BisectingKMeans(FirstPartitionMixin, _BisectingKMeans):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class FeatureAgglomeration(FirstPartitionMixin, _FeatureAgglomeration):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class KMeans(FirstPartitionMixin, _KMeans):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class MeanShift(FirstPartitionMixin, _MeanShift):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class MiniBatchKMeans(FirstPartitionMixin, _MiniBatchKMeans):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...
