# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.kernel_approximation import AdditiveChi2Sampler as _AdditiveChi2Sampler
from sklearn.kernel_approximation import Nystroem as _Nystroem
from sklearn.kernel_approximation import PolynomialCountSketch as _PolynomialCountSketch
from sklearn.kernel_approximation import RBFSampler as _RBFSampler
from sklearn.kernel_approximation import SkewedChi2Sampler as _SkewedChi2Sampler

from dfml.iid._classes import FirstPartitionMixin


class AdditiveChi2Sampler(FirstPartitionMixin, _AdditiveChi2Sampler):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class Nystroem(FirstPartitionMixin, _Nystroem):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class PolynomialCountSketch(FirstPartitionMixin, _PolynomialCountSketch):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class RBFSampler(FirstPartitionMixin, _RBFSampler):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class SkewedChi2Sampler(FirstPartitionMixin, _SkewedChi2Sampler):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...
