# Made by dfml.iid._stubs from scikit-learn 1.9
# Do not edit; run `python -m dfml.iid._stubs`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="override,misc,unused-ignore"

from typing import Any, Self

from sklearn.feature_extraction import DictVectorizer as _DictVectorizer
from sklearn.feature_extraction import FeatureHasher as _FeatureHasher

from dfml.iid._classes import FirstPartitionMixin

from dfml.iid.feature_extraction import image as image
from dfml.iid.feature_extraction import text as text

class DictVectorizer(FirstPartitionMixin, _DictVectorizer):
    partition_: int | None
    def fit(self, X: Any, y: Any = ...) -> Self: ...

class FeatureHasher(FirstPartitionMixin, _FeatureHasher):
    partition_: int | None
    def fit(self, X: Any = ..., y: Any = ...) -> Self: ...
