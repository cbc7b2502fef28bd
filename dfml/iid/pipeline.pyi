# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.pipeline import FeatureUnion as _FeatureUnion
from sklearn.pipeline import Pipeline as _Pipeline

from dfml.iid._classes import FirstPartitionMixin


class FeatureUnion(FirstPartitionMixin, _FeatureUnion):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **fit_params: Any) -> Self: ...

class Pipeline(FirstPartitionMixin, _Pipeline):
    partition_: int | None
    def fit(self, X: Any, y: Any = ..., **params: Any) -> Self: ...
