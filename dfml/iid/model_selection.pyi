# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.model_selection import FixedThresholdClassifier as _FixedThresholdClassifier
from sklearn.model_selection import GridSearchCV as _GridSearchCV
from sklearn.model_selection import RandomizedSearchCV as _RandomizedSearchCV
from sklearn.model_selection import TunedThresholdClassifierCV as _TunedThresholdClassifierCV

from dfml.iid._classes import FirstPartitionMixin


class FixedThresholdClassifier(FirstPartitionMixin, _FixedThresholdClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, **params: Any) -> Self: ...

class GridSearchCV(FirstPartitionMixin, _GridSearchCV):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **params: Any) -> Self: ...

class RandomizedSearchCV(FirstPartitionMixin, _RandomizedSearchCV):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **params: Any) -> Self: ...

class TunedThresholdClassifierCV(FirstPartitionMixin, _TunedThresholdClassifierCV):
    partition_: int | None
    def fit(self, X: Any, y: Any, **params: Any) -> Self: ...
