# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.neighbors import KNeighborsClassifier as _KNeighborsClassifier
from sklearn.neighbors import KNeighborsRegressor as _KNeighborsRegressor
from sklearn.neighbors import KNeighborsTransformer as _KNeighborsTransformer
from sklearn.neighbors import KernelDensity as _KernelDensity
from sklearn.neighbors import LocalOutlierFactor as _LocalOutlierFactor
from sklearn.neighbors import NearestCentroid as _NearestCentroid
from sklearn.neighbors import NeighborhoodComponentsAnalysis as _NeighborhoodComponentsAnalysis
from sklearn.neighbors import RadiusNeighborsClassifier as _RadiusNeighborsClassifier
from sklearn.neighbors import RadiusNeighborsRegressor as _RadiusNeighborsRegressor
from sklearn.neighbors import RadiusNeighborsTransformer as _RadiusNeighborsTransformer

from dfml.iid._classes import FirstPartitionMixin


class KNeighborsClassifier(FirstPartitionMixin, _KNeighborsClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class KNeighborsRegressor(FirstPartitionMixin, _KNeighborsRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class KNeighborsTransformer(FirstPartitionMixin, _KNeighborsTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class KernelDensity(FirstPartitionMixin, _KernelDensity):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...

class LocalOutlierFactor(FirstPartitionMixin, _LocalOutlierFactor):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class NearestCentroid(FirstPartitionMixin, _NearestCentroid):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class NeighborhoodComponentsAnalysis(FirstPartitionMixin, _NeighborhoodComponentsAnalysis):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class RadiusNeighborsClassifier(FirstPartitionMixin, _RadiusNeighborsClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class RadiusNeighborsRegressor(FirstPartitionMixin, _RadiusNeighborsRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class RadiusNeighborsTransformer(FirstPartitionMixin, _RadiusNeighborsTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
