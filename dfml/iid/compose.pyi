# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.compose import ColumnTransformer as _ColumnTransformer
from sklearn.compose import TransformedTargetRegressor as _TransformedTargetRegressor

from dfml.iid._classes import FirstPartitionMixin


class ColumnTransformer(FirstPartitionMixin, _ColumnTransformer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **params: Any) -> Self: ...

class TransformedTargetRegressor(FirstPartitionMixin, _TransformedTargetRegressor):
    partition_: int | None
    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self: ...
