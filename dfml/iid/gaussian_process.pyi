# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.gaussian_process import GaussianProcessClassifier as _GaussianProcessClassifier
from sklearn.gaussian_process import GaussianProcessRegressor as _GaussianProcessRegressor

from dfml.iid._classes import FirstPartitionMixin


class GaussianProcessClassifier(FirstPartitionMixin, _GaussianProcessClassifier):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...

class GaussianProcessRegressor(FirstPartitionMixin, _GaussianProcessRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any) -> Self: ...
