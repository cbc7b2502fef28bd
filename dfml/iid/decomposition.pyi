# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.decomposition import NMF as _NMF
from sklearn.decomposition import PCA as _PCA
from sklearn.decomposition import DictionaryLearning as _DictionaryLearning
from sklearn.decomposition import FactorAnalysis as _FactorAnalysis
from sklearn.decomposition import FastICA as _FastICA
from sklearn.decomposition import IncrementalPCA as _IncrementalPCA
from sklearn.decomposition import KernelPCA as _KernelPCA
from sklearn.decomposition import LatentDirichletAllocation as _LatentDirichletAllocation
from sklearn.decomposition import MiniBatchDictionaryLearning as _MiniBatchDictionaryLearning
from sklearn.decomposition import MiniBatchNMF as _MiniBatchNMF
from sklearn.decomposition import MiniBatchSparsePCA as _MiniBatchSparsePCA
from sklearn.decomposition import SparseCoder as _SparseCoder
from sklearn.decomposition import SparsePCA as _SparsePCA
from sklearn.decomposition import TruncatedSVD as _TruncatedSVD

from dfml.iid._classes import FirstPartitionMixin


class NMF(FirstPartitionMixin, _NMF):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **params: Any) -> Self: ...

class PCA(FirstPartitionMixin, _PCA):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class DictionaryLearning(FirstPartitionMixin, _DictionaryLearning):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class FactorAnalysis(FirstPartitionMixin, _FactorAnalysis):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class FastICA(FirstPartitionMixin, _FastICA):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class IncrementalPCA(FirstPartitionMixin, _IncrementalPCA):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class KernelPCA(FirstPartitionMixin, _KernelPCA):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class LatentDirichletAllocation(FirstPartitionMixin, _LatentDirichletAllocation):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class MiniBatchDictionaryLearning(FirstPartitionMixin, _MiniBatchDictionaryLearning):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class MiniBatchNMF(FirstPartitionMixin, _MiniBatchNMF):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **params: Any) -> Self: ...

class MiniBatchSparsePCA(FirstPartitionMixin, _MiniBatchSparsePCA):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SparseCoder(FirstPartitionMixin, _SparseCoder):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SparsePCA(FirstPartitionMixin, _SparsePCA):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class TruncatedSVD(FirstPartitionMixin, _TruncatedSVD):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
