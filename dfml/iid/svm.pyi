# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.svm import SVC as _SVC
from sklearn.svm import SVR as _SVR
from sklearn.svm import LinearSVC as _LinearSVC
from sklearn.svm import LinearSVR as _LinearSVR
from sklearn.svm import NuSVC as _NuSVC
from sklearn.svm import NuSVR as _NuSVR
from sklearn.svm import OneClassSVM as _OneClassSVM

from dfml.iid._classes import FirstPartitionMixin


class SVC(FirstPartitionMixin, _SVC):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class SVR(FirstPartitionMixin, _SVR):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class LinearSVC(FirstPartitionMixin, _LinearSVC):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class LinearSVR(FirstPartitionMixin, _LinearSVR):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class NuSVC(FirstPartitionMixin, _NuSVC):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class NuSVR(FirstPartitionMixin, _NuSVR):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class OneClassSVM(FirstPartitionMixin, _OneClassSVM):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., sample_weight: Any = ...) -> Self: ...
