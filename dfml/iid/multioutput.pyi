# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.multioutput import ClassifierChain as _ClassifierChain
from sklearn.multioutput import MultiOutputClassifier as _MultiOutputClassifier
from sklearn.multioutput import MultiOutputRegressor as _MultiOutputRegressor
from sklearn.multioutput import RegressorChain as _RegressorChain

from dfml.iid._classes import FirstPartitionMixin


class ClassifierChain(FirstPartitionMixin, _ClassifierChain):
    partition_: int | None
    def fit(self, X: Any, Y: Any, **fit_params: Any) -> Self: ...

class MultiOutputClassifier(FirstPartitionMixin, _MultiOutputClassifier):
    partition_: int | None
    def fit(self, X: Any, Y: Any, sample_weight: Any = ..., **fit_params: Any) -> Self: ...

class MultiOutputRegressor(FirstPartitionMixin, _MultiOutputRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., **fit_params: Any) -> Self: ...

class RegressorChain(FirstPartitionMixin, _RegressorChain):
    partition_: int | None
    def fit(self, X: Any, Y: Any, **fit_params: Any) -> Self: ...
