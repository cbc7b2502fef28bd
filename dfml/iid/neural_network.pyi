# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.neural_network import BernoulliRBM as _BernoulliRBM
from sklearn.neural_network import MLPClassifier as _MLPClassifier
from sklearn.neural_network import MLPRegressor as _MLPRegressor

from dfml.iid._classes import FirstPartitionMixin


class BernoulliRBM(FirstPartitionMixin, _BernoulliRBM):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class MLPClassifier(FirstPartitionMixin, _MLPClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class MLPRegressor(FirstPartitionMixin, _MLPRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...
