# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.dummy import DummyClassifier as _DummyClassifier
from sklearn.dummy import DummyRegressor as _DummyRegressor

from dfml.iid._classes import FirstPartitionMixin


class DummyClassifier(FirstPartitionMixin, _DummyClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...

class DummyRegressor(FirstPartitionMixin, _DummyRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, sample_weight: Any = ...) -> Self: ...
