# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.tree import DecisionTreeClassifier as _DecisionTreeClassifier
from sklearn.tree import DecisionTreeRegressor as _DecisionTreeRegressor
from sklearn.tree import ExtraTreeClassifier as _ExtraTreeClassifier
from sklearn.tree import ExtraTreeRegressor as _ExtraTreeRegressor

from dfml.iid._classes import FirstPartitionMixin


class DecisionTreeClassifier(FirstPartitionMixin, _DecisionTreeClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., check_input: Any = ...) -> Self: ...

class DecisionTreeRegressor(FirstPartitionMixin, _DecisionTreeRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., check_input: Any = ...) -> Self: ...

class ExtraTreeClassifier(FirstPartitionMixin, _ExtraTreeClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., check_input: Any = ...) -> Self: ...

class ExtraTreeRegressor(FirstPartitionMixin, _ExtraTreeRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ..., check_input: Any = ...) -> Self: ...
